"""Count the processors of this process."""

import os


def count_processors() -> int:
    """Return how many processors this process may use; SLURM and taskset may give it fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
