"""Fixtures of the tests that run the workflow on this machine."""

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
