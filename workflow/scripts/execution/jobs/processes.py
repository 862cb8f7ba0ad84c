"""Ends the processes that this one started."""

from __future__ import annotations

import contextlib
import signal
import time

import psutil

_PAUSE_S = 0.05

# Name of the process that jobs are forked from; it ends with the process that started it.
FORK_SERVER = "fork_server"
# In the command of the process in which `multiprocessing` keeps account of shared memory.
_RESOURCE_TRACKER = "multiprocessing.resource_tracker"


def children_of(process: psutil.Process, recursive: bool = False) -> list[psutil.Process]:
    """Return the children of a process; none where the machine hides them (/proc with hidepid=1) or it is gone."""
    with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
        return process.children(recursive)
    return []


# A shell script that ends with `exec snakemake` leaves its own children, such as the reader of `exec > >(tee …)`.
_EARLIER = frozenset(children_of(psutil.Process()))


def end_children(patience_s: float) -> None:
    """End all processes that this one started, and those that they started: SIGTERM, and SIGKILL for what is left.

    Children that were there before this module was read are left alone, with what they start.

    How a process ended is left for the one who started it: a thread of Snakemake that waits for a job would take a job
    for finished whose exit status was read here (`psutil.wait_procs` reads it).

    Args:
        patience_s: how long they have after SIGTERM, all together.
    """
    started = [child for child in children_of(psutil.Process()) if child not in _EARLIER]
    family = [process for child in started for process in (child, *children_of(child, recursive=True))]
    living = [process for process in family if not _is_helper(process)]
    _send(signal.SIGTERM, living)
    deadline = time.monotonic() + patience_s
    while (living := [process for process in living if _lives(process)]) and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)
    _send(signal.SIGKILL, living)


def _send(number: signal.Signals, processes: list[psutil.Process]) -> None:
    for process in processes:
        # It is gone, or another user's: the others must be ended all the same.
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process.send_signal(number)


def _is_helper(process: psutil.Process) -> bool:
    """Return whether a process is one of Python's own helpers, which ignore SIGTERM and end with their parent."""
    try:
        return process.name() == FORK_SERVER or _RESOURCE_TRACKER in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
