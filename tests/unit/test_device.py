"""The memory that jobs report."""

import platform
import resource
from types import SimpleNamespace

import pytest
import torch

from terralucas.device import peak_memory_mib

CPU = torch.device("cpu")


@pytest.mark.parametrize(("system", "counted"), [("Linux", 512 * 1024), ("Darwin", 512 * 1024**2)])
def test_peak_memory_is_in_mib_whatever_the_system_counts(monkeypatch, system, counted):
    """getrusage(2): ru_maxrss is in kilobytes on Linux, and in bytes on macOS."""
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=counted))
    assert peak_memory_mib(CPU) == {"cpu": 512.0}
