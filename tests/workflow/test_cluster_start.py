"""What a start on a cluster says, and what its jobs are given, on a cluster that is only pretended."""

import re
import shutil
from pathlib import Path

import pytest

from helpers.project import Project
from helpers.tiny_study import TINY

pytestmark = pytest.mark.workflow

HERE = Path(__file__).parent
OTHER_CLUSTER = {"PYTHONPATH": str(HERE / "other_cluster")}
OTHER_SNAKEMAKE = {"PYTHONPATH": f"{HERE / 'other_cluster'}:{HERE / 'other_snakemake'}"}
SAID = "Finished runs are not protected from jobs of earlier starts"


def test_a_snakemake_with_other_functions_is_said_once_at_the_start_on_a_cluster_alone(tmp_path):
    project = Project(tmp_path / "project", OTHER_SNAKEMAKE)
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


DEFAULT = (
    "sed -i '/^      storage:/,/default:/ s/default: float32/default: float16/' workflow/schemas/config.schema.yaml"
)
# Rules are those of the start, which Snakemake keeps for its jobs; modules that they use are not.
PARAMETER = "cd workflow/scripts/terralucas/study; sed -i 's/^PASS_BOOKKEEPING = .*/PASS_BOOKKEEPING = ()/' settings.py"


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (DEFAULT, "and gives it other settings than the start of the study"),
        (PARAMETER, "found: other parameters or inputs of results/small/features/tiny/all/pooled.npy than when"),
    ],
    ids=["default", "parameter"],
)
def test_a_job_is_refused_where_a_changed_project_gives_it_other_settings(study, tmp_path, before, said):
    """The project is upgraded while the job waits: it would store features of other settings as those of the start."""
    project = Project(tmp_path / "project", {**OTHER_CLUSTER, "BEFORE_A_JOB": before})
    for part in ("results", ".snakemake", "resources"):
        shutil.copytree(study.folder / part, project.folder / part)
    features = project.folder / "results/small/features/tiny/all/pooled.npy"
    earlier = features.read_bytes()
    start = ("--executor", "pretended", "--jobs", 1, "--latency-wait", 1, "--configfile", project.write_config(TINY))
    target = ("--force", "--", "results/small/features/tiny/all/pooled.npy")
    done = project.snakemake(*start, *target, check=False)
    assert done.returncode != 0
    assert said in done.output, done.output
    assert features.read_bytes() == earlier
    # The upgraded project makes them of its own settings.
    assert project.planned("--configfile", "config/small.yaml")["extract_features"] == 1
