"""A Slurm cluster for the tests here. Where none can be, they are skipped, and a warning says so."""

import os
import warnings

import pytest

from helpers.cluster import Cluster, ClusterError, available, install
from helpers.debian import PackageError
from helpers.project import Project


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A running cluster; Slurm is installed where it is missing, this is root and there is apt-get."""
    try:
        if not available():
            install()
            warnings.warn(pytest.PytestWarning("apt-get installed Slurm for these tests"), stacklevel=1)
    except (ClusterError, PackageError) as error:
        if os.environ.get("TERRALUCAS_REQUIRE_SLURM") == "1":
            pytest.fail(f"TERRALUCAS_REQUIRE_SLURM is 1, and there is no Slurm: {error}")
        warnings.warn(pytest.PytestWarning(f"NOT TESTED: nothing ran on Slurm, because {error}"), stacklevel=1)
        pytest.skip(str(error))
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def project(cluster, tmp_path_factory):
    # A name that breaks command lines put together without quoting.
    return Project(tmp_path_factory.mktemp('my "study" №1'), cluster.environment)
