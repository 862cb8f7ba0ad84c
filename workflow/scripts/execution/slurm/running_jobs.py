"""Find jobs that are over although SLURM says that they run."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from execution.slurm.clients import OVER, SQUEUE, NoAnswerError, Row, ask_beside, user
from execution.slurm.job_log import says_done
from execution.slurm.submissions import Submissions

# Each running job is looked at so often, and what seems to be over must seem so for as long.
_LOOK_S = 300.0
# For one question to scontrol; and how long a job is waited for that squeue does not know, while scontrol says nothing.
_QUESTION_S, _UNANSWERED_S = 60.0, 1800.0


async def ask_controller(job: str, seconds: float) -> str | None:
    """Return the state of a job for SLURM's controller: ERROR for one that it does not know, None without an answer.

    Sites may have a squeue of their own that shows a list of some minutes ago. Where users may not ask the controller,
    the job counts as unknown after a longer time.

    Args:
        job: its id.
        seconds: how long squeue has not known it.
    """
    try:
        answer = await ask_beside(["scontrol", "show", "job", job], _QUESTION_S)
    except NoAnswerError as error:
        is_unknown = error.is_refusal and ("invalid job id" in error.said.lower() or seconds >= _UNANSWERED_S)
        return "ERROR" if is_unknown else None
    state = re.search(r"\bJobState=([A-Z_]+)", answer)
    return state[1] if state else None


class RunningJobs:
    """Knows when running jobs were looked at, and since when some seem to be over.

    sacct says for ever that a job runs whose end its database has lost (SLURM calls it a runaway job). squeue does so
    until the time limit if SLURM's process on the node that waits for the job's end (slurmstepd) was killed. The log of
    the job tells that it ended well. That it failed, squeue can tell, if it was not the one that was asked.

    Args:
        submissions: of this session, which knows its jobs and their logs.
        list_jobs: asks SLURM for jobs.
        logger: whose lines that start with "SLURM: " the terminal shows.
    """

    def __init__(
        self,
        submissions: Submissions,
        list_jobs: Callable[[Sequence[str]], Awaitable[list[Row]]],
        logger: logging.Logger,
    ) -> None:
        self._submissions, self._list_jobs, self._logger = submissions, list_jobs, logger
        self._next_look: dict[str, float] = {}
        self._over_since: dict[str, float] = {}

    async def find_ended(self, states: Mapping[str, str], program: str) -> dict[str, str]:
        """Return the states of jobs that have seemed to be over for some minutes, by id.

        Args:
            states: what SLURM says, by id.
            program: who says so: squeue or sacct.
        """
        now = time.monotonic()
        running = {job for job, state in states.items() if state == "RUNNING" and job in self._submissions.active}
        self._next_look = {job: self._next_look.get(job, now + _LOOK_S) for job in running}
        self._over_since = {job: since for job, since in self._over_since.items() if job in running}
        due = [job for job in sorted(running) if job in self._over_since or now >= self._next_look[job]]
        if not due:
            return {}
        over = await self._find_over(due, program)
        if over is None:
            return {}
        self._next_look |= dict.fromkeys(due, now + _LOOK_S)
        self._over_since = {job: self._over_since.get(job, now) for job in over}
        ended = {job: state for job, state in over.items() if now - self._over_since[job] >= _LOOK_S}
        is_answering = True
        for job in [job for job, state in ended.items() if state == "ERROR"]:
            # Without an answer, the next ones would be asked for as long.
            known = await ask_controller(job, now - self._over_since[job]) if is_answering else None
            is_answering = known is not None
            if known in OVER:
                ended[job] = known
            else:
                del ended[job]
                if known is not None:
                    del self._over_since[job]
        for job, state in ended.items():
            said = "squeue does not know it: it counts as failed" if state == "ERROR" else f"it is over: {state}"
            self._logger.warning(f"SLURM: {program} says that job {job} runs, but {said}.")
        return ended

    async def _find_over(self, jobs: Sequence[str], program: str) -> dict[str, str] | None:
        """Return the states of jobs that seem to be over; None where SLURM does not answer."""
        over = {job: "COMPLETED" for job in jobs if says_done(self._submissions.logs.get(job))}
        # Tasks of an array have other ids in squeue.
        others = [job for job in jobs if job not in over and "_" not in job]
        if program == SQUEUE[0] or not others:
            return over
        try:
            rows = await self._list_jobs([*SQUEUE, "--states=all", "--format=%i|%T", "--user", user()])
        except NoAnswerError:
            return None
        known = {row.job: row.state for row in rows}
        return over | {job: state for job in others if (state := known.get(job, "ERROR")) in OVER}
