"""Ctrl-C on a cluster: everything submitted is cancelled within a minute, and the last line says what became of it."""

import logging
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from execution.slurm import cancellation as _cancellation
from execution.slurm.cancellation import cancel_session
from execution.slurm.submissions import Submissions

NAME = "study-12345678_uuid"


class Session:
    """An executor and SLURM's clients as shell scripts; what is printed at exit is in `last`."""

    def __init__(self, folder):
        self.folder, self.last = folder, []
        self.write("scancel", f"echo $@ >> '{folder}/cancelled'")
        self.write("squeue", "echo 'JOBID|STATE|NAME'")
        (folder / "tmp.x").mkdir()
        local = SimpleNamespace(pool=ThreadPoolExecutor(1))
        self.executor = SimpleNamespace(
            run_uuid=NAME, lock=threading.Lock(), wait=True, wait_thread=threading.Thread(target=int),
            tmpdir=str(folder / "tmp.x"), _job_submission_executor=ThreadPoolExecutor(2),
            workflow=SimpleNamespace(scheduler=SimpleNamespace(_local_executor=local)),
        )  # fmt: skip
        self.executor.wait_thread.start()
        self.submissions = Submissions(self.executor, lambda *_: None, lambda *_: None, lambda *_: None, logging.root)

    def write(self, name, script):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    @property
    def cancelled(self):
        path = self.folder / "cancelled"
        return path.read_text().splitlines() if path.exists() else []

    def cancel(self):
        cancel_session(self.executor, self.submissions, logging.getLogger("slurm"))
        (line,) = self.last
        return line


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    session = Session(tmp_path)
    monkeypatch.setattr(
        _cancellation, "atexit", SimpleNamespace(register=lambda _print, line, file: session.last.append(line))
    )
    handler = signal.getsignal(signal.SIGINT)
    yield session
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def quick(monkeypatch):
    """The limits of a real session, shorter."""
    for name in ("_PATIENCE_S", "_COMMAND_S", "_SUBMISSION_S", "_PAUSE_S", "_LOCAL_JOBS_S"):
        monkeypatch.setattr(_cancellation, name, max(0.5, getattr(_cancellation, name) / 15))


def test_the_limits_add_up_to_less_than_a_minute():
    # The last round may begin just before patience ends.
    seconds = _cancellation._PATIENCE_S + 2 * _cancellation._COMMAND_S + _cancellation._PAUSE_S
    assert seconds + _cancellation._LOCAL_JOBS_S + 1 < 60


def test_jobs_are_cancelled_by_their_name_and_the_last_line_says_so(session):
    line = session.cancel()
    assert session.cancelled == [f"--name {NAME}"]
    assert line == "Stopped. Nothing more is submitted, and all SLURM jobs of this session are cancelled."
    assert not (session.folder / "tmp.x").exists()
    assert not session.executor.wait, "the plugin asks no more"
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN, "a second Ctrl-C would leave jobs behind"


def test_jobs_that_a_site_renamed_are_cancelled_by_their_ids(session):
    session.submissions.active = {"7"}
    listed = "echo '7|RUNNING|site_7'; echo '8|RUNNING|of_another_study'"
    session.write("squeue", f"grep -q '^7' '{session.folder}/cancelled' || {{ {listed}; }}; echo 'JOBID|STATE|NAME'")
    assert session.cancel().endswith("all SLURM jobs of this session are cancelled.")
    assert session.cancelled == [f"--name {NAME}", "7", f"--name {NAME}"]


def test_what_waits_to_be_submitted_never_is(session):
    calls = []
    session.submissions._run_job = lambda _executor, job: calls.append(job)
    inside, go_on = threading.Event(), threading.Event()
    for _ in range(2):
        session.executor._job_submission_executor.submit(lambda: (inside.set(), go_on.wait(20)))
    for job in range(10):
        session.executor._job_submission_executor.submit(session.submissions.submit, job)
    assert inside.wait(20)
    session.cancel()
    go_on.set()
    session.executor._job_submission_executor.shutdown(wait=True)
    assert calls == []


def test_a_job_that_is_being_submitted_is_cancelled_too(session, quick):
    """It is in the queue only when the first scancel is over."""
    is_taken = threading.Event()

    def run_job(_executor, _job):
        # sbatch ends after the first scancel.
        while not session.cancelled:
            is_taken.wait(0.01)
        session.write(
            "squeue",
            f"grep -c . '{session.folder}/cancelled' | grep -q '^1$' && echo '7|PENDING|{NAME}' || echo 'JOBID|STATE'",
        )
        is_taken.set()

    session.submissions._run_job = run_job
    thread = threading.Thread(target=session.submissions.submit, args=("job",))
    thread.start()
    line = session.cancel()
    thread.join(20)
    assert len(session.cancelled) >= 2
    assert line.endswith("are cancelled.")


def test_an_sbatch_without_an_answer_is_given_up_with_what_it_started(session, quick):
    """A site's sbatch may be a script, whose child keeps its output open; and no sbatch follows it."""
    session.write("sbatch", f"sh -c 'sleep 20; echo >> {session.folder}/late'; exit 0")
    ended = []

    def run_job(_executor, _job):
        for _ in range(2):
            ended.append(session.submissions.sbatch.run("sbatch --parsable")[0])

    session.submissions._run_job = run_job
    thread = threading.Thread(target=session.submissions.submit, args=("job",))
    thread.start()
    line = session.cancel()
    thread.join(60)
    assert ended == [-signal.SIGKILL, 1]
    assert not (session.folder / "late").exists()
    assert line.endswith("are cancelled.")


GREETING = "echo '| Maintenance on Monday | see the wiki |'; echo 'CLUSTER: lab'; echo '77 nodes are free'"


def test_what_a_site_says_before_the_rows_is_no_job(session, quick):
    session.write("squeue", f"{GREETING}; echo 'JOBID|STATE'")
    assert session.cancel().endswith("all SLURM jobs of this session are cancelled.")
    session.last.clear()
    session.write("squeue", f"{GREETING}; echo '7|RUNNING|{NAME}'")
    assert "but these SLURM jobs go on: 7." in session.cancel()


def test_squeue_may_fail(session, quick):
    session.write("squeue", "echo 'slurm_load_jobs error' >&2; exit 1")
    assert session.cancel().endswith("all SLURM jobs of this session are cancelled.")


def test_a_controller_that_is_away_is_told_with_what_to_do(session, quick):
    for name in ("squeue", "scancel"):
        session.write(name, "echo 'error: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    assert session.cancel() == (
        "Stopped. Nothing more is submitted, but some SLURM jobs may go on (error: Unable to contact slurm controller "
        f"(connect failure)). To cancel them: scancel --name={NAME}; the next start of this study does it, too."
    )


def test_jobs_that_do_not_end_are_named(session, quick):
    session.write("squeue", f"printf '7|RUNNING|{NAME}\\n8|COMPLETING|{NAME}\\n'")
    assert "but these SLURM jobs go on: 7." in session.cancel()


def test_jobs_of_this_machine_that_have_not_begun_never_do_and_nobody_is_told_a_result(session):
    """Snakemake asks each for one, and would print a traceback for each that was cancelled."""
    pool = session.executor.workflow.scheduler._local_executor.pool
    inside, go_on, begun, told = threading.Event(), threading.Event(), [], []
    pool.submit(lambda: (inside.set(), go_on.wait(20)))
    pool.submit(begun.append, 1).add_done_callback(told.append)
    assert inside.wait(20)
    session.cancel()
    go_on.set()
    pool.shutdown(wait=True)
    assert (begun, told) == ([], [])


def test_jobs_of_this_machine_end_as_well(session):
    job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    session.cancel()
    assert job.wait(20) == -signal.SIGTERM, "Snakemake, which waits for it, learns that it did not finish"
