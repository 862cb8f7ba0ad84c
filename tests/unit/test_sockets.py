"""Processes of a job talk to each other wherever TMPDIR is."""

import os
import subprocess
import sys
import tempfile
from multiprocessing import process, util
from pathlib import Path

import pytest

from helpers.paths import SCRIPTS
from terralucas.errors import StudyError
from terralucas.sockets import use_folder_for_sockets

# A worker that cannot make its socket would be waited for for ever; here for 20 s.
LOADER = """
import types
from execution.jobs.job import job
with job(types.SimpleNamespace(rule="extract_features", log=["rule.log"], input=[], output=[])):
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    loader = DataLoader(TensorDataset(torch.arange(3.0)), num_workers=1, timeout=20)
    print([batch[0].item() for batch in loader])
"""


# The same in a command that starts without Snakemake.
COMMAND = """
from terralucas.predict.command import run
def work():
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    print([batch[0].item() for batch in DataLoader(TensorDataset(torch.arange(3.0)), num_workers=1, timeout=20)])
raise SystemExit(run(work))
"""
DELETED = LOADER.replace(
    "    loader =",
    "    import shutil; from multiprocessing import util; shutil.rmtree(util.get_temp_dir())\n    loader =",
)


@pytest.mark.parametrize(
    ("code", "name"), [(LOADER, "t" * 90), (COMMAND, "t" * 90), (DELETED, "t")], ids=["job", "command", "deleted"]
)
def test_a_data_loader_works_with_a_long_temporary_folder_and_where_its_own_was_deleted(tmp_path, code, name):
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        folder = Path(short, name)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(SCRIPTS), "TMPDIR": str(folder)},
            capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[0.0, 1.0, 2.0]\n"), done.stderr


@pytest.fixture
def own_folder(monkeypatch):
    """What Python keeps of this process, in which no folder for sockets is made yet."""
    config = process.current_process()._config
    monkeypatch.setitem(config, "tempdir", None)
    # Python deletes the folder when the process ends.
    monkeypatch.setattr(util, "Finalize", lambda *arguments, **options: None)
    return config


def test_a_usual_temporary_folder_is_used_as_ever(own_folder, monkeypatch):
    use_folder_for_sockets(others=())
    assert own_folder.get("tempdir") is None


@pytest.mark.parametrize("name", ["t" * 90, "is_a_file"])
def test_where_no_socket_can_be_made_another_folder_is_used(own_folder, tmp_path, monkeypatch, name):
    bad = tmp_path / name
    bad.touch() if name == "is_a_file" else bad.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(bad))
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        use_folder_for_sockets(others=(short,))
        assert Path(util.get_temp_dir()).parent == Path(short)
    assert tempfile.gettempdir() == str(bad), "other temporary files stay where the user wants them"


def test_without_any_folder_for_sockets_a_job_ends_at_once(own_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 90)))
    with pytest.raises(
        StudyError, match=r"no temporary folder[\s\S]*expected: a folder with a path of at most 75[\s\S]*set TMPDIR"
    ):
        use_folder_for_sockets(others=())
