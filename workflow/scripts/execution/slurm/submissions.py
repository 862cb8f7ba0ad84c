"""Submissions of a session: those that SLURM refuses for now wait and are tried again, and none follows a stop."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

from execution.slurm.clients import SQUEUE, NoAnswerError, ask, list_jobs
from execution.slurm.refusals import NO_ID, RAISED, REFUSED, SAME_ID, TOO_LONG, Refusal, read_refusal
from execution.slurm.sbatch import Sbatch
from execution.start.configuration_copies import copy_again

# Pauses before a refused job is tried again: they double from the first to the longest.
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 120.0

# Between two looks whether the study ends.
_LOOK_S = 1.0

# For one question to SLURM.
_QUESTION_S = 60.0

# Submissions at a time; the plugin has as many threads.
_THREADS = 2


class Submissions:
    """Takes the place of the plugin's reports about submissions.

    Of refused jobs only one is tried at a time, after pauses that grow while SLURM refuses, so that a limit on jobs is
    not answered with a storm of them. A refusal for now is no attempt of the job: Snakemake does not learn of it, and
    neither memory nor time limit grow. A lasting refusal ends the job at once, without the attempts it has left.

    Args:
        executor: of the plugin; `run_job(job)` submits and calls `report_error` or `report_submission`.
        run_job, report_error, report_submission: the plugin's own functions.
        logger: whose lines that start with "SLURM: " the terminal shows.
    """

    def __init__(
        self,
        executor: Any,
        run_job: Callable[[Any, Any], None],
        report_error: Callable[[Any, Any, str], None],
        report_submission: Callable[[Any, Any], None],
        logger: logging.Logger,
    ) -> None:
        self._executor, self._logger = executor, logger
        self._run_job, self._report_error, self._report_submission = run_job, report_error, report_submission
        self.sbatch = Sbatch(lambda: executor.run_uuid, logger)
        # Ids of the SLURM jobs that Snakemake waits for.
        self.active: set[str] = set()
        # Where SLURM writes what each of its jobs says, by id.
        self.logs: dict[str, Path] = {}
        self.stopped = threading.Event()
        # Of all jobs that SLURM took.
        self._ids: set[str] = set()
        self._refused: deque[Any] = deque()
        self._tries: dict[Any, int] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._reason = ""
        self._may_be_taken = False
        self._was_last_taken = False
        # A submission holds one of them; looking for lost answers holds all.
        self._slots = threading.Semaphore(_THREADS)
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Number of submissions that wait for SLURM's answer."""
        return self._in_flight

    def submit(self, job: Any) -> None:
        """Submit a job with the plugin, unless the study was stopped meanwhile."""
        with self._slots:
            with self._lock:
                if self.stopped.is_set():
                    return
                self._in_flight += 1
            try:
                copy_again()
                self._run_job(self._executor, job)
            except Exception as error:
                # Nobody asks the plugin's threads for their errors: Snakemake would wait for the job for ever.
                self.refuse(SubmittedJobInfo(job), f"{RAISED}{error}")
            finally:
                with self._lock:
                    self._in_flight -= 1

    def accept(self, job_info: Any) -> None:
        """Pass on that SLURM took a job; one without an id is refused."""
        if not job_info.external_jobid:
            self.refuse(SubmittedJobInfo(job_info.job), NO_ID)
            return
        with self._lock:
            is_known = job_info.external_jobid in self._ids
            self._ids.add(job_info.external_jobid)
        if is_known:
            # Its state is that of both. When it is cancelled, the earlier job counts as failed, and is started again.
            with suppress(NoAnswerError):
                ask(["scancel", job_info.external_jobid], _QUESTION_S)
            self.refuse(SubmittedJobInfo(job_info.job), f"{SAME_ID} ({job_info.external_jobid})")
            return
        with self._lock:
            if log := (job_info.aux or {}).get("slurm_logfile"):
                self.logs[job_info.external_jobid] = Path(log)
            self.active.add(job_info.external_jobid)
            self._tries.pop(job_info.job, None)
            self._was_last_taken = True
        self._report_submission(self._executor, job_info)

    def refuse(self, job_info: Any, message: str) -> None:
        """Let a refused job wait, or pass on that it failed."""
        if self.stopped.is_set():
            return
        job, refusal = job_info.job, read_refusal(message)
        settings = self._executor.workflow.executor_settings
        if TOO_LONG in refusal.reason and not settings.pass_command_as_script:
            # Of a pack of some hundred runs. sbatch reads it from a file, as the plugin itself does for arrays.
            settings.pass_command_as_script = True
            if self.submit_again(job):
                return
        tries = self._tries.get(job, 0)
        if refusal.tries is None or tries < refusal.tries:
            with self._lock:
                self._tries[job] = tries + 1
                self._may_be_taken |= refusal.may_be_taken
                self._refused.append(job)
                self._say_once(refusal)
                self._start_thread()
            return
        if refusal.may_be_taken:
            with self._lock:
                self._may_be_taken = True
                self._start_thread()
        self._tries.pop(job, None)
        # Snakemake would submit it again at once, with more memory and time.
        job.attempt = job.restart_times + 1
        said = f"{REFUSED}\n  found: {refusal.reason}\n  what to do: {refusal.remedy}"
        self._report_error(self._executor, job_info, f"{said}{_command_in(message)}")

    def submit_again(self, job: Any) -> bool:
        """Submit a job once more that did not end by a fault of its own, which is no attempt of it.

        Returns whether it will be; not where the study ends.
        """
        with self._lock:
            if self.stopped.is_set() or self._is_ending():
                return False
            self._refused.append(job)
            self._start_thread()
        return True

    def stop(self) -> None:
        """Submit nothing more."""
        with self._lock:
            self.stopped.set()
            self._refused.clear()

    def _start_thread(self) -> None:
        """Let a thread try again, and cancel what may have been taken; the caller holds the lock."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._try_again, name="slurm_try_again", daemon=True)
            self._thread.start()

    def _say_once(self, refusal: Refusal) -> None:
        if refusal.reason != self._reason:
            self._reason = refusal.reason
            self._logger.warning(
                f"SLURM: takes no more jobs for now ({refusal.reason}). They wait here, and are submitted again later. "
                f"What to do: {refusal.remedy}."
            )

    def _is_ending(self) -> bool:
        """Return whether Snakemake starts no more jobs, after SIGTERM or a failure, and waits for those that run."""
        scheduler = self._executor.workflow.scheduler
        return bool(scheduler._user_kill or (scheduler._errors and not scheduler.keepgoing))

    def _give_up(self) -> None:
        """Pass on that refused jobs failed, so that Snakemake does not wait for them."""
        with self._lock:
            refused = list(self._refused)
            self._refused.clear()
            self._tries.clear()
        for job in refused:
            job.attempt = job.restart_times + 1
            found = self._reason or "it was preempted"
            remedy = "start the study again, which ended before SLURM took this job."
            said = f"{REFUSED}\n  found: {found}\n  what to do: {remedy}"
            self._report_error(self._executor, SubmittedJobInfo(job), said)

    def _wait(self, seconds: float) -> bool:
        """Return whether the study was stopped; the wait is shorter where the study ends by itself."""
        until = time.monotonic() + seconds
        while (remaining := until - time.monotonic()) > 0 and not self._is_ending():
            if self.stopped.wait(min(remaining, _LOOK_S)):
                return True
        return self.stopped.is_set()

    def _try_again(self) -> None:
        pause, was_said = FIRST_PAUSE_S, False
        while not self._wait(pause):
            if self._is_ending():
                self._give_up()
            if self._may_be_taken and not self._cancel_lost_jobs() and not self._is_ending():
                # A job that is submitted now might run beside one that does the same.
                pause = min(2 * max(pause, FIRST_PAUSE_S), LONGEST_PAUSE_S)
                continue
            with self._lock:
                if not self._refused:
                    was_said = bool(self._reason)
                    self._thread, self._reason = None, ""
                    break
                job, self._was_last_taken = self._refused.popleft(), False
            self.submit(job)
            with self._lock:
                is_refused = job in self._refused
            pause = min(2 * max(pause, FIRST_PAUSE_S), LONGEST_PAUSE_S) if is_refused else 0
        if was_said and self._was_last_taken and not self.stopped.is_set():
            self._logger.info("SLURM: takes jobs again.")

    def _cancel_lost_jobs(self) -> bool:
        """Cancel jobs that SLURM took though its answer was lost, before they are submitted once more.

        Returns whether SLURM answered.
        """
        for _ in range(_THREADS):
            self._slots.acquire()
        try:
            command = [*SQUEUE, "--format=%i|%T", "--name", self._executor.run_uuid]
            lost = {row.job for row in list_jobs(command, _QUESTION_S)} - self.active
            if lost:
                ask(["scancel", *sorted(lost)], _QUESTION_S)
            self._may_be_taken = False
        except NoAnswerError:
            self._logger.debug("jobs whose submission was not answered could not be looked for", exc_info=True)
            return False
        finally:
            for _ in range(_THREADS):
                self._slots.release()
        return True


def _command_in(message: str) -> str:
    """Return the plugin's command line, which it adds to its message for the log file."""
    _, mark, command = message.partition("\n    sbatch call:")
    return mark + command
