"""What is said when memory was full, or a process that reads chips was killed."""

import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers.paths import SCRIPTS
from terralucas.machine_errors import explain_machine

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
        ("unable to allocate shared memory(shm) for file </torch_1>", "killed by the signal: Bus error", True),
    ],
)
def test_what_pytorch_says_of_a_reader_that_ended(message, found, is_shared):
    error = explain_machine(RuntimeError(message))
    assert error.found == found
    assert ("/dev/shm" in error.remedy) == is_shared


def test_other_errors_are_left_alone():
    assert explain_machine(RuntimeError("the size of tensor a must match")) is None
    assert explain_machine(ValueError("DefaultCPUAllocator")) is None


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
