"""Ends a session on a cluster: nothing more is submitted, and everything submitted is cancelled, within a minute."""

from __future__ import annotations

import atexit
import contextlib
import logging
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psutil

from _processes import end_children
from _submissions import Submissions

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

    Jobs are cancelled by their name, which all jobs of the session have. The plugin's own list is empty while it asks
    for states, and lacks what is being submitted.
    """
    submissions.stop()
    _ignore_further_interrupts()
    logger.info("SLURM: cancelling all jobs of this session; please wait for the last line.")
    # Snakemake hands over jobs to threads; those that have not begun never do.
    executor._job_submission_executor.shutdown(wait=False, cancel_futures=True)
    # As the plugin does: where jobs went to other clusters than this one, all are asked.
    clusters = ("--clusters=all",) if executor._submitted_job_clusters else ()
    remaining, error = _cancel_by_name(executor.run_uuid, clusters, submissions)
    _end_local_jobs(executor)
    with executor.lock:
        executor.wait = False
    executor.wait_thread.join(timeout=1)
    shutil.rmtree(executor.tmpdir, ignore_errors=True)
    # After Snakemake's own lines.
    atexit.register(print, _last_line(executor.run_uuid, remaining, error), file=sys.stderr)


def _cancel_by_name(name: str, clusters: tuple[str, ...], submissions: Submissions) -> tuple[list[str] | None, str]:
    """Return the ids of jobs that are left, or None if that is not known, and why."""
    started = time.monotonic()
    remaining: list[str] | None = None
    error = ""
    while time.monotonic() - started < _PATIENCE_S:
        is_last = submissions.in_flight == 0
        error = _run("scancel", "--name", name, *clusters)[1]
        if error == "":
            output, error = _run("squeue", "--noheader", "--format=%i|%T", "--name", name, *clusters)
            rows = [line.strip().split("|") for line in output.splitlines() if "|" in line]
            remaining = None if error else [job for job, state in rows if state not in _ENDING]
            # Where squeue alone fails, SLURM said that it cancels what has this name.
            if is_last and (remaining == [] or (error and time.monotonic() - started >= _COMMAND_S)):
                return ([], "")
        if submissions.in_flight and time.monotonic() - started >= _SUBMISSION_S:
            _terminate_children("sbatch")
        time.sleep(_PAUSE_S)
    return remaining, error


def _run(*command: str) -> tuple[str, str]:
    """Return the output of a command of SLURM, and what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_COMMAND_S)
    except subprocess.TimeoutExpired:
        return "", f"{command[0]} does not answer"
    except OSError as error:
        return "", str(error)
    if done.returncode != 0:
        return "", (done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1]
    return done.stdout, ""


def _terminate_children(name: str) -> None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() == name:
                child.terminate()


def _end_local_jobs(executor: Any) -> None:
    """End the jobs of this machine, which a signal to Snakemake alone does not reach."""
    local = executor.workflow.scheduler._local_executor
    if local is None:
        return
    local.pool.shutdown(wait=False, cancel_futures=True)
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
    return (
        f"Stopped. Nothing more is submitted, but {left}{because}. "
        f"To cancel them: scancel --name={name}; the next start of this study does it, too."
    )
