"""What a start on a cluster says, and what its jobs are given, on a cluster that is only pretended."""

import re
import shutil
from pathlib import Path

import pytest

from helpers.project import Project
from helpers.tiny_study import TINY

pytestmark = pytest.mark.workflow

OTHER_CLUSTER = {"PYTHONPATH": str(Path(__file__).parent / "other_cluster")}
SAID = "Finished runs are not protected from jobs of earlier starts"


def test_a_snakemake_with_other_functions_is_said_once_at_the_start_on_a_cluster_alone(tmp_path):
    project = Project(tmp_path / "project", OTHER_CLUSTER)
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


def test_a_job_has_the_configuration_of_the_start_and_fails_where_its_node_does_not_see_its_files(study, tmp_path):
    """The user edits the configuration while the job waits, and the node has none of the study's features."""
    before = "sed -i 's/epochs: 3/epochs: 7/' config/small.yaml; mv results/small/features away"
    project = Project(tmp_path / "project", {**OTHER_CLUSTER, "BEFORE_A_JOB": before})
    for part in ("results", ".snakemake", "resources"):
        shutil.copytree(study.folder / part, project.folder / part)
    start = ("--executor", "pretended", "--jobs", 1, "--latency-wait", 1, "--configfile", project.write_config(TINY))
    done = project.snakemake(
        *start, "--force", "--", "results/small/runs/tiny/weighted_ce/identity/seed-0/metrics.json", check=False
    )
    assert "epochs: 7" in (project.folder / "config/small.yaml").read_text()
    (copy,) = set(re.findall(r"--configfiles (\S+)", done.output))
    assert "epochs: 3" in Path(copy).read_text()
    assert done.returncode != 0
    assert re.search(
        r"ERROR: The node \S+ does not see the input files of this job\.\n  found: no \S*features", done.output
    )
