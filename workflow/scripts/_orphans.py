"""Ends processes that outlive those that started them.

Snakemake's process in a job may wait for ever when SLURM ends the job: at SIGTERM it asks for a lock that it may hold
itself. Where SLURM finds a job's processes by their parents, and not by a control group, it then overlooks this one.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from pathlib import Path

import psutil

from _processes import end_children

_PAUSE_S = 2.0
# Time for the process to end by itself, and then for what it started to save its progress. SLURM's own time between
# SIGTERM and SIGKILL is 30 s where nothing is said; a second SIGTERM before would interrupt the saving.
_GRACE_S = 60.0


def terminate_with_snakemake(pause_s: float = _PAUSE_S, parents: int = 0) -> None:
    """Watch the Snakemake that started this process, and what is between them; send SIGTERM to this process after them.

    Between them may be the fork server or a shell. A SIGKILL of one of them, as of the kernel where memory is full,
    leaves this process without a parent that waits for it, and Snakemake may start the same job again. At SIGTERM a run
    saves its progress.

    Args:
        pause_s: seconds between two looks.
        parents: how many processes up to Snakemake there are, where it may have another name; 0 if that is not known.
    """
    chain = _chain_to_snakemake() or _chain_of_parents(parents)

    def watch() -> None:
        while all(_parent_of(child) == parent for child, parent in itertools.pairwise(chain)):
            time.sleep(pause_s)
        os.kill(os.getpid(), signal.SIGTERM)

    if chain:
        threading.Thread(target=watch, name="terminate_with_snakemake", daemon=True).start()


def _chain_to_snakemake() -> list[int]:
    """Return the numbers of this process, its parent and so on, up to the nearest Snakemake; empty without one."""
    chain = [os.getpid()]
    try:
        for parent in psutil.Process().parents():
            chain.append(parent.pid)
            # `python -m snakemake`, or the script `snakemake`.
            if any(Path(word).name == "snakemake" for word in parent.cmdline()):
                return chain
    except psutil.Error:
        # One of them has just ended; whoever starts the job again waits for nothing.
        pass
    return []


def _chain_of_parents(number: int) -> list[int]:
    """Return the numbers of this process and of so many of its parents; empty for 0."""
    try:
        parents = [parent.pid for parent in psutil.Process().parents()[:number]]
    except psutil.Error:
        return []
    return [os.getpid(), *parents] if parents else []


def _parent_of(process: int) -> int | None:
    try:
        return psutil.Process(process).ppid()
    except psutil.Error:
        return None


def end_with_parent(pause_s: float = _PAUSE_S, grace_s: float = _GRACE_S) -> None:
    """Watch the parent of this process from now on; some time after its end, end this process and what it started."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(pause_s)
        time.sleep(grace_s)
        end_children(grace_s)
        # The other threads may wait for ever.
        os._exit(1)

    # A process without a parent of its own has nothing to follow.
    if parent > 1:
        threading.Thread(target=watch, name="end_with_parent", daemon=True).start()
