"""Runs that share a job: one that fails takes no other along."""

import shutil

import pytest

from helpers.project import Project, damage_split, forget_what_was_made
from helpers.shared_study import finish_tiny_study
from helpers.tiny_study import TINY

pytestmark = pytest.mark.slurm

QUICK = ("--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", 2, "--configfile")


@pytest.fixture(scope="module")
def config(project, tmp_path_factory, worker_id):
    """The configuration of a study of which all is there but its runs and what follows from them."""
    here = Project(tmp_path_factory.mktemp("here"))
    finish_tiny_study(here, tmp_path_factory, worker_id)
    shutil.copytree(here.folder / "resources", project.folder / "resources")
    for part in ("data", "features", "splits", "weights"):
        shutil.copytree(here.folder / "results" / "small" / part, project.folder / "results" / "packs" / part)
    return project.write_config(TINY | {"study": "packs"}, "packs")


def test_a_failure_inside_a_pack_loses_only_that_run(project, config):
    results = project.folder / "results" / "packs"
    split, whole = damage_split(results)

    failed = project.snakemake(*QUICK, config, "--retries", 1, check=False)
    assert failed.returncode != 0
    lines = failed.output.splitlines()
    assert sum(line.startswith("1 of 2  tiny · weighted_ce · identity · seed 1: macro accuracy") for line in lines) == 1
    failures = [number for number, line in enumerate(lines) if line.startswith("FAILED")]
    assert len(failures) == 2, "it was tried again"
    for number in failures:
        assert lines[number].startswith("FAILED  tiny · weighted_ce · identity · seed 0  (log: ")
        assert "seed-0.csv" in lines[number + 1], "the run's own words"
    assert "What is finished is kept" in failed.output

    runs = results / "runs" / "tiny" / "weighted_ce" / "identity"
    finished = {path.name: path.stat().st_mtime_ns for path in (runs / "seed-1").iterdir()}
    assert "predictions.parquet" in finished
    assert not (runs / "seed-0" / "predictions.parquet").exists()

    split.write_text(whole, encoding="utf-8")
    forget_what_was_made(results)
    assert project.planned("--configfile", config)["train_run"] == 1
    project.snakemake(*QUICK, config, "--until", "train_run")
    assert (runs / "seed-0" / "predictions.parquet").is_file()
    del finished["resume.ckpt"]
    assert {path.name: path.stat().st_mtime_ns for path in (runs / "seed-1").iterdir()} == finished


def test_a_job_that_slurm_never_takes_fails_at_once_with_what_to_do(project, config):
    """The first attempt would be followed by two more, each with more memory and time."""
    failed = project.snakemake(
        *QUICK, config, "--forcerun", "train_run", "--retries", 2, "--default-resources", "slurm_partition=nowhere",
        check=False,
    )  # fmt: skip
    assert failed.returncode != 0
    lines = failed.output.splitlines()
    failures = [number for number, line in enumerate(lines) if line.startswith("FAILED")]
    assert len(failures) == 2, failed.output[-4000:]
    assert [line.strip() for line in lines[failures[1] + 1 : failures[1] + 4]] == [
        "SLURM does not take this job.",
        "found: invalid partition specified: nowhere; Batch job submission failed: Invalid partition name specified",
        "what to do: correct the settings of your site at the top of profiles/slurm/config.yaml (docs/slurm.md, "
        "section 9)",
    ]


def test_a_local_rule_that_fails_is_not_tried_again(project):
    weights = {"source": "file", "path": "nowhere.pt"}
    study = TINY | {"study": "weightless", "backbones": {"tiny": TINY["backbones"]["tiny"] | {"weights": weights}}}
    failed = project.snakemake(
        *QUICK, project.write_config(study, "weightless"), "--until", "fetch_weights", check=False
    )
    assert failed.returncode != 0
    assert failed.output.count("FAILED  fetch_weights · tiny") == 1, failed.output[-4000:]
    assert "it is started again" not in failed.output


@pytest.mark.parametrize("name", ["it's mine", "a $(touch x)", "a `touch x`"])
def test_a_folder_whose_name_would_break_the_jobs_command_lines_is_refused(cluster, tmp_path, name):
    other = Project(tmp_path / name, cluster.environment)
    failed = other.snakemake(*QUICK, other.write_config(TINY), check=False)
    assert failed.returncode != 0
    assert f"cannot be started from {tmp_path / name}" in failed.output
    assert "FAILED" not in failed.output
    assert not list((tmp_path / name).rglob("x"))
