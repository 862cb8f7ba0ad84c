"""Choose the device and the precision of a PyTorch job, and measure its memory."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from terralucas.errors import StudyError

# What Linux says of this process.
_STATUS = Path("/proc/self/status")
# What SLURM sets in jobs that it gave GPUs, ids and their number; and what these are without a GPU.
_GIVEN_BY_SLURM = {"SLURM_JOB_GPUS": ("",), "SLURM_GPUS_ON_NODE": ("", "0")}
_AUTOCAST_TYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """Return the device for the value `auto`, `cpu` or `cuda` of a configuration; `auto` prefers a GPU.

    Raises:
        StudyError: the value is `cuda` and this machine has no GPU; or it is `auto`, and SLURM gave this job a GPU that
            PyTorch does not find.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise StudyError(
            "The configuration asks for a GPU and this machine shows none.",
            found="torch.cuda.is_available() is False",
            expected="a visible CUDA device",
            remedy="request a GPU for the job, or set `device` to auto",
        )
    if name == "auto":
        _require_gpu_of_slurm()
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _require_gpu_of_slurm() -> None:
    values = {name: os.environ.get(name, "") for name in _GIVEN_BY_SLURM}
    given = [f"{name}={value}" for name, value in values.items() if value not in _GIVEN_BY_SLURM[name]]
    if given and not torch.cuda.is_available():
        # SLURM's name of a node may be another than its host name, and is the one that can be excluded.
        node = os.environ.get("SLURMD_NODENAME") or platform.node()
        raise StudyError(
            "SLURM gave this job a GPU, and PyTorch finds none.",
            found=f"{', '.join(given)} on {node}, and torch.cuda.is_available() is False",
            expected="a CUDA device; on a CPU, `device: auto` computes in another precision than the jobs on GPUs",
            remedy="run nvidia-smi on that node and tell the site what it says; until then, name the node in "
            "slurm-exclude-failed-nodes of the profile; or set `device` to cpu for the whole study",
        )


def autocast(precision: str, device: torch.device) -> tuple[str, Callable[[], AbstractContextManager[object]]]:
    """Return the precision to use on a device, and a function that makes its autocast context.

    Args:
        precision: `auto`, `32`, `16-mixed` or `bf16-mixed`; `auto` is 32 on a CPU and 16-mixed on a GPU.
        device: device of the tensors.
    """
    if precision == "auto":
        precision = "16-mixed" if device.type == "cuda" else "32"
    if precision == "32":
        return precision, nullcontext
    dtype = _AUTOCAST_TYPES[precision]
    return precision, lambda: torch.autocast(device.type, dtype=dtype)


def peak_memory_mib(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process in MiB: `cpu` (resident set) and, on a GPU, `gpu` (of PyTorch)."""
    peak = {"cpu": round(_peak_resident_bytes() / 2**20, 1)}
    if device.type == "cuda":
        peak["gpu"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return peak


def _peak_resident_bytes() -> int:
    # Linux counts in /proc since the program began; ru_maxrss also has the memory of the process that started it.
    if _STATUS.is_file():
        (line,) = (line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    # macOS counts in bytes, others in KiB.
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
