"""Explain the errors of a job whose memory was full, or that lost a process that reads chips."""

from __future__ import annotations

import re

from terralucas.errors import StudyError

_ENDED = re.compile(r"DataLoader worker \(pid.*\) (?:is killed by signal: (?P<signal>[\w ]+)|exited unexpectedly)")
# What PyTorch says where Python has MemoryError, and what libraries say of a thread.
_NO_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "can't start new thread")


def explain_memory(error: Exception) -> StudyError | None:
    """Return an error for the user if the memory of a job was full, or a process that reads chips has ended."""
    ended = _ENDED.search(str(error))
    if isinstance(error, RuntimeError) and ended is not None:
        return _explain_ended(ended["signal"])
    is_of_torch = isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    if not (isinstance(error, MemoryError) or is_of_torch):
        return None
    return StudyError(
        "There is no memory left for this job.",
        found=str(error).strip().splitlines()[0] if str(error).strip() else "Python could get no more memory",
        expected="memory for the whole job: of the machine, and in its limits (ulimit -v; mem_mb with SLURM)",
        remedy="give it more memory, raise the limit, or run fewer jobs at a time, and start again; finished results "
        "are kept",
    )


def _explain_ended(signal: str | None) -> StudyError:
    # A worker that finds /dev/shm full is ended by SIGBUS, or says so and exits.
    is_shared = "" if signal == "Killed" else "; if /dev/shm was full, make it larger (docker run --shm-size=2g)"
    return StudyError(
        "A process that reads chips has ended before its work was done.",
        found=f"killed by the signal: {signal}" if signal else "it ended unexpectedly",
        expected="a process that reads until all chips are done",
        remedy=f"if the memory was full, give the job more of it{is_shared}; or read with fewer processes "
        "(features.workers, training.end_to_end.workers, predict.threads), and start again",
    )
