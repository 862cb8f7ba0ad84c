"""What a study does and says when a job fails: a failed check stops it, a failed run stops no other run."""

import pytest

from helpers.project import damage_split, results
from helpers.tiny_study import TINY

pytestmark = pytest.mark.workflow

# Two names for one loss: TerraTorch's focal loss drops the class weights.
ALIKE = (
    "losses={balanced: {type: terratorch_focal, class_weights: balanced}, soft: {type: terratorch_focal}}",
    "grid={losses: [weighted_ce, balanced, soft]}",
)


@pytest.fixture(scope="module")
def failing(project):
    """A study whose audits fail, on one core: whatever is made after them had to be started after their failure."""
    config = project.write_config(TINY | {"study": "failing"}, "failing")
    project.failed = project.snakemake("--cores", 1, "--configfile", config, "--config", *ALIKE, check=False)
    return project


def lines_at_the_end(done):
    """What is listed under `Failed:`, and what comes after it."""
    lines = done.output.splitlines()
    return lines[lines.index("Failed:") + 1 :]


def test_an_audit_that_fails_stops_the_study_before_long_jobs_and_is_listed_at_the_end(failing):
    assert failing.failed.returncode != 0
    results = failing.folder / "results" / "failing"
    assert (results / "data" / "chips.parquet").is_file()
    assert not (results / "features").exists()
    assert not (results / "runs").exists()
    assert failing.failed.output.count("No more jobs are started") == 1
    listed, *rest = lines_at_the_end(failing.failed)
    assert listed.startswith("  audit_treatment · losses · ")
    assert "results/failing/logs/audit_treatment/losses/" in listed
    assert rest[0].strip().startswith("The setting losses.")
    assert any(line.strip().startswith("what to do: ") for line in rest)
    assert any(line.startswith("What you asked for is not finished.") for line in rest)


def test_a_run_that_fails_is_listed_at_the_end_and_the_others_are_finished(failing):
    config = "config/failing.yaml"
    failing.snakemake("--cores", 2, "--configfile", config, "--until", "extract_features", "split_chips")
    results = failing.folder / "results" / "failing"
    damage_split(results)

    failed = failing.snakemake("--cores", 1, "--configfile", config, check=False)
    assert failed.returncode != 0
    runs = results / "runs" / "tiny" / "weighted_ce" / "identity"
    assert (runs / "seed-1" / "predictions.parquet").is_file()
    assert not (runs / "seed-0" / "predictions.parquet").exists()
    assert "No more jobs are started" not in failed.output
    listed, reason, *_ = lines_at_the_end(failed)
    assert listed.startswith("  tiny · weighted_ce · identity · seed 0  (log: results/failing/logs/train_run/")
    assert "seed-0.csv" in reason


def test_a_damaged_index_is_named_without_lines_of_the_project(project):
    config = project.write_config(TINY | {"study": "damaged"}, "damaged")
    index = results(project, "damaged") / "data" / "chips.parquet"
    index.parent.mkdir(parents=True)
    index.write_bytes(b"PAR1 half an index")
    done = project.snakemake("-n", "--configfile", config, check=False)
    assert done.returncode == 1
    assert "chips.parquet cannot be read" in done.output
    assert ".smk" not in done.output
    assert ".py" not in done.output
