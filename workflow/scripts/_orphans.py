"""Ends a process of a cluster's job that outlives its parent.

Snakemake's process in a job may wait for ever when SLURM ends the job: at SIGTERM it asks for a lock that it may hold
itself. Where SLURM finds a job's processes by their parents, and not by a control group, it then overlooks this one.
"""

from __future__ import annotations

import os
import threading
import time

from _processes import end_children

_PAUSE_S = 2.0
# Time for the process to end by itself, and then for what it started to save its progress. SLURM's own time between
# SIGTERM and SIGKILL is 30 s where nothing is said; a second SIGTERM before would interrupt the saving.
_GRACE_S = 60.0


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
