"""What a start on a cluster says once, in a Snakemake in which finished runs are not kept from late jobs."""

from pathlib import Path

import pytest

from helpers.project import Project
from helpers.tiny_study import TINY

pytestmark = pytest.mark.workflow

SAID = "Finished runs are not protected from jobs of earlier starts"


def test_a_snakemake_with_other_functions_is_said_once_at_the_start_on_a_cluster_alone(tmp_path):
    project = Project(tmp_path / "project", {"PYTHONPATH": str(Path(__file__).parent / "other_cluster")})
    start = ("--executor", "pretended", "--jobs", 1, "--configfile", project.write_config(TINY))
    target = ("--", "results/small/data/retrieval.json")
    assert SAID not in project.snakemake("-n", *start, *target).output
    # A job of a local rule is a process of its own, which reads the Snakefile, too.
    done = project.snakemake(*start, *target)
    assert (project.folder / target[1]).is_file()
    assert done.output.count(SAID) == 1, done.output
    assert "a_new_one" in done.output
    assert "what to do: install the versions in requirements.lock" in done.output
    here = ("--cores", 1, "--configfile", "config/small.yaml", "--force")
    assert SAID not in project.snakemake(*here, *target).output
