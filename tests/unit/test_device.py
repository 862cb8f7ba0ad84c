"""The device that jobs take, and the memory that they report."""

import platform
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from helpers.paths import SCRIPTS
from terralucas import device
from terralucas.device import peak_memory_mib, pick_device
from terralucas.errors import StudyError

CPU = torch.device("cpu")
PEAK = "import torch; from terralucas.device import peak_memory_mib; print(peak_memory_mib(torch.device('cpu'))['cpu'])"


@pytest.mark.parametrize(("system", "counted"), [("FreeBSD", 512 * 1024), ("Darwin", 512 * 1024**2)])
def test_peak_memory_is_in_mib_whatever_the_system_counts(monkeypatch, system, counted):
    """getrusage(2): ru_maxrss is in kilobytes on Linux and FreeBSD, and in bytes on macOS."""
    monkeypatch.setattr(device, "_STATUS", Path("no such file"))
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=counted))
    assert peak_memory_mib(CPU) == {"cpu": 512.0}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="this system has no /proc/self/status")
def test_peak_memory_is_that_of_the_process_alone():
    """Linux hands the peak of the process that starts another one down to it, in ru_maxrss."""
    held = bytearray(3 * 2**29)
    done = subprocess.run(
        [sys.executable, "-c", PEAK], env={"PYTHONPATH": str(SCRIPTS)}, capture_output=True, text=True, check=True
    )
    assert len(held) == 3 * 2**29
    assert 100 < float(done.stdout) < 2**10


@pytest.mark.parametrize(
    ("variable", "value", "is_given"),
    [
        ("SLURM_JOB_GPUS", "0,1", True),
        ("SLURM_JOB_GPUS", "0", True),
        ("SLURM_JOB_GPUS", "", False),
        ("SLURM_GPUS_ON_NODE", "1", True),
        ("SLURM_GPUS_ON_NODE", "0", False),
    ],
)
def test_auto_is_no_cpu_where_slurm_gave_a_gpu(monkeypatch, variable, value, is_given):
    """sbatch(1): SLURM_JOB_GPUS has the ids of the GPUs of a job, from 0; SLURM_GPUS_ON_NODE their number."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("SLURM_JOB_GPUS", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    # SLURM's name of a node may be another than its host name; only SLURM's can be excluded.
    monkeypatch.setenv("SLURMD_NODENAME", "n17")
    assert pick_device("cpu") == CPU
    if is_given:
        with pytest.raises(
            StudyError, match=rf"SLURM gave this job a GPU[\s\S]*{variable}={value} on n17,[\s\S]*nvidia-smi"
        ):
            pick_device("auto")
    else:
        assert pick_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"
