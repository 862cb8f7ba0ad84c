"""What is said when memory was full, or a process that reads chips was killed."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing import synchronize

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from helpers.paths import SCRIPTS
from terralucas.machine_errors import explain_machine

OPEN = "unable to open shared memory object </torch_1_2_3> in read-write mode"
# In a process of its own, because PyTorch raises its error wherever the process is at that moment. The reader dies when
# what it has read before was received.
KILLED = """
import os, sys, time
from pathlib import Path
from torch.utils.data import DataLoader, Dataset
from terralucas.machine_errors import explain_machine

class Killed(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        if index == 2:
            while not Path("received").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), int(sys.argv[1]))
        return index

try:
    for number, _ in enumerate(DataLoader(Killed(), num_workers=1)):
        if number == 1:
            Path("received").touch()
except (RuntimeError, OSError) as error:
    print(explain_machine(error))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_reader_that_was_killed_is_explained(tmp_path, number):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(int(number))], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert "A process that reads chips has ended" in done.stdout, done.stderr
    assert "if the memory was full" in done.stdout
    assert "in smaller batches" in done.stdout


def test_a_reader_that_died_while_it_was_heard_is_explained():
    here, there = multiprocessing.Pipe()
    there.close()
    with pytest.raises(EOFError) as raised:
        here.recv()
    assert "A process that reads chips has ended" in explain_machine(raised.value).problem
    assert explain_machine(EOFError("of a file")) is None
    assert explain_machine(FileNotFoundError(2, "No such file or directory", "chips.csv")) is None


@pytest.mark.parametrize(
    ("message", "found", "is_shared"),
    [
        ("DataLoader worker (pid 41) is killed by signal: Killed. ", "killed by the signal: Killed", False),
        ("DataLoader worker (pid 41) is killed by signal: Bus error. It is", "killed by the signal: Bus error", True),
        ("DataLoader worker (pid(s) 4242, 4243) exited unexpectedly", "it ended unexpectedly", True),
    ],
)
def test_what_pytorch_says_of_a_reader_that_ended(message, found, is_shared):
    error = explain_machine(RuntimeError(message))
    assert error.found == found
    assert ("/dev/shm" in error.remedy) == is_shared


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (RuntimeError(f"{OPEN}: No space left on device (28)"), "no memory left that the processes", "--batch-size"),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1>"), "can share", "--shm-size=2g"),
        (RuntimeError(f"{OPEN}: Too many open files (24)"), "cannot open another file", "ulimit -n"),
        (RuntimeError(f"{OPEN}: Permission denied (13)"), "cannot share memory", "mode=1777"),
        (RuntimeError(f"{OPEN}: Read-only file system (30)"), "cannot share memory", "features.workers: 0"),
        (RuntimeError(f"{OPEN}: No such file or directory (2)"), "cannot share memory", "mount"),
        (RuntimeError(f"{OPEN}: Cannot allocate memory (12)"), "no memory left for this job", "more memory"),
        (RuntimeError("Too many open files. Communication with the workers"), "another file", "predict.batch_size"),
        (OSError(24, "Too many open files"), "cannot open another file", "ulimit -n"),
        (OSError(23, "Too many open files in system"), "cannot open another file", "ulimit -n"),
        (OSError(12, "Cannot allocate memory"), "no memory left for this job", "more memory"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "cannot start another process", "raise the limit"),
    ],
)
def test_what_the_machine_does_not_give_is_named_with_a_remedy(error, problem, remedy):
    found = explain_machine(error)
    assert problem in found.problem
    assert found.found == str(error)
    assert remedy in found.remedy


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (errno.ENOENT, "cannot share memory"),
        (errno.EACCES, "cannot share memory"),
        (errno.EROFS, "cannot share memory"),
        (errno.ENOSPC, "no memory left that the processes"),
    ],
)
def test_a_lock_that_cannot_be_made_is_no_process_that_ended(number, problem):
    """Without /dev/shm, Python raises the error that it also raises where a process has ended."""
    code = compile("raise OSError(number, text)", synchronize.__file__, "exec")
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        exec(code, {"number": number, "text": os.strerror(number)})
    assert problem in explain_machine(raised.value).problem


class AsksNumPy(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return np.ones(2**50)


def test_full_memory_in_a_process_that_reads_is_explained():
    """PyTorch cannot make NumPy's error again, and raises another one with its text."""
    with pytest.raises(RuntimeError, match="Unable to allocate") as raised:
        next(iter(DataLoader(AsksNumPy(), num_workers=1)))
    error = explain_machine(raised.value)
    assert "no memory left" in error.problem
    assert error.found.startswith("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8.00 PiB")


def test_a_limit_that_a_process_that_reads_has_met_is_explained():
    text = (
        "Caught OSError in DataLoader worker process 0.\nOriginal Traceback:\nOSError: [Errno 24] Too many open files"
    )
    error = explain_machine(OSError(text))
    assert "cannot open another file" in error.problem
    assert error.found == "OSError: [Errno 24] Too many open files"


def test_other_errors_are_left_alone():
    assert explain_machine(RuntimeError("the size of tensor a must match")) is None
    assert explain_machine(ValueError("DefaultCPUAllocator")) is None
    assert explain_machine(RuntimeError("the size of tensor a must match (24)")) is None
    assert explain_machine(OSError(28, "No space left on device")) is None
    assert explain_machine(BlockingIOError(11, "write could not complete without blocking")) is None


def test_a_limit_of_processes_is_no_full_memory():
    error = explain_machine(RuntimeError("can't start new thread"))
    assert "ulimit -u" in error.expected


def test_the_error_of_a_process_that_reads_is_found_below_its_traceback():
    text = (
        "Caught MemoryError in DataLoader worker process 0.\nOriginal Traceback:\nMemoryError: Unable to allocate 3 GiB"
    )
    assert explain_machine(MemoryError(text)).found == "MemoryError: Unable to allocate 3 GiB"


@pytest.mark.parametrize("ask", ["numpy.ones(2**44)", "torch.ones(2**44)", "bytearray(2**44)"])
def test_memory_that_a_library_cannot_get(ask):
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        eval(ask, {"numpy": np, "torch": torch, "bytearray": bytearray})
    error = explain_machine(raised.value)
    assert "no memory left" in error.problem
    assert error.found
