"""Fixtures of the tests that run the workflow on this machine."""

import pytest

from helpers.project import Project
from helpers.tiny_study import TINY


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def study(project):
    """The tiny study, run to its end."""
    project.write_config(TINY)
    project.result = project.snakemake("--cores", 2, "--configfile", "config/small.yaml")
    return project
