"""Submissions that SLURM refuses: which are tried again, when, and that none follows a stop."""

import errno
import logging
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from execution.slurm import submissions as _submissions
from execution.slurm.refusals import REFUSED
from execution.slurm.submissions import Submissions
from execution.start import configuration_copies as configuration_copies_module

FULL = (
    "SLURM sbatch failed. The error message was 'sbatch: error: QOSMaxSubmitJobPerUserLimit'.\n    sbatch call:\n  x\n"
)
LOST = FULL.replace("QOSMaxSubmitJobPerUserLimit", "Socket timed out on send/recv operation")
WRONG = FULL.replace("QOSMaxSubmitJobPerUserLimit", "Invalid qos specification")
STRANGE = FULL.replace("QOSMaxSubmitJobPerUserLimit", "Our site says no.")


class Slurm:
    """A plugin's executor before a SLURM with prepared answers for each job: a message, an error, or None (taken)."""

    run_uuid = "study-12345678_uuid"

    def __init__(self):
        self.answers, self.calls, self.errors, self.said = {}, [], [], []
        self.times = []
        scheduler = SimpleNamespace(_user_kill=None, _errors=False, keepgoing=True)
        settings = SimpleNamespace(pass_command_as_script=False)
        self.workflow = SimpleNamespace(scheduler=scheduler, executor_settings=settings)
        handler = logging.Handler()
        handler.emit = lambda record: self.said.append(record.getMessage())
        logger = logging.Logger("slurm", logging.INFO)
        logger.addHandler(handler)
        self.submissions = Submissions(self, Slurm.run_job, Slurm.report_error, lambda self, info: None, logger)

    def run_job(self, job):
        self.calls.append(job.name)
        self.times.append(time.monotonic())
        answers = self.answers.get(job.name, [])
        message = answers.pop(0) if answers else None
        if isinstance(message, Exception):
            raise message
        number = str(len(self.calls))
        info = SimpleNamespace(job=job, external_jobid=number, aux={"slurm_logfile": Path(f"{number}.log")})
        if message is None:
            self.submissions.accept(info)
        else:
            self.submissions.refuse(info, message)

    def report_error(self, info, message):
        self.errors.append((info.job.name, message))

    def wait(self, condition):
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)


class Job:
    restart_times, attempt = 2, 1

    def __init__(self, name):
        self.name = name


@pytest.fixture
def slurm(monkeypatch):
    monkeypatch.setattr(_submissions, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(_submissions, "LONGEST_PAUSE_S", 0.1)
    slurm = Slurm()
    yield slurm
    # Its thread must not call the clients of the next test.
    slurm.submissions.stop()
    if thread := slurm.submissions._thread:
        thread.join(20)


@pytest.fixture
def clients(tmp_path, monkeypatch):
    """SLURM's commands: squeue lists a job that nobody waits for until it is cancelled."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def write(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    write("squeue", "printf '77|RUNNING\\n'")
    write("scancel", f"echo $@ >> '{tmp_path}/cancelled'")
    return write


def test_a_job_that_is_refused_for_now_is_tried_until_slurm_takes_it_and_its_attempts_are_not_used_up(slurm):
    slurm.answers["a"] = [FULL] * 4
    job = Job("a")
    slurm.submissions.submit(job)
    slurm.wait(lambda: slurm.submissions.active)
    assert slurm.calls == ["a"] * 5
    assert slurm.submissions.logs == {"5": Path("5.log")}
    assert (job.attempt, slurm.errors) == (1, [])
    pauses = [later - earlier for earlier, later in zip(slurm.times, slurm.times[1:], strict=False)]
    # They double from the first to the longest.
    for pause, least in zip(pauses, (0.02, 0.04, 0.08, 0.1), strict=True):
        assert pause >= least


@pytest.mark.parametrize("in_thread", [False, True])
def test_an_error_of_a_submission_is_not_lost(slurm, in_thread):
    """The plugin asks no thread for its error, and Snakemake would wait for the job for ever."""
    passing = OSError(errno.ESTALE, os.strerror(errno.ESTALE), ".snakemake/configurations/1/small.yaml")
    slurm.answers |= {"a": [*([FULL] if in_thread else []), passing], "b": [ValueError("a fault of the plugin")]}
    for name in ("a", "b"):
        slurm.submissions.submit(Job(name))
    slurm.wait(lambda: slurm.submissions.active and slurm.errors)
    assert slurm.calls.count("a") == 2 + in_thread
    ((name, message),) = slurm.errors
    assert name == "b"
    assert "found: a fault of the plugin" in message
    assert slurm.submissions.in_flight == 0


def test_a_disk_that_does_not_answer_for_a_moment_does_not_keep_a_job_from_being_submitted(slurm, monkeypatch):
    def refuse(self):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self))

    monkeypatch.setitem(configuration_copies_module._copies, Path("small.yaml"), b"study: small")
    monkeypatch.setattr(Path, "is_file", refuse)
    slurm.submissions.submit(Job("a"))
    assert slurm.submissions.active == {"1"}


def test_the_reason_is_said_once_and_that_slurm_takes_jobs_again(slurm):
    slurm.answers |= {"a": [FULL, FULL], "b": [FULL]}
    for name in ("a", "b"):
        slurm.submissions.submit(Job(name))
    slurm.wait(lambda: slurm.said and slurm.said[-1] == "SLURM: takes jobs again.")
    refused, _again = slurm.said
    assert refused.startswith("SLURM: takes no more jobs for now (QOSMaxSubmitJobPerUserLimit).")
    assert "use fewer `jobs` in the profile" in refused


def test_of_many_refused_jobs_one_is_tried_at_a_time(slurm):
    names = [f"job {number}" for number in range(20)]
    slurm.answers |= {name: [FULL] * 2 for name in names}
    for name in names:
        slurm.submissions.submit(Job(name))
    first = len(slurm.calls)
    time.sleep(0.03)
    assert len(slurm.calls) - first <= 2, "a limit on jobs is not answered with a storm of them"
    slurm.submissions.stop()


def test_a_pack_whose_command_is_too_long_is_given_as_a_file(slurm):
    slurm.answers["a"] = ["Job submission failed with exception: [Errno 7] Argument list too long: '/bin/sh'"]
    slurm.submissions.submit(Job("a"))
    slurm.wait(lambda: slurm.submissions.active)
    assert slurm.workflow.executor_settings.pass_command_as_script
    assert (slurm.calls, slurm.errors, slurm.said) == (["a", "a"], [], [])


def test_a_lasting_refusal_fails_at_once_with_the_remedy_and_no_attempt_is_left(slurm):
    slurm.answers["a"] = [WRONG]
    job = Job("a")
    slurm.submissions.submit(job)
    ((name, message),) = slurm.errors
    assert slurm.calls == [name] == ["a"]
    assert message.startswith(f"{REFUSED}\n  found: Invalid qos specification\n  what to do: correct the settings")
    assert message.partition("\n    sbatch call:")[2], "the log file has the command"
    assert job.attempt == job.restart_times + 1


def test_an_unknown_refusal_is_tried_some_times_and_then_fails(slurm, clients):
    slurm.answers["a"] = [STRANGE] * 100
    slurm.submissions.submit(Job("a"))
    slurm.wait(lambda: slurm.errors)
    assert slurm.calls == ["a"] * 6


def test_a_job_whose_answer_was_lost_is_cancelled_before_it_is_submitted_again(slurm, tmp_path, monkeypatch):
    cancelled = tmp_path / "cancelled"
    (tmp_path / "squeue").write_text("#!/bin/sh\nprintf '1|RUNNING\\n77|PENDING\\n'\n")
    (tmp_path / "scancel").write_text(f"#!/bin/sh\necho $@ >> '{cancelled}'\n")
    for name in ("squeue", "scancel"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    slurm.submissions.submit(Job("known"))
    slurm.answers["a"] = [LOST]
    slurm.submissions.submit(Job("a"))
    slurm.wait(lambda: len(slurm.submissions.active) == 2)
    assert cancelled.read_text() == "77\n", "and not the one that Snakemake waits for"


@pytest.mark.parametrize("greeting", ["Welcome to cluster one", "CLUSTER: lab", "77 nodes of 80 are free"])
def test_what_a_site_says_beside_the_jobs_is_not_cancelled(slurm, clients, tmp_path, greeting):
    clients("squeue", f"echo '{greeting}'; test -e '{tmp_path}/cancelled' && echo 'JOBID|STATE' || echo '78|RUNNING'")
    slurm.answers["a"] = [LOST]
    slurm.submissions.submit(Job("a"))
    slurm.wait(lambda: slurm.submissions.active)
    assert (tmp_path / "cancelled").read_text() == "78\n"


def test_a_job_whose_id_sbatch_does_not_say_is_cancelled_and_submitted_again(slurm, clients, tmp_path):
    def run_job(self, job):
        self.calls.append(job.name)
        info = SimpleNamespace(job=job, external_jobid="5" if len(self.calls) == 3 else "", aux=None)
        self.submissions.accept(info)

    slurm.submissions._run_job = run_job
    slurm.submissions.submit(Job("a"))
    slurm.wait(lambda: slurm.submissions.active)
    assert (slurm.calls, slurm.submissions.active) == (["a"] * 3, {"5"})
    assert (tmp_path / "cancelled").read_text() == "77\n" * 2
    assert "sbatch did not say its id" in slurm.said[0]


def test_a_second_job_of_one_id_is_cancelled_and_submitted_again(slurm, clients, tmp_path):
    """A controller that lost its state begins with id 1 again: the end of one job would be taken for that of both."""
    ids = iter(["1", "1", "2"])

    def run_job(self, job):
        self.calls.append(job.name)
        self.submissions.accept(SimpleNamespace(job=job, external_jobid=next(ids), aux=None))

    slurm.submissions._run_job = run_job
    slurm.submissions.submit(Job("a"))
    slurm.submissions.submit(Job("b"))
    slurm.wait(lambda: "2" in slurm.submissions.active)
    assert slurm.calls == ["a", "b", "b"]
    assert (tmp_path / "cancelled").read_text() == "1\n"
    assert "its controller has lost its state (1)" in slurm.said[0]


def test_nothing_is_submitted_beside_a_job_that_may_have_been_taken_until_slurm_can_tell(slurm, clients, tmp_path):
    clients("squeue", f"echo >> '{tmp_path}/asked'; exit 1")
    slurm.answers["a"] = [LOST]
    slurm.submissions.submit(Job("a"))
    slurm.wait(lambda: (tmp_path / "asked").exists() and len((tmp_path / "asked").read_text()) >= 3)
    assert slurm.calls == ["a"]
    clients("squeue", "echo 'JOBID|STATE'")
    slurm.wait(lambda: slurm.submissions.active)
    assert slurm.calls == ["a"] * 2


def test_what_the_last_try_may_have_left_is_cancelled(slurm, clients, tmp_path):
    slurm.answers["a"] = [STRANGE] * 100
    slurm.submissions.submit(Job("a"))
    slurm.wait(lambda: slurm.errors)
    # Before each of the five tries that follow the first, and once more.
    slurm.wait(lambda: (tmp_path / "cancelled").read_text() == "77\n" * 6)
    assert slurm.calls == ["a"] * 6


def test_a_preempted_job_is_submitted_again_and_its_attempts_are_not_used_up(slurm):
    job = Job("a")
    slurm.submissions.submit(job)
    assert slurm.submissions.submit_again(job)
    slurm.wait(lambda: len(slurm.submissions.active) == 2)
    slurm.wait(lambda: slurm.submissions._thread is None)
    assert (slurm.calls, job.attempt, slurm.errors, slurm.said) == (["a", "a"], 1, [], [])


def test_a_preempted_job_fails_where_the_study_ends(slurm):
    slurm.workflow.scheduler._user_kill = "graceful"
    assert not slurm.submissions.submit_again(Job("a"))
    slurm.workflow.scheduler._user_kill = None
    slurm.submissions.stop()
    assert not slurm.submissions.submit_again(Job("a"))
    assert slurm.calls == []


def test_after_a_stop_nothing_is_submitted_also_what_waited(slurm):
    slurm.answers["a"] = [FULL] * 100
    slurm.submissions.submit(Job("a"))
    slurm.submissions.stop()
    calls = len(slurm.calls)
    slurm.submissions.submit(Job("b"))
    time.sleep(0.3)
    # One that was under way when the stop came may still be asked for.
    assert len(slurm.calls) <= calls + 1 and "b" not in slurm.calls


@pytest.mark.parametrize("state", [{"_user_kill": "graceful"}, {"_errors": True, "keepgoing": False}])
def test_refused_jobs_are_given_up_where_the_study_ends_by_itself(slurm, monkeypatch, state):
    """After SIGTERM, or the failure of a check, Snakemake waits for the jobs that it has handed over."""
    monkeypatch.setattr(_submissions, "FIRST_PAUSE_S", 1000)
    monkeypatch.setattr(_submissions, "_LOOK_S", 0.01)
    slurm.answers = {name: [FULL] * 100 for name in "ab"}
    jobs = [Job(name) for name in "ab"]
    for job in jobs:
        slurm.submissions.submit(job)
    vars(slurm.workflow.scheduler).update(state)
    slurm.wait(lambda: len(slurm.errors) == 2)
    assert slurm.calls == ["a", "b"]
    assert all(job.attempt == job.restart_times + 1 for job in jobs)
    said = slurm.errors[0][1]
    assert said.startswith(f"{REFUSED}\n  found: QOSMaxSubmitJobPerUserLimit\n  what to do: start the study again")


def test_refused_jobs_wait_after_a_failure_that_lets_the_others_go_on(slurm):
    slurm.workflow.scheduler._errors = True
    slurm.answers["a"] = [FULL] * 4
    slurm.submissions.submit(Job("a"))
    slurm.wait(lambda: slurm.submissions.active)
    assert slurm.errors == []


def test_a_submission_under_way_is_counted(slurm):
    inside, go_on = threading.Event(), threading.Event()

    def run_job(self, job):
        inside.set()
        go_on.wait(20)

    slurm.submissions._run_job = run_job
    thread = threading.Thread(target=slurm.submissions.submit, args=(Job("a"),))
    thread.start()
    assert inside.wait(20)
    assert slurm.submissions.in_flight == 1
    go_on.set()
    thread.join(20)
    assert slurm.submissions.in_flight == 0
