"""Explain the errors of a job to which the machine gives too little: memory, threads, open files, or processes that
read chips.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from pathlib import Path

from terralucas.errors import StudyError

_ENDED = re.compile(r"DataLoader worker \(pid.*\) (?:is killed by signal: (?P<signal>[\w ]+)|exited unexpectedly)")
# What PyTorch says where Python has MemoryError, and what becomes of that of NumPy in a process that reads chips.
_NO_MEMORY = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "Caught _ArrayMemoryError",
    "Caught MemoryError",
    "Unable to allocate",
)
_NO_SHARED_MEMORY, _NO_THREAD, _NO_FILE = "shared memory", "can't start new thread", "Too many open files"
# The number that the system gave: in the words of PyTorch, and in those of Python from a process that reads chips.
_NUMBER = re.compile(r"\((?P<of_pytorch>\d+)\)\Z|\[Errno (?P<of_python>\d+)\]")
# What Python raises where another process has ended while this one was reading from it.
_LOST = (ConnectionError, EOFError, FileNotFoundError)
_FEWER = (
    "read with fewer processes (features.workers, training.end_to_end.workers, predict.threads) or in smaller batches "
    "(features.batch_size, predict.batch_size; --batch-size)"
)


def explain_machine(error: Exception) -> StudyError | None:
    """Return an error for the user if the machine gave a job too little; otherwise None."""
    text = str(error).strip()
    ended = _ENDED.search(text) if isinstance(error, RuntimeError) else None
    if ended is not None:
        return _explain_ended(ended["signal"])
    found, place = _last_words(text), _place_of(error)
    number = _number_of(error, found)
    of_library, of_system = isinstance(error, RuntimeError), isinstance(error, OSError)
    if (of_library and _NO_FILE in text) or (of_system and number in (errno.EMFILE, errno.ENFILE)):
        return _explain_files(found)
    # On Linux, a lock of several processes is a file in /dev/shm, too.
    is_lock = of_system and place.parts[-2:] == ("multiprocessing", "synchronize.py")
    if is_lock or (of_library and _NO_SHARED_MEMORY in text):
        return _explain_memory(found) if number == errno.ENOMEM else _explain_shared(found, number)
    if isinstance(error, _LOST) and place.parent.name == "multiprocessing":
        return _explain_ended(None)
    if of_library and _NO_THREAD in text:
        return _explain_limit("thread", found)
    # Where a program cannot be written to without waiting, the number is the same.
    if of_system and number == errno.EAGAIN and os.strerror(errno.EAGAIN) in found:
        return _explain_limit("process", found)
    is_full = (of_library and any(words in text for words in _NO_MEMORY)) or (of_system and number == errno.ENOMEM)
    return _explain_memory(found) if is_full or isinstance(error, MemoryError) else None


def _last_words(text: str) -> str:
    """Return what an error says; that of a process that reads chips stands after its traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines[0].startswith("Caught") else lines[0]) if lines else ""


def _number_of(error: Exception, found: str) -> int | None:
    """Return the number that the system has given for an error; None without one."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = _NUMBER.search(found)
    return int(match["of_pytorch"] or match["of_python"]) if match else None


def _place_of(error: Exception) -> Path:
    """Return the file that raised an error; where processes talk to each other, it is in Python's `multiprocessing`."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename if frames else "")


def _explain_memory(found: str) -> StudyError:
    return StudyError(
        "There is no memory left for this job.",
        found=found or "Python could get no more memory",
        expected="memory for the whole job: of the machine, and in its limits (ulimit -v; mem_mb with SLURM)",
        remedy="give it more memory, raise the limit, or run fewer jobs at a time, and start again; finished results "
        "are kept",
    )


def _explain_limit(what: str, found: str) -> StudyError:
    return StudyError(
        f"This job cannot start another {what}.",
        found=found,
        expected="a limit of processes that leaves room for its threads (ulimit -u; pids of a container)",
        remedy="raise the limit or run fewer jobs at a time, and start again; finished results are kept",
    )


def _explain_files(found: str) -> StudyError:
    return StudyError(
        "This job cannot open another file.",
        found=found,
        expected="a limit that leaves room for its open files, of which chips that were read in advance have one each",
        remedy=f"raise the limit (ulimit -n 4096), or {_FEWER}, and start again; finished results are kept",
    )


def _explain_shared(found: str, number: int | None) -> StudyError:
    """Return the error for processes that cannot share memory."""
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOSYS):
        return StudyError(
            "The processes of this job cannot share memory.",
            found=found,
            expected="a folder /dev/shm in which your user may make files",
            remedy="mount it with the permissions 1777 (mount -t tmpfs -o mode=1777 tmpfs /dev/shm), or read without "
            "other processes (features.workers: 0, training.end_to_end.workers: 0), and start again",
        )
    return StudyError(
        "There is no memory left that the processes of this job can share.",
        found=found,
        expected="room in /dev/shm for the chips that they read in advance",
        remedy=f"make /dev/shm larger (docker run --shm-size=2g), or {_FEWER}, and start again; finished results are "
        "kept",
    )


def _explain_ended(signal: str | None) -> StudyError:
    # A process that finds /dev/shm full is ended by SIGBUS, or exits.
    shared = "" if signal == "Killed" else "; if /dev/shm was full, make it larger (docker run --shm-size=2g)"
    return StudyError(
        "A process that reads chips has ended before its work was done.",
        found=f"killed by the signal: {signal}" if signal else "it ended unexpectedly",
        expected="a process that reads until all chips are done",
        remedy=f"if the memory was full, give the job more of it{shared}; or {_FEWER}, and start again",
    )
