"""Explain the errors of a job to which the machine gives too little: memory, threads, or processes that read chips."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from terralucas.errors import StudyError

_ENDED = re.compile(r"DataLoader worker \(pid.*\) (?:is killed by signal: (?P<signal>[\w ]+)|exited unexpectedly)")
# What PyTorch says where Python has MemoryError, and where the folder in which processes share memory is full.
_NO_MEMORY, _NO_SHARED_MEMORY = ("DefaultCPUAllocator", "can't allocate memory"), "shared memory"
# What Python raises where another process has ended while this one was reading from it.
_LOST = (ConnectionError, EOFError, FileNotFoundError)


def explain_machine(error: Exception) -> StudyError | None:
    """Return an error for the user if the machine gave a job too little; otherwise None."""
    text = str(error).strip()
    ended = _ENDED.search(text) if isinstance(error, RuntimeError) else None
    if ended is not None:
        return _explain_ended(ended["signal"])
    if isinstance(error, _LOST) and _is_of_other_process(error):
        return _explain_ended(None)
    if isinstance(error, RuntimeError) and _NO_SHARED_MEMORY in text:
        return _explain_ended("Bus error")
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return StudyError(
            "This job cannot start another thread.",
            found=text,
            expected="a limit of processes that leaves room for its threads (ulimit -u; pids of a container)",
            remedy="raise the limit or run fewer jobs at a time, and start again; finished results are kept",
        )
    is_of_torch = isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
    if not (isinstance(error, MemoryError) or is_of_torch):
        return None
    # That of a process that reads chips stands after its traceback.
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = (lines[-1] if lines[0].startswith("Caught") else lines[0]) if lines else "Python could get no more memory"
    return StudyError(
        "There is no memory left for this job.",
        found=found,
        expected="memory for the whole job: of the machine, and in its limits (ulimit -v; mem_mb with SLURM)",
        remedy="give it more memory, raise the limit, or run fewer jobs at a time, and start again; finished results "
        "are kept",
    )


def _is_of_other_process(error: Exception) -> bool:
    """Return whether an error came from the part of Python in which processes talk to each other."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).parent.name == "multiprocessing"


def _explain_ended(signal: str | None) -> StudyError:
    # A process that finds /dev/shm full is ended by SIGBUS, or exits.
    shared = "" if signal == "Killed" else "; if /dev/shm was full, make it larger (docker run --shm-size=2g)"
    return StudyError(
        "A process that reads chips has ended before its work was done.",
        found=f"killed by the signal: {signal}" if signal else "it ended unexpectedly",
        expected="a process that reads until all chips are done",
        remedy=f"if the memory was full, give the job more of it{shared}; or read with fewer processes "
        "(features.workers, training.end_to_end.workers, predict.threads), and start again",
    )
