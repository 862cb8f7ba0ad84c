"""What a user learns of jobs that wait: why, and what can be done."""

from __future__ import annotations

import logging
import math
import re
import time
from collections import Counter
from collections.abc import Mapping

from execution.slurm.clients import user

# A job that waits is said after so long.
_LONG_WAIT_S = 60.0
# A reason that comes back is said again after so long.
_AGAIN_S = 600.0
# States that may last, what they mean, and what a user can do.
LASTING = {
    "COMPLETING": "SLURM ends it on its node; if this lasts, ask the site",
    "CONFIGURING": "its node is being started; if this lasts, ask the site",
    "RESIZING": "ask the site",
    "REVOKED": "another cluster took it; ask the site",
    "REQUEUED": "SLURM starts it again",
    "SIGNALING": "ask the site",
    "STAGE_OUT": "its files are being copied",
    "STOPPED": "a person stopped it; ask the site",
    "SUSPENDED": "a person, or a job that comes first, suspended it",
    "UNKNOWN": "SLURM does not know its state; ask the site",
}

# Why SLURM holds a job for ever; in the middle stands the name of the reservation.
_RESERVATION_OVER = re.compile(r"Reservation \S+ was deleted")
_AFTER_RESERVATION = (
    "held, because the reservation is over: press Ctrl-C, correct or remove slurm-reservation, and start again"
)
# Why SLURM lets a job wait for ever, though it does not hold it.
_NEVER = "and never starts: press Ctrl-C, correct the settings of your site in the profile, and start again"
# What SLURM's reasons mean for a user; the others are shown as they are.
_REASONS = {
    "Priority": "other jobs come first",
    "Resources": "no node is free",
    "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions": "its nodes are down",
    "ReqNodeNotAvail": "its nodes are down or reserved",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionTimeLimit": "more time than the partition allows: use smaller packs",
    "BeginTime": "its --begin has not come, or SLURM starts it again in a moment",
    "JobHeldUser": "held: scontrol release <job id>",
    "JobHeldAdmin": "held by the site; ask there",
    "job_requeued_in_held_state": "held: scontrol release <job id>",
    "launch_failed_requeued_held": "its start failed on a node; ask the site, then scontrol release <job id>",
    "Reservation": "its reservation has not begun, or has no free node",
    "ReservationDeleted": _AFTER_RESERVATION,
    "ReservationInvalid": _AFTER_RESERVATION,
    "Licenses": "licenses are in use",
    **dict.fromkeys(
        ("InvalidAccount", "AccountNotAllowed"), f"the job may not use its account here any more, {_NEVER}"
    ),
    **dict.fromkeys(("InvalidQOS", "QOSNotAllowed"), f"the job may not use its QOS here any more, {_NEVER}"),
    "BadConstraints": f"no node has what the job asks for, {_NEVER}",
    "DependencyNeverSatisfied": f"the job that it depends on failed, {_NEVER}",
}
# Limits of an account or QOS, and of what one job may ask for.
_LIMIT = re.compile(r"(?:QOS|Assoc)\w*")
# A budget of hours. In `RunMinutes`, those of the jobs that run now count.
_BUDGET = re.compile(r"(?:QOS|Assoc)\w*(?<!Run)Minutes\w*|AssocGrpWallLimit|QOSGrpWallLimit|QOSUsageThreshold")
_LIMIT_OF_A_JOB = re.compile(r"(?:QOS|Assoc)\w*Per(?:Job|Node)\w*|QOSMin\w*")


class WaitingJobs:
    """Says why jobs wait: once they have waited for long, and again when the reason changes.

    Args:
        logger: whose lines that start with "SLURM: " the terminal shows.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._since: dict[str, float] = {}
        self._last: set[str] = set()
        self._said_at: dict[str, float] = {}

    def see(self, reasons: Mapping[str, str]) -> None:
        """Take the reasons of the jobs that wait now, by job id."""
        now = time.monotonic()
        self._since = {job: self._since.get(job, now) for job in reasons}
        long = Counter(_explain(reason) for job, reason in reasons.items() if now - self._since[job] >= _LONG_WAIT_S)
        for reason, count in long.items():
            is_new = reason not in self._last
            # Some reasons take turns, such as Priority and Resources.
            if is_new and now - self._said_at.get(reason, -math.inf) >= _AGAIN_S:
                self._said_at[reason] = now
                jobs = "1 job waits" if count == 1 else f"{count} jobs wait"
                self._logger.info(f"SLURM: {jobs}: {reason}. {_where_to_look(reason)}")
        self._last = set(long)


def _explain(reason: str) -> str:
    # "ReqNodeNotAvail, UnavailableNodes:n1" and the like.
    if reason in LASTING:
        return f"{reason} ({LASTING[reason]})"
    if _RESERVATION_OVER.search(reason) or reason == "RESV_DEL_HOLD":
        return f"{reason.strip('()')} ({_AFTER_RESERVATION})"
    key = reason.strip("()").partition(",")[0].strip()
    meaning = _REASONS.get(reason.strip("()").replace(" ", "_"), _REASONS.get(key))
    if meaning is None and _LIMIT_OF_A_JOB.fullmatch(key):
        meaning = (
            "the job asks for more, or less, than your account or QOS allows one job, and never starts: press Ctrl-C, "
            "use smaller packs, set-resources, or another account or QOS, and start again"
        )
    if meaning is None and _BUDGET.fullmatch(key):
        meaning = (
            "the hours of your account or QOS are used up: ask who manages them; or press Ctrl-C, set another account "
            "or QOS, and start again"
        )
    if meaning is None and _LIMIT.fullmatch(key):
        meaning = "a limit of your account; fewer `jobs` or larger packs help"
    return f"{key} ({meaning})" if meaning else reason.strip("()")


def _where_to_look(reason: str) -> str:
    if reason.partition(" ")[0] in LASTING or _AFTER_RESERVATION in reason or "never starts" in reason:
        return f"`squeue --user={user()}` shows which."
    return f"`squeue --user={user()} --start` shows the expected start."
