"""What refuses a start before its first job."""

import asyncio
import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from snakemake.exceptions import WorkflowError
from snakemake.jobs import Job
from snakemake_interface_executor_plugins.utils import format_cli_arg

from execution.end.stopped import StudyStoppedError
from execution.start.start_checks import (
    require_folders,
    require_no_deletion_beside,
    require_no_run_again,
    require_quotable_paths,
    require_quotable_settings,
    require_readable,
    require_start_that_waits,
    require_temporary_folder,
    require_writable_outputs,
    tell_outputs_that_cannot_be_replaced,
)
from terralucas.errors import StudyError
from terralucas.study.head import NAME, seconds_after_boot, this_process

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
    monkeypatch.setattr("execution.start.start_checks.check_writable", refuse_writing)

    def job(folder):
        return SimpleNamespace(output=[str(tmp_path / folder / "seed-0" / "run.yaml")], log=[], benchmark=None)

    require_writable_outputs([job("open")])
    with pytest.raises(WorkflowError, match=r"closed cannot be written"):
        require_writable_outputs([job("open"), job("closed")])


class Output(str):
    """Snakemake's output of a job, as far as it matters here."""

    __slots__ = ()

    async def protected(self):
        return not os.access(self, os.W_OK)


def test_results_of_a_colleague_that_must_be_made_again_are_refused_with_words(tmp_path, monkeypatch):
    """Root may write everywhere, so that the answer of the system is replaced."""
    monkeypatch.setattr(Job, "check_protected_output", Job.check_protected_output)
    tell_outputs_that_cannot_be_replaced()
    file = tmp_path / "chips.parquet"
    file.touch()
    output = Output(file)
    asyncio.run(Job.check_protected_output(SimpleNamespace(output=[output])))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    job = SimpleNamespace(output=[output], rule=SimpleNamespace(lineno=1, snakefile="x"), wildcards={}, log=[])
    with pytest.raises(StudyStoppedError, match=rf"found: {file}, of the user {file.owner()}\n[\s\S]*umask 002"):
        asyncio.run(Job.check_protected_output(job))


def test_a_start_that_would_not_wait_for_its_jobs_is_refused():
    """It ended well, having submitted nothing, and named a report that was not there."""
    require_start_that_waits(SimpleNamespace(immediate_submit=False))
    with pytest.raises(StudyError, match="found: --immediate-submit"):
        require_start_that_waits(SimpleNamespace(immediate_submit=True))


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

    monkeypatch.setattr("execution.start.start_checks.tempfile.TemporaryFile", refuse)
    with pytest.raises(WorkflowError, match=re.escape(f"There is no space left to write {tmp_path} (TMPDIR)")):
        require_temporary_folder()
    assert list(tmp_path.iterdir()) == []


def test_runs_that_would_be_trained_again_are_named_up_to_eight():
    require_no_run_again([])
    with pytest.raises(StudyError) as stopped:
        require_no_run_again(RUNS)
    assert stopped.value.found.startswith("10 run(s) of another configuration")
    assert stopped.value.found.endswith("tiny/ce/mlp/seed-7 and 2 more")


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
