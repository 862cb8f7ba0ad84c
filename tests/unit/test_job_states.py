"""What the plugin learns of its jobs' states, and what a user learns while they wait or SLURM is silent."""

import asyncio
import getpass
import logging
from types import SimpleNamespace

import pytest

from execution.slurm import job_states as _job_states
from execution.slurm import running_jobs as _running_jobs
from execution.slurm import waiting_jobs as _waiting_jobs
from execution.slurm.job_states import JobStates

USER = getpass.getuser()


class Slurm:
    """SLURM's clients as shell scripts, and what the study says."""

    def __init__(self, folder, requeues=False):
        self.folder, self.said = folder, []
        handler = logging.Handler()
        handler.emit = lambda record: self.said.append(record.getMessage())
        logger = logging.Logger("slurm", logging.INFO)
        logger.addHandler(handler)
        self.submissions = SimpleNamespace(active=set(), logs={}, stopped=SimpleNamespace(is_set=lambda: False))
        self.states = JobStates(self.submissions, lambda: "study_uuid", requeues, logger)
        self.write("scancel", f"echo $@ >> '{folder}/cancelled'")
        # As SLURM 22.05 says it.
        self.write("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")

    def write(self, name, script):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def answer(self, *rows):
        self.write("squeue", "\n".join(f"echo '{row}'" for row in rows))

    def query(self):
        return asyncio.run(self.states.query("squeue"))[0]

    @property
    def cancelled(self):
        path = self.folder / "cancelled"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    for module in (_job_states, _running_jobs, _waiting_jobs):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def slurm(tmp_path, monkeypatch, clock):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(_job_states, "_PAUSE_S", 0.01)
    return Slurm(tmp_path)


def test_sacct_names_who_cancelled_and_the_plugin_knows_the_bare_state_only(slurm):
    slurm.answer("7|CANCELLED by 0", "8|RUNNING")
    assert slurm.query() == {"7": "CANCELLED", "8": "RUNNING"}


def test_it_asks_until_slurm_answers_and_says_so_once(slurm, clock, tmp_path, monkeypatch):
    """Failures and garbage are no answers; the plugin would forget its jobs after some of them."""
    count = tmp_path / "count"
    slurm.write(
        "squeue",
        f"echo >> '{count}'\n"
        f"case $(wc -l < '{count}') in\n"
        "1|2) echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1;;\n"
        "3) echo 'The batch system is busy';;\n"
        "*) echo '7|RUNNING';;\nesac",
    )

    async def sleep(seconds):
        clock.seconds += 61

    monkeypatch.setattr(_job_states, "asyncio", SimpleNamespace(sleep=sleep))
    assert slurm.query() == {"7": "RUNNING"}
    silent, again = slurm.said
    assert silent.startswith("SLURM: squeue has not answered for 61 s (slurm_load_jobs error: Unable to contact")
    assert again == "SLURM: answers again."


def test_a_stopped_study_does_not_go_on_asking(slurm):
    slurm.write("squeue", "exit 1")
    slurm.submissions.stopped.is_set = lambda: True
    assert slurm.query() is None


def test_a_question_that_hangs_is_one_without_an_answer(slurm, monkeypatch):
    """As that of sacct, where there is no database."""
    monkeypatch.setattr(_job_states, "_PATIENCE_S", 0.2)
    slurm.write("squeue", "exec sleep 1000")
    slurm.submissions.stopped.is_set = lambda: True
    assert slurm.query() is None


def test_a_question_that_hangs_in_a_script_of_the_site_ends_with_what_the_script_started(slurm, monkeypatch):
    monkeypatch.setattr(_job_states, "_PATIENCE_S", 0.2)
    slurm.write("squeue", f"sh -c 'sleep 10; echo > {slurm.folder}/late'; exit 0")
    slurm.submissions.stopped.is_set = lambda: True
    assert slurm.query() is None
    assert not (slurm.folder / "late").exists(), "nobody waited for it"


def test_a_job_that_slurm_lost_counts_as_failed_after_several_answers_without_it(slurm, clock):
    slurm.submissions.active = {"7", "8"}
    slurm.answer("8|RUNNING")
    for _ in range(2):
        assert slurm.query() == {"8": "RUNNING"}
        clock.seconds += 200
    assert slurm.query() == {"7": "ERROR", "8": "RUNNING"}
    assert slurm.cancelled == ["--name=study_uuid", "7"], "in case that SLURM remembers it later"
    assert slurm.submissions.active == {"8"}


def test_jobs_that_a_site_renames_are_found_by_their_ids(slurm, clock):
    """The question of the plugin is for a name."""
    slurm.submissions.active = {"7", "8", "9"}
    slurm.write(
        "squeue",
        "case $* in\n*'%j --jobs 7,9') echo '7|RUNNING|site_7'; echo '9|PENDING|study_uuid'; echo '5|RUNNING|x';;\n"
        "*) echo '8|RUNNING';;\nesac",
    )
    for _ in range(2):
        assert slurm.query() == {"7": "RUNNING", "8": "RUNNING"}
    (said,) = slurm.said
    assert said.startswith("SLURM: job 7 has the name site_7, which this study did not give it.")


BEGUN = "Building DAG of jobs...\nSelect jobs to execute...\n"
# The end of a job's log, as Snakemake 9.27.1 wrote it.
DONE = "Finished jobid: 0 (Rule: train_run)\n{} steps ({}) done\nStoring output in storage.\nElapsed time: 0:00:08.3\n"


@pytest.mark.parametrize(
    ("log", "state"),
    [
        (BEGUN + DONE.format("1 of 2", "50%") + DONE.format("2 of 2", "100%"), "COMPLETED"),
        (BEGUN + DONE.format("1 of 2", "50%"), "ERROR"),
        # SLURM started it again, and writes at the end of the same file.
        (BEGUN + DONE.format("1 of 1", "100%") + BEGUN, "ERROR"),
        ("", "ERROR"),
        (None, "ERROR"),
    ],
    ids=["whole", "half", "again", "empty", "none"],
)
def test_a_job_that_slurm_forgot_ended_well_where_its_log_says_so(slurm, clock, tmp_path, log, state):
    """SLURM forgets ended jobs after MinJobAge, for example while the study's process is stopped."""
    slurm.submissions.active = {"7"}
    slurm.submissions.logs["7"] = tmp_path / "7.log"
    if log is not None:
        (tmp_path / "7.log").write_text(log)
    slurm.answer("8|RUNNING")
    for _ in range(2):
        assert slurm.query() == {"8": "RUNNING"}
        clock.seconds += 200
    assert slurm.query() == {"7": state, "8": "RUNNING"}
    assert slurm.cancelled == ([] if state == "COMPLETED" else ["--name=study_uuid", "7"])
    assert slurm.submissions.active == set()
    assert slurm.said[0].startswith("SLURM: does not know job 7 any more")


@pytest.mark.parametrize(("answer", "state"), [("echo '7|RUNNING'", "RUNNING"), ("exit 1", None)])
def test_a_job_that_the_database_does_not_know_yet_is_not_lost(slurm, clock, answer, state):
    """The controller keeps new jobs for it while it is away; meanwhile sacct answers from what it has."""
    slurm.submissions.active = {"7"}
    slurm.write("sacct", "case $* in *--noheader*) ;; *) echo 'JobIDRaw|State';; esac")
    slurm.write("squeue", answer)
    for _ in range(4):
        states = asyncio.run(slurm.states.query("sacct -X --noheader --parsable2"))[0]
        clock.seconds += 200
    assert states.get("7") == state
    assert (slurm.cancelled, slurm.said, slurm.submissions.active) == ([], [], {"7"})


def query_with_sacct(slurm):
    return asyncio.run(slurm.states.query("sacct -X --noheader --parsable2"))[0]


@pytest.mark.parametrize(
    ("log", "squeue", "state"),
    [
        (BEGUN + DONE.format("1 of 1", "100%"), "exit 1", "COMPLETED"),
        (BEGUN, "echo 'JOBID|STATE'", "ERROR"),
        (BEGUN, "echo '7|TIMEOUT'", "TIMEOUT"),
    ],
    ids=["its log says that it ended well", "squeue does not know it", "squeue says that it is over"],
)
def test_a_job_that_sacct_calls_running_for_ever_is_not_waited_for(slurm, clock, tmp_path, log, squeue, state):
    """Its database has lost the end of the job: a runaway job."""
    slurm.submissions.active, slurm.submissions.logs["7"] = {"7"}, tmp_path / "7.log"
    (tmp_path / "7.log").write_text(log)
    slurm.write("sacct", "echo '7|RUNNING'")
    slurm.write("squeue", squeue)
    for _ in range(4):
        assert query_with_sacct(slurm) == {"7": "RUNNING"}
        clock.seconds += 151
    assert query_with_sacct(slurm) == {"7": state}
    assert slurm.submissions.active == set()
    assert slurm.cancelled == ["--name=study_uuid", "7"]
    assert slurm.said[0].startswith("SLURM: sacct says that job 7 runs, but ")


@pytest.fixture
def stale(slurm, tmp_path):
    """A study whose squeue shows a list of some minutes ago, without its job; sacct says that it runs."""
    slurm.submissions.active, slurm.submissions.logs["7"] = {"7"}, tmp_path / "7.log"
    (tmp_path / "7.log").write_text(BEGUN)
    slurm.write("sacct", "echo '7|RUNNING'")
    slurm.write("squeue", "echo 'JOBID|STATE'")
    return slurm


@pytest.mark.parametrize("program", ["sacct", "squeue"])
@pytest.mark.parametrize("state", ["RUNNING", "COMPLETED", "TIMEOUT"])
def test_the_controller_counts_more_than_squeue(stale, clock, program, state):
    stale.write("scontrol", f"echo '   JobState={state} Reason=None'")
    query = stale.query if program == "squeue" else lambda: query_with_sacct(stale)
    for _ in range(8):
        states = query()
        if states.get("7") == state != "RUNNING":
            break
        assert states in ({"7": "RUNNING"}, {})
        clock.seconds += 200
    assert states == {"7": state}
    assert stale.submissions.active == ({"7"} if state == "RUNNING" else set())
    assert not any("counts as failed" in line for line in stale.said)


@pytest.mark.parametrize("program", ["sacct", "squeue"])
def test_a_lost_job_is_waited_for_longer_where_the_controller_may_not_be_asked(stale, clock, program):
    stale.write("scontrol", "echo 'scontrol: permission denied' >&2; exit 1")
    query = stale.query if program == "squeue" else lambda: query_with_sacct(stale)
    for _ in range(7):
        assert query() == ({} if program == "squeue" else {"7": "RUNNING"})
        clock.seconds += 240
    for _ in range(4):
        query()
        clock.seconds += 240
    assert "counts as failed" in stale.said[0]
    assert stale.submissions.active == set()
    assert stale.cancelled == ["--name=study_uuid", "7"]


@pytest.mark.parametrize("squeue", ["echo '7|RUNNING'", "echo '7|PENDING'", "exit 1"])
def test_a_job_that_sacct_calls_running_is_waited_for_unless_squeue_answers_that_it_is_over(
    slurm, clock, tmp_path, squeue
):
    slurm.submissions.active, slurm.submissions.logs["7"] = {"7"}, tmp_path / "7.log"
    (tmp_path / "7.log").write_text(BEGUN)
    slurm.write("sacct", "echo '7|RUNNING'")
    slurm.write("squeue", squeue)
    for _ in range(6):
        assert query_with_sacct(slurm) == {"7": "RUNNING"}
        clock.seconds += 200
    assert (slurm.cancelled, slurm.said, slurm.submissions.active) == ([], [], {"7"})


def test_a_job_that_runs_again_after_it_seemed_over_is_waited_for(slurm, clock, tmp_path):
    """Its database had the end late, and SLURM had started the job again."""
    slurm.submissions.active = {"7"}
    slurm.write("sacct", "echo '7|RUNNING'")
    for answer in ("echo '7|FAILED'", "echo '7|RUNNING'") * 4:
        slurm.write("squeue", answer)
        clock.seconds += 301
        assert query_with_sacct(slurm) == {"7": "RUNNING"}
    assert slurm.cancelled == []


def test_a_job_whose_watcher_on_its_node_was_killed_is_not_waited_for_after_it_ended_well(slurm, clock, tmp_path):
    """squeue then says that it runs, until its time limit."""
    slurm.submissions.active, slurm.submissions.logs["7"] = {"7", "8"}, tmp_path / "7.log"
    (tmp_path / "7.log").write_text(BEGUN)
    slurm.answer("7|RUNNING", "8|RUNNING")
    for _ in range(3):
        assert slurm.query() == {"7": "RUNNING", "8": "RUNNING"}
        clock.seconds += 301
    (tmp_path / "7.log").write_text(BEGUN + DONE.format("1 of 1", "100%"))
    assert slurm.query() == {"7": "RUNNING", "8": "RUNNING"}, "it may take a moment to end"
    clock.seconds += 301
    assert slurm.query() == {"7": "COMPLETED", "8": "RUNNING"}
    assert slurm.cancelled == ["--name=study_uuid", "7"], "it holds a node"
    assert slurm.submissions.active == {"8"}


def test_a_state_that_slurm_does_not_know_is_no_success(slurm):
    """The plugin takes UNKNOWN for one."""
    slurm.answer("7|UNKNOWN")
    assert slurm.query() == {"7": "NOT_KNOWN"}


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL"])
def test_a_job_that_slurm_may_requeue_and_does_not_is_over_after_a_while(slurm, clock, tmp_path, state):
    """As on a partition with PreemptMode=CANCEL."""
    slurm = Slurm(tmp_path, requeues=True)
    slurm.answer(f"7|{state}")
    assert slurm.query() == {"7": state}
    clock.seconds += 30
    assert slurm.query() == {"7": state}
    clock.seconds += 40
    assert not slurm.states.was_preempted("7")
    assert slurm.query() == {"7": "CANCELLED"}
    assert slurm.cancelled == ["--name=study_uuid", "7"]
    assert slurm.states.was_preempted("7") == (state == "PREEMPTED")


def test_a_job_that_slurm_requeues_is_waited_for(slurm, clock, tmp_path):
    slurm = Slurm(tmp_path, requeues=True)
    for state in ("PREEMPTED", "PENDING", "RUNNING", "PREEMPTED"):
        slurm.answer(f"7|{state}")
        assert slurm.query() == {"7": state}
        clock.seconds += 100
    assert slurm.cancelled == []


def test_a_preempted_job_is_over_at_once_where_slurm_may_not_requeue(slurm):
    slurm.answer("7|PREEMPTED", "8|NODE_FAIL")
    assert slurm.query() == {"7": "CANCELLED", "8": "NODE_FAIL"}, "of failed nodes the plugin tells itself"
    assert [slurm.states.was_preempted(job) for job in ("7", "8")] == [True, False]


def test_the_reasons_are_asked_of_squeue_for_jobs_that_wait(slurm, clock):
    slurm.write("squeue", "case $* in *%r*) echo '7|PENDING|Resources';; *) echo '7|PENDING';; esac")
    for _ in range(2):
        assert slurm.query() == {"7": "PENDING"}
        clock.seconds += 70
    assert slurm.said == [
        f"SLURM: 1 job waits: Resources (no node is free). `squeue --user={USER} --start` shows the expected start."
    ]


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("SPECIAL_EXIT", "job requeued in held state", "job requeued in held state (held: scontrol release <job id>)"),
        ("REQUEUE_HOLD", "None", "REQUEUE_HOLD"),
        *(
            ("SUSPENDED", "None", "SUSPENDED (a person, or a job that comes first, suspended it)"),
            ("COMPLETING", "TimeLimit", "COMPLETING (SLURM ends it on its node; if this lasts, ask the site)"),
            ("CONFIGURING", "None", "CONFIGURING (its node is being started; if this lasts, ask the site)"),
            ("SIGNALING", "None", "SIGNALING (ask the site)"),
        ),
    ],
)
def test_a_job_that_waits_for_a_person_is_said_though_it_is_not_pending(slurm, clock, state, reason, said):
    slurm.write(
        "squeue",
        f"case $* in *%r*) echo '7|{state}|{reason}'; echo '8|RUNNING|None';; *) echo '7|{state}\n8|RUNNING';; esac",
    )
    for _ in range(2):
        assert slurm.query() == {"7": state, "8": "RUNNING"}
        clock.seconds += 70
    assert [line.partition(". ")[0] for line in slurm.said] == [f"SLURM: 1 job waits: {said}"]


def test_a_failed_job_has_the_reason_of_slurm(slurm):
    """The answers are those of SLURM 22.05 where a node could not write the log, and where its prolog failed."""
    unknown = "failed. Detailed failure reason unavailable (status command is not 'sacct')."
    slurm.submissions.active = {"7", "8", "9"}
    slurm.answer("7|FAILED|JobLaunchFailure", "8|CANCELLED|None", "9|OUT_OF_MEMORY|OutOfMemory", "10|FAILED|TimeLimit")
    slurm.query()
    explained = {job: slurm.states.explain(job, unknown) for job in ("7", "8", "9", "10")}
    assert explained["7"].startswith(
        "failed. SLURM's reason: JobLaunchFailure (a signal ended its shell, or its node could not start it: is"
    )
    assert explained["8"].startswith("failed. Perhaps a person cancelled it, or its node could not start it; `sinfo")
    assert explained["9"] == "failed. SLURM's reason: OutOfMemory. "
    assert explained["10"] == "failed. ", "it is no job of this session"
