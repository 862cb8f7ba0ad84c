"""What a user learns of jobs that wait."""

import getpass
import logging
from types import SimpleNamespace

import pytest

from execution.slurm import waiting_jobs as _waiting_jobs
from execution.slurm.waiting_jobs import WaitingJobs

USER = getpass.getuser()


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(_waiting_jobs, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def told():
    """The lines that a user is shown."""
    return []


@pytest.fixture
def waiting(told):
    logger = logging.Logger("slurm", logging.INFO)
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logger.addHandler(handler)
    return WaitingJobs(logger)


def test_why_jobs_wait_is_said_once_they_wait_for_long_and_when_the_reason_changes(told, clock, waiting):
    waiting.see({"7": "Priority", "8": "Priority"})
    assert told == [], "they may start in a moment"
    for reason in ("Priority", "Priority", "QOSMaxJobsPerUserLimit", "QOSMaxJobsPerUserLimit"):
        clock.seconds += 70
        waiting.see({"7": reason, "8": reason})
    how_long = f"`squeue --user={USER} --start` shows the expected start."
    assert told == [
        f"SLURM: 2 jobs wait: Priority (other jobs come first). {how_long}",
        "SLURM: 2 jobs wait: QOSMaxJobsPerUserLimit (a limit of your account; fewer `jobs` or larger packs help). "
        f"{how_long}",
    ]


@pytest.mark.parametrize("reason", ["QOSMaxWallDurationPerJobLimit", "AssocMaxMemPerNode", "QOSMinGRES"])
def test_a_job_that_may_never_start_is_told_from_a_limit_on_jobs(told, clock, waiting, reason):
    waiting.see({"7": reason})
    clock.seconds += 70
    waiting.see({"7": reason})
    assert "never starts" in told[0]
    assert "smaller packs" in told[0]
    assert "larger packs" not in told[0]
    assert "expected start" not in told[0]


@pytest.mark.parametrize(
    ("reason", "is_used_up"),
    [
        ("AssocGrpCPUMinutesLimit", True),
        ("AssocGrpGRESMinutes", True),
        ("AssocGrpBillingMinutes", True),
        ("AssocGrpWallLimit", True),
        ("QOSGrpCPUMinutesLimit", True),
        ("QOSUsageThreshold", True),
        # Of the jobs that run now.
        ("AssocGrpCPURunMinutesLimit", False),
        ("AssocMaxJobsLimit", False),
    ],
)
def test_hours_that_are_used_up_are_told_from_a_limit_on_jobs(told, clock, waiting, reason, is_used_up):
    """Squeue's names, from Slurm's source."""
    waiting.see({"7": reason})
    clock.seconds += 70
    waiting.see({"7": reason})
    assert ("are used up: ask who manages them" in told[0]) == is_used_up
    assert ("larger packs" in told[0]) != is_used_up


@pytest.mark.parametrize(
    "reason",
    [
        "InvalidAccount",
        "AccountNotAllowed",
        "InvalidQOS",
        "QOSNotAllowed",
        "BadConstraints",
        "DependencyNeverSatisfied",
    ],
)
def test_a_job_whose_account_or_node_is_gone_never_starts(told, clock, waiting, reason):
    """As where an account or QOS is withdrawn while jobs wait."""
    waiting.see({"7": reason})
    clock.seconds += 70
    waiting.see({"7": reason})
    (said,) = told
    assert said.startswith(f"SLURM: 1 job waits: {reason} (")
    assert "never starts" in said
    assert said.endswith(f"`squeue --user={USER}` shows which.")


def test_reasons_that_take_turns_are_not_said_again_and_again(told, clock, waiting):
    for reason in ("Priority", "Resources") * 4:
        clock.seconds += 70
        waiting.see({"7": reason})
    assert len(told) == 2


def test_an_unknown_reason_is_shown_as_it_is(told, clock, waiting):
    for _ in range(2):
        clock.seconds += 70
        waiting.see({"7": "ReqNodeNotAvail, UnavailableNodes:n1"})
        waiting.see({"8": "SomethingNew"} | {"7": "ReqNodeNotAvail, UnavailableNodes:n1"})
    clock.seconds += 70
    waiting.see({"8": "SomethingNew"})
    assert [line.partition(".")[0] for line in told] == [
        "SLURM: 1 job waits: ReqNodeNotAvail (its nodes are down or reserved)",
        "SLURM: 1 job waits: SomethingNew",
    ]


@pytest.mark.parametrize(
    "reason", ["Reservation k5 was deleted", "(Reservation k5 was deleted)", "RESV_DEL_HOLD", "ReservationDeleted"]
)
def test_a_reservation_that_is_over_holds_its_jobs_for_ever(told, clock, waiting, reason):
    waiting.see({"7": reason})
    clock.seconds += 70
    waiting.see({"7": reason})
    (said,) = told
    assert reason.strip("()") in said
    assert "press Ctrl-C, correct or remove slurm-reservation, and start again" in said
    assert "--start" not in said, "SLURM expects no start"
