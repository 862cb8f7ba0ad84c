"""A job whose node does not see its input files fails, and says so."""

import socket
from types import SimpleNamespace

import pytest

from execution.cluster import missing_files as _missing_files
from execution.cluster.missing_files import fail_without_job


@pytest.mark.parametrize("node", ["n17", None], ids=["slurm", "other"])
def test_the_node_has_the_name_by_which_slurm_knows_it(monkeypatch, capsys, tmp_path, node):
    """SLURM's NodeName may be another than the host name."""
    if node:
        monkeypatch.setenv("SLURMD_NODENAME", node)
    else:
        monkeypatch.delenv("SLURMD_NODENAME", raising=False)
    statuses = []
    monkeypatch.setattr(_missing_files.os, "_exit", statuses.append)
    settings = SimpleNamespace(wait_for_files=[str(tmp_path / "splits.csv")], latency_wait=60)
    fail_without_job(SimpleNamespace(scheduler=None, execution_settings=settings))
    assert statuses == [1]
    assert f"ERROR: The node {node or socket.gethostname()} does not see the input files" in capsys.readouterr().err
