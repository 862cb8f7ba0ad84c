"""How a start begins and is stopped, and which runs it asks about."""

import errno
import getpass
import io
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
from snakemake.exceptions import WorkflowError, format_exception_to_string

from execution.start.config_files import check_or_exit
from execution.start.refusals_of_start import say, stop_at_study_error, stop_beside_another_process, take_interrupts
from execution.start.run_status import finished_runs, planned_runs
from execution.start.start_checks import require_no_run_again
from terralucas.errors import StudyError
from terralucas.study import head
from terralucas.study.head import NAME, read_head, this_process

RUNS = [("tiny", "ce", "mlp", str(seed)) for seed in range(10)]


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
    monkeypatch.setattr(
        "execution.start.refusals_of_start.at_exit", lambda call, *given, **named: at_exit.append((call, given, named))
    )
    monkeypatch.chdir(tmp_path)
    left, own, foreign = (tmp_path / name for name in (".snakemake/tmp.dead", "tmp.own", "other/.snakemake/tmp.lives"))
    for folder in (left, foreign):
        folder.mkdir(parents=True)
    dead = replace(this_process((str(left), str(foreign))), started=1000.0)
    (tmp_path / NAME).write_text(json.dumps(asdict(dead)))
    mark = stop_beside_another_process(tmp_path, (str(own),), dict, "")
    assert not left.exists()
    assert foreign.exists(), "a copy of a running study has the mark of the original, whose process may live"
    assert read_head(tmp_path) == mark
    assert mark.temporary == (str(own),)
    for call, given, named in reversed(at_exit):
        call(*given, **named)
    assert not (tmp_path / NAME).exists()


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


class Gone(io.StringIO):
    """A terminal that has ended."""

    def write(self, text):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_terminal_that_has_ended_hides_no_error(monkeypatch):
    """`snakemake … | tee log`: Ctrl-C ends tee first, and Snakemake still writes its own log."""
    monkeypatch.setattr(sys, "stderr", Gone())
    say("What you asked for is not finished.")
