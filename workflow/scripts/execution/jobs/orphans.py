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

from execution.jobs.processes import end_children

# The number of the Snakemake that started a process, and the namespace in which that number counts.
_STARTED_BY = "TERRALUCAS_STARTED_BY"
_PAUSE_S = 2.0
# Time for the process to end by itself, and then for what it started to save its progress. SLURM's own time between
# SIGTERM and SIGKILL is 30 s where nothing is said; a second SIGTERM before would interrupt the saving.
_GRACE_S = 60.0


def name_snakemake() -> None:
    """Write the number of this Snakemake into the environment of what it starts: it may end before they look for it."""
    os.environ[_STARTED_BY] = f"{os.getpid()} {_namespace()}"


def terminate_with_snakemake(pause_s: float = _PAUSE_S) -> None:
    """Watch the Snakemake that started this process, and what is between them; send SIGTERM to this process after them.

    Between them may be the fork server or a shell. A SIGKILL of one of them, as of the kernel where memory is full,
    leaves this process without a parent that waits for it, and Snakemake may start the same job again. At SIGTERM a run
    saves its progress.

    Args:
        pause_s: seconds between two looks.
    """
    chain = _ancestors()
    number, namespace = os.environ.get(_STARTED_BY, "0 ").split(" ", 1)
    if namespace == _namespace():
        if int(number) not in chain:
            # It has ended already.
            os.kill(os.getpid(), signal.SIGTERM)
            return
        chain = chain[: chain.index(int(number)) + 1]
    else:
        # In a container, processes outside have other numbers, or none.
        chain = chain[: next((place for place, process in enumerate(chain) if _is_snakemake(process)), -1) + 1]

    def watch() -> None:
        while all(_parent_of(child) == parent for child, parent in itertools.pairwise(chain)):
            time.sleep(pause_s)
        os.kill(os.getpid(), signal.SIGTERM)

    if chain:
        threading.Thread(target=watch, name="terminate_with_snakemake", daemon=True).start()


def _namespace() -> str:
    """Return what identifies the space in which processes have their numbers; only Linux has several."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "the only one"


def _ancestors() -> list[int]:
    """Return the numbers of this process, its parent and so on."""
    chain = [os.getpid()]
    while parent := _parent_of(chain[-1]):
        chain.append(parent)
    return chain


def _is_snakemake(process: int) -> bool:
    try:
        # `python -m snakemake`, or the script `snakemake`.
        return any(Path(word).name == "snakemake" for word in psutil.Process(process).cmdline())
    except psutil.Error:
        return False


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
