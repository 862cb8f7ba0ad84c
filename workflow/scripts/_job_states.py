"""What the SLURM plugin learns of its jobs' states, and what a user learns: why jobs wait, and that SLURM is silent."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from _submissions import Submissions

# Between two questions while SLURM does not answer.
_PAUSE_S = 5.0
# A question that hangs, as sacct's may without a database, counts as one without an answer.
_PATIENCE_S = 60.0
# SLURM's silence, and a job that waits, are said after so long.
_SILENCE_S = 60.0
_LONG_WAIT_S = 60.0
# A reason that comes back is said again after so long.
_AGAIN_S = 600.0
# A preempted job that SLURM requeues is seen as such for a moment only.
_REQUEUE_S = 60.0
# A job that is in so many answers over so long a time not at all is one that SLURM lost.
_LOST_AFTER_S, _LOST_AFTER_ANSWERS = 300.0, 3

_ROW = re.compile(r"^(\d+(?:_\d+)?)\|([A-Z_]+)")
_OVER = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "ERROR", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"
}  # fmt: skip

# Jobs in these states wait, some until a person does something.
_WAITING = {"PENDING", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "STOPPED", "SUSPENDED"}

# What SLURM's reasons mean for a user; the others are shown as they are.
_REASONS = {
    "Priority": "other jobs come first",
    "Resources": "no node is free",
    "Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions": "its nodes are down",
    "ReqNodeNotAvail": "its nodes are down or reserved",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionTimeLimit": "more time than the partition allows: use smaller packs",
    "BeginTime": "SLURM starts it again in a moment",
    "JobHeldUser": "held: scontrol release <job id>",
    "JobHeldAdmin": "held by the site; ask there",
    "job_requeued_in_held_state": "held: scontrol release <job id>",
    "launch_failed_requeued_held": "its start failed on a node; ask the site, then scontrol release <job id>",
    "Reservation": "its reservation has not begun",
    "Licenses": "licenses are in use",
}
# What SLURM's reasons of ended jobs mean.
_ENDS = {
    "JobLaunchFailure": "the node could not start it; is the folder of slurm-logdir there, and writable?",
    "NonZeroExitCode": "it ended with an error",
    "TimeLimit": "it took longer than its time limit",
}
_NOT_BEGUN = "a person cancelled it, or its node could not start it; `sinfo --list-reasons` shows nodes with errors"
# How the plugin says that it does not know why.
_UNKNOWN = "Detailed failure reason unavailable (status command is not 'sacct')."
_LIMIT = re.compile(r"(?:QOS|Assoc)\w*")


@dataclass
class _Absence:
    """A job that is in no answer: since when, and in how many."""

    since: float
    answers: int = 0


class JobStates:
    """Answers the plugin's question for the states of its jobs.

    Args:
        submissions: of this session, which knows its jobs and whether the study was stopped.
        get_name: returns the name of the session's jobs.
        requeues: whether SLURM may start jobs again by itself.
        logger: whose lines that start with "SLURM: " the terminal shows.
    """

    def __init__(
        self, submissions: Submissions, get_name: Callable[[], str], requeues: bool, logger: logging.Logger
    ) -> None:
        self._submissions, self._get_name, self._requeues, self._logger = submissions, get_name, requeues, logger
        self._is_silence_said = False
        self._may_return: dict[str, float] = {}
        self._absent: dict[str, _Absence] = {}
        self._ends: dict[str, str] = {}
        self._preempted: set[str] = set()
        self._waiting = WaitingJobs(logger)

    async def query(self, command: str) -> tuple[dict[str, str] | None, float | None]:
        """Return the states by job id and the seconds it took, as the plugin's own function does.

        It asks until SLURM answers. The plugin gives up after some attempts, forgets its jobs and waits for ever.
        """
        silent_since = time.monotonic()
        while True:
            started = time.monotonic()
            error, answer = await _ask(command)
            states = None if error else _read_states(answer)
            if states is not None:
                break
            if self._submissions.stopped.is_set():
                return None, None
            self._say_silence(command, error or f"it answered {answer[:100]!r}", time.monotonic() - silent_since)
            await asyncio.sleep(_PAUSE_S)
        if self._is_silence_said:
            self._is_silence_said = False
            self._logger.info("SLURM: answers again.")
        seconds = time.monotonic() - started
        ended = [*self._end_what_does_not_return(states), *self._end_what_is_lost(states)]
        if ended:
            # SLURM must not start them beside the ones that Snakemake submits now. No id can be of another's job: the
            # name must be that of this session, too.
            await _ask(shlex.join(["scancel", f"--name={self._get_name()}", *ended]))
        waiting = {job: state for job, state in states.items() if state in _WAITING}
        if waiting:
            error, answer = await _ask(
                shlex.join(["squeue", "--noheader", "--format=%i|%r", "--name", self._get_name()])
            )
            if not error:
                rows = [line.split("|", 1) for line in answer.splitlines() if "|" in line]
                # A suspended job has the reason None.
                self._waiting.see(
                    {job: waiting[job] if reason == "None" else reason for job, reason in rows if job in waiting}
                )
        await self._ask_why(
            job for job, state in states.items() if state in _OVER - {"COMPLETED"} and job in self._submissions.active
        )
        over = _OVER if self._requeues else _OVER | {"NODE_FAIL"}
        self._submissions.active -= {job for job, state in states.items() if state in over}
        return states, seconds

    def was_preempted(self, job: str | None) -> bool:
        """Return whether a job is over because another one took its node, and SLURM does not start it again."""
        return job in self._preempted

    def explain(self, job: str | None, message: str) -> str:
        """Return the plugin's message about a failed job, with SLURM's reason where that is known."""
        # Snakemake adds a sentence without a blank.
        said = message.replace(_UNKNOWN, self._ends.get(job or "", "")).rstrip()
        return f"{said} " if said else ""

    async def _ask_why(self, ended: Iterable[str]) -> None:
        """Remember why jobs ended; SLURM forgets it soon."""
        jobs = [job for job in ended if job not in self._ends]
        if not jobs:
            return
        error, answer = await _ask(
            shlex.join(["squeue", "--noheader", "--states=all", "--format=%i|%T|%r", "--jobs", ",".join(jobs)])
        )
        for line in "" if error else answer.splitlines():
            job, state, reason = (*line.split("|", 2), "", "")[:3]
            if job not in jobs:
                continue
            if state == "CANCELLED" and reason == "None":
                self._ends[job] = f"Perhaps {_NOT_BEGUN}."
            elif reason and reason != "None":
                meaning = _ENDS.get(reason)
                self._ends[job] = f"SLURM's reason: {reason}{f' ({meaning})' if meaning else ''}."

    def _say_silence(self, command: str, error: str, seconds: float) -> None:
        if seconds >= _SILENCE_S and not self._is_silence_said:
            self._is_silence_said = True
            program = command.split()[0]
            self._logger.warning(
                f"SLURM: {program} has not answered for {seconds:.0f} s ({error}). Jobs go on without it, and it is "
                f"asked again every {_PAUSE_S:.0f} s."
            )

    def _end_what_does_not_return(self, states: dict[str, str]) -> list[str]:
        """Count preempted jobs, and those of failed nodes, as ended where SLURM does not start them again.

        Whether it does is up to the partition and the site: with PreemptMode=CANCEL a job that may be requeued is over
        all the same.
        """
        now = time.monotonic()
        gone = {job: state for job, state in states.items() if state in ("PREEMPTED", "NODE_FAIL")}
        self._may_return = {job: self._may_return.get(job, now) for job in gone}
        ended = []
        for job, state in gone.items():
            if not self._requeues:
                # The plugin itself ends a job of a failed node, and says so.
                if state == "PREEMPTED":
                    states[job] = "CANCELLED"
            elif now - self._may_return[job] >= _REQUEUE_S:
                states[job] = "CANCELLED"
                ended.append(job)
            if state == "PREEMPTED" and states[job] == "CANCELLED":
                self._preempted.add(job)
        return ended

    def _end_what_is_lost(self, states: dict[str, str]) -> list[str]:
        """Count jobs as failed that SLURM does not know any more, for example after it lost its own state."""
        now, ended = time.monotonic(), []
        # Tasks of an array that waits have no rows of their own.
        missing = {job for job in self._submissions.active - states.keys() if "_" not in job}
        self._absent = {job: self._absent.get(job, _Absence(now)) for job in missing}
        for job, absence in self._absent.items():
            absence.answers += 1
            if absence.answers >= _LOST_AFTER_ANSWERS and now - absence.since >= _LOST_AFTER_S:
                self._logger.warning(f"SLURM: does not know job {job} any more; it counts as failed.")
                states[job] = "ERROR"
                ended.append(job)
        return ended


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
                self._logger.info(f"SLURM: {jobs}: {reason}. `squeue --me --start` shows the expected start.")
        self._last = set(long)


def _explain(reason: str) -> str:
    # "ReqNodeNotAvail, UnavailableNodes:n1" and the like.
    key = reason.strip("()").partition(",")[0].strip()
    meaning = _REASONS.get(reason.strip("()").replace(" ", "_"), _REASONS.get(key))
    if meaning is None and _LIMIT.fullmatch(key):
        meaning = "a limit of your account; fewer `jobs` or larger packs help"
    return f"{key} ({meaning})" if meaning else reason.strip("()")


def _read_states(answer: str) -> dict[str, str] | None:
    """Return the states in an answer; None where none of its lines is one, as of a command that prints an error."""
    rows = [_ROW.match(line.strip()) for line in answer.splitlines() if line.strip()]
    if rows and not any(rows):
        return None
    return {row[1]: row[2] for row in rows if row}


async def _ask(command: str) -> tuple[str | None, str]:
    """Run a command of SLURM; returns what went wrong, if anything, and its output."""
    try:
        process = await asyncio.create_subprocess_exec(
            *shlex.split(command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        return str(error), ""
    try:
        output, errors = await asyncio.wait_for(process.communicate(), timeout=_PATIENCE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"no answer within {_PATIENCE_S:.0f} s", ""
    text = errors.decode(errors="replace").strip()
    if process.returncode != 0:
        return text.splitlines()[-1] if text else f"exit status {process.returncode}", ""
    return None, output.decode(errors="replace")
