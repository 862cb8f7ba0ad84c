"""Ends a session on a cluster: nothing more is submitted, and everything submitted is cancelled, within a minute."""

from __future__ import annotations

import atexit
import contextlib
import logging
import queue
import shutil
import signal
import sys
import threading
import time
from typing import Any

from execution.jobs.processes import end_children
from execution.slurm.clients import SQUEUE, NoAnswerError, ask, list_jobs, user
from execution.slurm.submissions import Submissions

# Everything together must be over within a minute, whatever SLURM does.
_PATIENCE_S = 30.0
# One question to SLURM.
_COMMAND_S = 10
# A submission that SLURM has not answered by then is given up; if SLURM took the job, it has its name.
_SUBMISSION_S = 15.0
_PAUSE_S = 1.0
# Time for local jobs to write down that they were ended.
_LOCAL_JOBS_S = 5.0

# States of jobs that neither run nor will.
_ENDING = ("COMPLETING", "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "PREEMPTED", "NODE_FAIL")


def cancel_session(executor: Any, submissions: Submissions, logger: logging.Logger) -> None:
    """End the plugin's executor; the last line of the study says what became of its jobs.

    Jobs are cancelled by their name, which all jobs of the session have, and by their ids where a site renamed them.
    The plugin's own list is empty while it asks for states, and lacks what is being submitted.
    """
    submissions.stop()
    _ignore_further_interrupts()
    logger.info("SLURM: cancelling all jobs of this session; please wait for the last line.")
    # Snakemake hands over jobs to threads; those that have not begun never do.
    executor._job_submission_executor.shutdown(wait=False, cancel_futures=True)
    remaining, error = _cancel_by_name(executor.run_uuid, submissions)
    _end_local_jobs(executor)
    with executor.lock:
        executor.wait = False
    executor.wait_thread.join(timeout=1)
    shutil.rmtree(executor.tmpdir, ignore_errors=True)
    # After Snakemake's own lines.
    atexit.register(print, _last_line(executor.run_uuid, remaining, error), file=sys.stderr)


def _cancel_by_name(name: str, submissions: Submissions) -> tuple[list[str] | None, str]:
    """Return the ids of jobs that are left, or None if that is not known, and why."""
    started = time.monotonic()
    remaining: list[str] | None = None
    error = ""
    while time.monotonic() - started < _PATIENCE_S:
        is_last = submissions.in_flight == 0
        error, is_cancelled = "", False
        try:
            ask(["scancel", "--name", name], _COMMAND_S)
            is_cancelled, remaining = True, None
            rows = list_jobs([*SQUEUE, "--format=%i|%T|%j", f"--user={user()}"], _COMMAND_S)
            # A site may have given its jobs other names.
            own = [row for row in rows if row.more == name or row.job in submissions.active]
            remaining = [row.job for row in own if row.state not in _ENDING]
            if renamed := [row.job for row in own if row.job in remaining and row.more != name]:
                ask(["scancel", *renamed], _COMMAND_S)
        except NoAnswerError as silence:
            error = str(silence)
        # Where squeue alone fails, SLURM said that it cancels what has this name.
        is_believed = is_cancelled and remaining is None and time.monotonic() - started >= _COMMAND_S
        if is_last and is_cancelled and (remaining == [] or is_believed):
            return ([], "")
        if submissions.in_flight and time.monotonic() - started >= _SUBMISSION_S:
            submissions.sbatch.end()
        time.sleep(_PAUSE_S)
    return remaining, error


def _end_local_jobs(executor: Any) -> None:
    """End the jobs of this machine, which a signal to Snakemake alone does not reach."""
    local = executor.workflow.scheduler._local_executor
    if local is None:
        return
    # Those that have not begun never do. Snakemake would ask a cancelled one for its result, and print a traceback.
    with contextlib.suppress(queue.Empty):
        while True:
            local.pool._work_queue.get_nowait()
    local.pool.shutdown(wait=False)
    end_children(_LOCAL_JOBS_S)


def _ignore_further_interrupts() -> None:
    """A second Ctrl-C would leave jobs behind; this takes a minute at most."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _last_line(name: str, remaining: list[str] | None, error: str) -> str:
    if remaining == []:
        return "Stopped. Nothing more is submitted, and all SLURM jobs of this session are cancelled."
    left = "some SLURM jobs may go on" if remaining is None else f"these SLURM jobs go on: {' '.join(remaining)}"
    because = f" ({error})" if error else ""
    which = " ".join(remaining or [f"--name={name}"])
    return (
        f"Stopped. Nothing more is submitted, but {left}{because}. "
        f"To cancel them: scancel {which}; the next start of this study does it, too."
    )
