"""What refuses a start, and which runs it asks about."""

import errno
import getpass
import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from snakemake.exceptions import WorkflowError, format_exception_to_string
from snakemake_interface_executor_plugins.utils import format_cli_arg

from _config_files import check_or_exit
from _run_status import finished_runs, planned_runs
from _start import (
    require_folders,
    require_no_deletion_beside,
    require_no_run_again,
    require_quotable_paths,
    require_quotable_settings,
    require_readable,
    require_temporary_folder,
    require_writable_outputs,
    stop_at_study_error,
    stop_beside_another_process,
    take_interrupts,
)
from terralucas.errors import StudyError
from terralucas.study import head
from terralucas.study.head import NAME, read_head, seconds_after_boot, this_process

RUNS = [("tiny", "ce", "mlp", str(seed)) for seed in range(10)]


@pytest.mark.parametrize("name", ["it's here", "a$b", "a`b", "a\\b", "two\nlines"])
def test_a_path_that_is_not_quoted_is_refused(name):
    with pytest.raises(StudyError, match="SLURM jobs cannot be started from"):
        require_quotable_paths(["/data/my study (é)", f"/data/{name}"])


def test_other_characters_in_paths_are_fine():
    require_quotable_paths(["/data/my study (é) & more", "config/a b.yaml"])


def test_a_folder_of_outputs_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    """Root may write everywhere, so that the answer of the system is replaced."""
    allowed = {tmp_path / "open"}
    for folder in ("open", "closed"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path in allowed)
    monkeypatch.setattr("_start.check_writable", refuse_writing)

    def job(folder):
        return SimpleNamespace(output=[str(tmp_path / folder / "seed-0" / "run.yaml")], log=[], benchmark=None)

    require_writable_outputs([job("open")])
    with pytest.raises(WorkflowError, match=r"closed cannot be written"):
        require_writable_outputs([job("open"), job("closed")])


def rule_of(*output):
    return SimpleNamespace(output=output, log=["results/z/logs/{run}.log"], benchmark=None)


RULES = [rule_of("results/z/data/chips.parquet"), rule_of("results/z/runs/{run}/run.yaml")]


@pytest.mark.parametrize(
    "place", ["results", "results/z", "results/z/runs", "results/z/logs", "resources", ".snakemake"]
)
def test_a_file_or_a_link_that_leads_nowhere_in_the_place_of_a_folder_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / place
    require_folders(RULES, Path("resources"), Path(".snakemake"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(StudyError, match=f"^{place} is a file, where a folder of the study should be"):
        require_folders(RULES, Path("resources"), Path(".snakemake"))
    path.unlink()
    path.symlink_to("/nowhere/disk")
    with pytest.raises(StudyError, match=f"^{place} is a link that leads nowhere") as stopped:
        require_folders(RULES, Path("resources"), Path(".snakemake"))
    assert stopped.value.found.startswith("a link to /nowhere/disk")
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(StudyError, match="leads nowhere"):
        require_folders(RULES, Path("resources"), Path(".snakemake"))
    path.unlink()
    (tmp_path / "disk").mkdir()
    path.symlink_to(tmp_path / "disk")
    require_folders(RULES, Path("resources"), Path(".snakemake"))


def refuse_writing(folder):
    raise StudyError(f"{folder} cannot be written.")


def test_a_full_folder_for_temporary_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "not there"))
    require_temporary_folder()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    require_temporary_folder()

    def refuse(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("_start.tempfile.TemporaryFile", refuse)
    with pytest.raises(WorkflowError, match=re.escape(f"There is no space left to write {tmp_path} (TMPDIR)")):
        require_temporary_folder()
    assert list(tmp_path.iterdir()) == []


def test_runs_that_would_be_trained_again_are_named_up_to_eight():
    require_no_run_again([])
    with pytest.raises(StudyError) as stopped:
        require_no_run_again(RUNS)
    assert stopped.value.found.startswith("10 run(s) of another configuration")
    assert stopped.value.found.endswith("tiny/ce/mlp/seed-7 and 2 more")


def test_a_study_error_ends_snakemake_with_its_words():
    with pytest.raises(WorkflowError, match="tiny/ce/mlp/seed-0") as stopped:
        stop_at_study_error(require_no_run_again, RUNS)
    assert stopped.value.__suppress_context__, "without a traceback of the reason"


def test_ctrl_c_before_the_first_job_ends_without_a_traceback():
    def wait():
        raise KeyboardInterrupt

    with pytest.raises(WorkflowError, match="Stopped before the first job"):
        stop_at_study_error(wait)


@pytest.fixture
def interrupt():
    """Sets what this process does at SIGINT until the end of the test."""
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


def test_a_start_in_the_background_can_be_interrupted(interrupt):
    """A shell without job control lets what it starts with `&` ignore SIGINT (POSIX.1-2017, XCU 2.11)."""
    interrupt(signal.SIG_IGN)
    take_interrupts()
    with pytest.raises(KeyboardInterrupt):
        head._interrupt_this_process()


def test_another_answer_to_ctrl_c_stays_and_only_the_main_thread_changes_it(interrupt):
    def answer(number, frame):
        pass

    interrupt(answer)
    take_interrupts()
    assert signal.getsignal(signal.SIGINT) is answer
    interrupt(signal.SIG_IGN)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(take_interrupts).result()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_runs_are_finished_by_their_record_and_planned_by_their_job(tmp_path):
    records = [str(tmp_path / f"{number}.yaml") for number in range(10)]
    (tmp_path / "3.yaml").touch()
    assert finished_runs(RUNS, records) == {RUNS[3]}

    def job(rule, seed):
        names = SimpleNamespace(backbone="tiny", loss="ce", decoder="mlp", seed=seed)
        return SimpleNamespace(rule=SimpleNamespace(name=rule), wildcards=names)

    jobs = [job("train_run", "3"), job("tune_run", "4"), job("split_chips", "5")]
    assert planned_runs(SimpleNamespace(needrun_jobs=lambda exclude_finished: jobs)) == {RUNS[3], RUNS[4]}


def test_a_start_marks_the_study_and_deletes_what_a_dead_process_left(tmp_path, monkeypatch):
    at_exit = []
    monkeypatch.setattr("_start.at_exit", lambda call, *given, **named: at_exit.append((call, given, named)))
    monkeypatch.chdir(tmp_path)
    left, own, foreign = (tmp_path / name for name in (".snakemake/tmp.dead", "tmp.own", "other/.snakemake/tmp.lives"))
    for folder in (left, own, foreign):
        folder.mkdir(parents=True)
    dead = replace(this_process((str(left), str(foreign))), started=1000.0)
    (tmp_path / NAME).write_text(json.dumps(asdict(dead)))
    stop_beside_another_process(tmp_path, (str(own),), dict)
    assert not left.exists()
    assert foreign.exists(), "a copy of a running study has the mark of the original, whose process may live"
    assert read_head(tmp_path).temporary == (str(own),)
    for call, given, named in reversed(at_exit):
        call(*given, **named)
    assert not own.exists()
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("option", ["--delete-all-output", "--delete-temp-output", "--delete-all"])
def test_the_output_of_a_running_study_is_not_deleted(tmp_path, option):
    require_no_deletion_beside(tmp_path, ["--cores", "1", option])
    other = psutil.Process(os.getppid())
    mark = replace(this_process(), pid=other.pid, started=seconds_after_boot(other.pid))
    (tmp_path / NAME).write_text(json.dumps(asdict(mark)))
    require_no_deletion_beside(tmp_path, ["--cores", "1", "results/delete-all-output"])
    with pytest.raises(StudyError, match=rf"cannot be deleted: {option}[\s\S]*found: process {other.pid} on "):
        require_no_deletion_beside(tmp_path, ["--cores", "1", option])


@pytest.mark.parametrize("setting", ["a=$HOME", "a=`ls`", "a=b\\c", "a=b\nc", """a={i: it's "x"}"""])
def test_settings_that_a_shell_would_read_are_refused(setting):
    with pytest.raises(StudyError, match="SLURM jobs cannot be started with --config"):
        require_quotable_settings(["earlier_jobs=report", setting])


def test_other_settings_reach_a_job_as_they_are():
    """Through the command line as Snakemake and its SLURM plugin write it: as text in double quotes for sbatch."""
    settings = ["a=b c", "predict={input: 'my chips (é)'}", 'a={"b": 3}', "a=x; & | ! {y} *"]
    require_quotable_settings(settings)
    arguments = format_cli_arg("--config", settings)
    wrapped = f"{sys.executable} -c 'import json, sys; print(json.dumps(sys.argv[2:]))' {arguments}".replace('"', '\\"')
    # The shell of the session makes sbatch's argument, the shell of the job reads it.
    script = subprocess.run(["bash", "-c", f'printf %s "{wrapped}"'], capture_output=True, text=True, check=True).stdout
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == settings


def test_snakemake_shows_no_line_of_the_projects_code_below_a_message(tmp_path):
    rules = tmp_path / "session.smk"
    text = "def start():\n    stop_at_study_error(fail)\nstart()\n"

    def fail():
        raise StudyError("The study is running already.", found="process 5 on login2")

    @contextmanager
    def context():
        yield

    # As from Snakemake's own code.
    with pytest.raises(WorkflowError) as stopped, context():
        exec(compile(text, str(rules), "exec"), {"stop_at_study_error": stop_at_study_error, "fail": fail})
    lines = {str(rules): {1: 1, 2: 2, 3: 3}}
    assert format_exception_to_string(stopped.value, lines).splitlines()[1:] == [
        "The study is running already.",
        "  found: process 5 on login2",
    ]


def test_a_cache_that_cannot_be_made_is_said_before_snakemake_fails(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    with pytest.raises(SystemExit, match=r"cannot write its cache to[\s\S]*export XDG_CACHE_HOME="):
        check_or_exit(["-n"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    check_or_exit(["-n"])
    assert (tmp_path / "cache" / "snakemake").is_dir()


def test_a_user_whom_the_machine_does_not_know_is_named_by_the_number(monkeypatch):
    """Snakemake writes the name into its log, and ended with a KeyError."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        # Empty, and not deleted, so that all are as before after the test.
        monkeypatch.setenv(name, "")
    number = os.getuid()

    def unknown(of):
        raise KeyError(f"getpwuid(): uid not found: {of}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    check_or_exit(["--target-jobs", "all:"])
    assert getpass.getuser() == str(number)


@pytest.mark.parametrize("how", ["cannot be listed", "cannot be entered"])
def test_a_folder_of_a_study_that_cannot_be_read_is_named(tmp_path, monkeypatch, how):
    """Root may read everything, so that the answers of the system are made here."""
    closed = tmp_path / "results/small/data/audit"
    closed.mkdir(parents=True)
    require_readable(tmp_path / "results/small")
    scandir, access = os.scandir, os.access

    def refuse(path):
        if str(path) == str(closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    if how == "cannot be listed":
        monkeypatch.setattr(os, "scandir", refuse)
    is_refused = lambda path, mode: str(path) == str(closed) and mode != os.F_OK  # noqa: E731
    monkeypatch.setattr(os, "access", lambda path, mode: not is_refused(path, mode) and access(path, mode))
    with pytest.raises(StudyError, match=rf"{closed} cannot be read[\s\S]*chmod -R u\+rX"):
        require_readable(tmp_path / "results/small")
    require_readable(tmp_path / "results/none")
