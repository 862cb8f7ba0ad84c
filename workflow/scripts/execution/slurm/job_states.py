"""What the SLURM plugin learns of its jobs' states, and a user of jobs that end and of SLURM where it is silent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from execution.slurm.clients import OVER, SQUEUE, NoAnswerError, Row, ask_beside, read_rows
from execution.slurm.job_log import says_done
from execution.slurm.running_jobs import RunningJobs, ask_controller
from execution.slurm.submissions import Submissions
from execution.slurm.waiting_jobs import LASTING, WaitingJobs

# Between two questions while SLURM does not answer.
_PAUSE_S = 5.0
# A question that hangs, as sacct's may without a database, counts as one without an answer.
_PATIENCE_S = 60.0
# SLURM's silence is said after so long.
_SILENCE_S = 60.0
# A preempted job that SLURM requeues is seen as such for a moment only.
_REQUEUE_S = 60.0
# A job that is in so many answers over so long a time not at all is one that SLURM lost.
_LOST_AFTER_S, _LOST_AFTER_ANSWERS = 300.0, 3

# Jobs in these states have a reason to wait, unless it is None.
_PENDING = ("PENDING", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
# What SLURM's reasons of ended jobs mean.
_ENDS = {
    "JobLaunchFailure": "a signal ended its shell, or its node could not start it: is slurm-logdir there, and writable",
    "NonZeroExitCode": "it ended with an error",
    "TimeLimit": "it took longer than its time limit",
}
_NOT_BEGUN = "a person cancelled it, or its node could not start it; `sinfo --list-reasons` shows nodes with errors"
# How the plugin says that it does not know why.
_UNKNOWN = "Detailed failure reason unavailable (status command is not 'sacct')."


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
        self._are_names_said = False
        self._waiting = WaitingJobs(logger)
        self._running = RunningJobs(submissions, _list, logger)

    async def query(self, command: str) -> tuple[dict[str, str] | None, float | None]:
        """Return the states by job id and the seconds it took, as the plugin's own function does.

        It asks until SLURM answers. The plugin gives up after some attempts, forgets its jobs and waits for ever.
        """
        silent_since = time.monotonic()
        # With titles, an empty list is known to be one.
        words = [word for word in shlex.split(command) if word != "--noheader"]
        while True:
            started = time.monotonic()
            try:
                states = {row.job: row.state for row in await _list(words)}
                break
            except NoAnswerError as error:
                if self._submissions.stopped.is_set():
                    return None, None
                self._say_silence(words[0], str(error), time.monotonic() - silent_since)
            await asyncio.sleep(_PAUSE_S)
        if self._is_silence_said:
            self._is_silence_said = False
            self._logger.info("SLURM: answers again.")
        seconds = time.monotonic() - started
        states |= await self._find_renamed(states)
        over = await self._running.find_ended(states, words[0])
        states |= over
        ended = [*over, *self._end_what_does_not_return(states), *await self._end_what_is_lost(states)]
        if ended:
            # SLURM must not start them beside the ones that Snakemake submits now. No id can be of another's job: the
            # name must be that of this session, too.
            with contextlib.suppress(NoAnswerError):
                await ask_beside(["scancel", f"--name={self._get_name()}", *ended], _PATIENCE_S)
        await self._tell_why_jobs_wait(states)
        await self._ask_why(
            job for job, state in states.items() if state in OVER - {"COMPLETED"} and job in self._submissions.active
        )
        end_states = OVER if self._requeues else OVER | {"NODE_FAIL"}
        self._submissions.active -= {job for job, state in states.items() if state in end_states}
        # The plugin takes UNKNOWN for a job that ended well; a word that it does not know is a job that goes on.
        return {job: "NOT_KNOWN" if state == "UNKNOWN" else state for job, state in states.items()}, seconds

    def was_preempted(self, job: str | None) -> bool:
        """Return whether a job is over because another one took its node, and SLURM does not start it again."""
        return job in self._preempted

    def explain(self, job: str | None, message: str) -> str:
        """Return the plugin's message about a failed job, with SLURM's reason where that is known."""
        # Snakemake adds a sentence without a blank.
        said = message.replace(_UNKNOWN, self._ends.get(job or "", "")).rstrip()
        return f"{said} " if said else ""

    async def _tell_why_jobs_wait(self, states: Mapping[str, str]) -> None:
        """Tell of jobs that neither run nor are over."""
        waiting = {job: state for job, state in states.items() if state in (*_PENDING, *LASTING)}
        reasons = {}
        if any(state in _PENDING for state in waiting.values()):
            try:
                rows = await _list([*SQUEUE, "--format=%i|%T|%r", "--name", self._get_name()])
            except NoAnswerError:
                return
            reasons = {row.job: row.more for row in rows if row.more != "None"}
        self._waiting.see(
            {job: reasons.get(job, state) if state in _PENDING else state for job, state in waiting.items()}
        )

    async def _ask_why(self, ended: Iterable[str]) -> None:
        """Remember why jobs ended; SLURM forgets it soon."""
        jobs = [job for job in ended if job not in self._ends]
        if not jobs:
            return
        try:
            rows = await _list([*SQUEUE, "--states=all", "--format=%i|%T|%r", "--jobs", ",".join(jobs)])
        except NoAnswerError:
            return
        for row in rows:
            if row.job not in jobs:
                continue
            if row.state == "CANCELLED" and row.more == "None":
                self._ends[row.job] = f"Perhaps {_NOT_BEGUN}."
            elif row.more and row.more != "None":
                meaning = _ENDS.get(row.more)
                self._ends[row.job] = f"SLURM's reason: {row.more}{f' ({meaning})' if meaning else ''}."

    def _say_silence(self, program: str, error: str, seconds: float) -> None:
        if seconds >= _SILENCE_S and not self._is_silence_said:
            self._is_silence_said = True
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

    async def _find_renamed(self, states: Mapping[str, str]) -> dict[str, str]:
        """Return the states of jobs that are in no answer because the site has given them another name."""
        missing = {job for job in self._submissions.active - states.keys() if "_" not in job}
        if not missing:
            return {}
        try:
            rows = await _list([*SQUEUE, "--states=all", "--format=%i|%T|%j", "--jobs", ",".join(sorted(missing))])
        except NoAnswerError:
            return {}
        renamed = [row for row in rows if row.job in missing and row.more and row.more != self._get_name()]
        if renamed and not self._are_names_said:
            self._are_names_said = True
            self._logger.warning(
                f"SLURM: job {renamed[0].job} has the name {renamed[0].more}, which this study did not give it. Its "
                "jobs are found by their ids. If this process is killed, the next start does not find them: cancel "
                "them before. Ask the site whether it must rename jobs."
            )
        return {row.job: row.state for row in renamed}

    async def _end_what_is_lost(self, states: dict[str, str]) -> list[str]:
        """Count jobs as over that SLURM does not know any more, for example after it lost its own state.

        SLURM forgets also those that ended well while it could not be asked. Their logs tell. Snakemake would delete
        what they finished, if they counted as failed. Returns the ids of those that do.

        The database of sacct may lack new jobs for long, while the controller cannot reach it. So squeue is asked
        before, and what it says is taken; and the controller itself, before a job counts as failed.
        """
        now, ended = time.monotonic(), []
        # Tasks of an array that waits have no rows of their own.
        missing = {job for job in self._submissions.active - states.keys() if "_" not in job}
        self._absent = {job: self._absent.get(job, _Absence(now)) for job in missing}
        for absence in self._absent.values():
            absence.answers += 1
        lost = [
            job
            for job, absence in self._absent.items()
            if absence.answers >= _LOST_AFTER_ANSWERS and now - absence.since >= _LOST_AFTER_S
        ]
        if not lost:
            return []
        try:
            rows = await _list([*SQUEUE, "--states=all", "--format=%i|%T", "--name", self._get_name()])
        except NoAnswerError:
            return []
        known = {row.job: row.state for row in rows}
        for job in lost:
            if job in known:
                states[job] = known[job]
                continue
            if says_done(self._submissions.logs.get(job)):
                self._logger.info(f"SLURM: does not know job {job} any more; its log says that it ended well.")
                states[job] = "COMPLETED"
                continue
            state = await ask_controller(job, now - self._absent[job].since)
            if state is None:
                # The next ones would be asked for as long.
                break
            states[job] = state
            if state == "ERROR":
                self._logger.warning(f"SLURM: does not know job {job} any more; it counts as failed.")
                ended.append(job)
        return ended


async def _list(command: Sequence[str]) -> list[Row]:
    return read_rows(await ask_beside(command, _PATIENCE_S), command[0])
