"""Fixtures of the tests that run the workflow on this machine."""

import shutil

import pytest

from helpers.project import Project
from helpers.shared_study import finish_tiny_study


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def study(project, tmp_path_factory, worker_id):
    """The tiny study, run to its end, and its models selected."""
    finish_tiny_study(project, tmp_path_factory, worker_id)
    return project


@pytest.fixture(scope="session")
def selected(study):
    """The same study, by the name that tests of the selected models give it."""
    return study


@pytest.fixture(scope="module")
def new_chips(selected, tmp_path_factory):
    """37 chips of the study under other names, one of them damaged, and a file that is none."""
    folder = tmp_path_factory.mktemp("new") / "somewhere else"
    folder.mkdir()
    files = sorted((selected.folder / "resources").rglob("*.tif"))[:37]
    for number, file in enumerate(files):
        shutil.copy(file, folder / f"chip {number:02d}.tif")
    (folder / "chip 05.tif").write_bytes(files[5].read_bytes()[:500])
    (folder / "readme.txt").write_text("no chip")
    return folder
