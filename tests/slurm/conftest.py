"""A Slurm cluster for the tests here. Where none can be, they are skipped, and a warning says so."""

import warnings

import pytest

from helpers.cluster import Cluster, ClusterError, available, install
from helpers.debian import PackageError
from helpers.not_tested import not_tested
from helpers.project import Project


def require_slurm(accounting=False):
    """Install Slurm, or its database, where it is missing, this is root and there is apt-get; else skip the test."""
    try:
        if not available(accounting):
            install(accounting)
            warnings.warn(pytest.PytestWarning("apt-get installed Slurm for these tests"), stacklevel=1)
    except (ClusterError, PackageError) as error:
        not_tested("slurm", error)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A running cluster of one node, without accounting."""
    require_slurm()
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A running cluster of two nodes of one GPU, with a database."""
    require_slurm(accounting=True)
    with Cluster(tmp_path_factory.mktemp("site"), gpus=1, cpus=1, nodes=2, accounting=True) as running:
        yield running


@pytest.fixture(scope="session")
def project(cluster, tmp_path_factory):
    # A name that breaks command lines put together without quoting.
    return Project(tmp_path_factory.mktemp('my "study" №1'), cluster.environment)
