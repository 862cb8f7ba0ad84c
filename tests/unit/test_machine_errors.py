"""What is said when memory was full, or a process that reads chips was killed."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers.paths import SCRIPTS
from terralucas.memory_errors import explain_memory

# In a process of its own, because PyTorch raises its error wherever the process is at that moment.
KILLED = """
import os, sys
from torch.utils.data import DataLoader, Dataset
from terralucas.memory_errors import explain_memory

class Killed(Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), int(sys.argv[1]))
        return index

try:
    list(DataLoader(Killed(), num_workers=1))
except RuntimeError as error:
    print(explain_memory(error))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_reader_that_was_killed_is_explained(number):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(int(number))], env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert "A process that reads chips has ended" in done.stdout, done.stderr
    assert "if the memory was full" in done.stdout


@pytest.mark.parametrize(
    ("message", "found", "is_shared"),
    [
        ("DataLoader worker (pid 41) is killed by signal: Killed. ", "killed by the signal: Killed", False),
        ("DataLoader worker (pid 41) is killed by signal: Bus error. It is", "killed by the signal: Bus error", True),
        ("DataLoader worker (pid(s) 4242, 4243) exited unexpectedly", "it ended unexpectedly", True),
    ],
)
def test_what_pytorch_says_of_a_reader_that_ended(message, found, is_shared):
    error = explain_memory(RuntimeError(message))
    assert error.found == found
    assert ("/dev/shm" in error.remedy) == is_shared


def test_other_errors_are_left_alone():
    assert explain_memory(RuntimeError("the size of tensor a must match")) is None
    assert explain_memory(ValueError("DefaultCPUAllocator")) is None


@pytest.mark.parametrize("ask", ["numpy.ones(2**44)", "torch.ones(2**44)", "bytearray(2**44)"])
def test_memory_that_a_library_cannot_get(ask):
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        eval(ask, {"numpy": np, "torch": torch, "bytearray": bytearray})
    error = explain_memory(raised.value)
    assert "no memory left" in error.problem
    assert error.found
