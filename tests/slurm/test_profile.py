"""The study through profiles/slurm on a real Slurm: the numbers of this machine, a GPU for each job, and no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.not_tested import not_tested
from helpers.project import Project
from helpers.shared_study import finish_tiny_study
from helpers.tiny_study import TINY

pytestmark = pytest.mark.slurm

WITNESS = Path(__file__).parent / "witness"
CAN_ISOLATE = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0
# Each script gets a network namespace of its own, without interfaces that are up; where scripts are forked, the process
# they are forked from has one (`witness`).
ISOLATION = """

import os

if "SLURM_JOB_ID" in os.environ:
    shell.prefix("unshare --net ")
"""


@pytest.fixture(scope="module")
def study(cluster, project, tmp_path_factory, worker_id):
    """The tiny study through the profile, beside the same study run on this machine's cores."""
    here = Project(tmp_path_factory.mktemp("here"))
    project.witness = project.folder / "witness.jsonl"
    project.environment |= {"PYTHONPATH": str(WITNESS), "TERRALUCAS_WITNESS": str(project.witness)}
    if CAN_ISOLATE:
        project.environment["TERRALUCAS_ISOLATE"] = "yes"
        with (project.folder / "Snakefile").open("a", encoding="utf-8") as snakefile:
            snakefile.write(ISOLATION)
    finish_tiny_study(here, tmp_path_factory, worker_id)
    project.here = here
    project.write_config(TINY)
    project.snakemake(
        "--profile", "profiles/slurm", "--configfile", "config/small.yaml",
        # The features are computed in two jobs.
        "--config", "earlier_jobs=cancel", "features={shards: 2}",
        # The one thing unlike the profile: jobs this short are over before its first look at them.
        "--slurm-init-seconds-before-status-checks", 3,
    )  # fmt: skip
    return project


def heard(study):
    """Every line of the witness."""
    return [json.loads(line) for line in study.witness.read_text(encoding="utf-8").splitlines()]


def of_jobs(study):
    """What the witness wrote at the end of the scripts that Slurm ran."""
    return [each for each in heard(study) if each["job"] and "attempt" not in each]


def test_the_numbers_are_those_of_this_machine(study):
    there, here = (each.folder / "results" / "small" for each in (study, study.here))
    patterns = ("tables/*.csv", *(f"runs/*/*/*/*/{name}" for name in ("predictions.parquet", "metrics.json")))
    paths = sorted(path.relative_to(here) for pattern in patterns for path in here.glob(pattern))
    assert len(paths) == 25 + 2 * 2
    for path in paths:
        assert (there / path).read_bytes() == (here / path).read_bytes(), path


def test_features_and_runs_are_jobs_of_one_gpu_each_and_the_rest_stays_here(cluster, study):
    assert {each["rule"] for each in heard(study) if each["job"] is None} == {
        "retrieve_chips", "index_chips", "split_chips", "audit_treatment", "fetch_weights", "make_tables",
        "make_evidence", "make_gallery", "draw_figures", "build_report", "join_features",
    }  # fmt: skip
    scripts = of_jobs(study)
    assert [each["rule"] for each in scripts] == ["extract_features", "extract_features", "train_run", "train_run"]
    assert all(each["gpus"] in ("0", "1") for each in scripts), "one of the node's two"
    first, second, *runs = (each["job"] for each in scripts)
    assert len({first, second, *runs}) == 3, (
        "the parts of the feature pass are jobs, and the two runs are packed into one"
    )
    assert [each["forked"] for each in scripts] == [False, False, True, True], "a pack imports PyTorch once"
    for job in (first, second, runs[0]):
        shown = cluster.run("scontrol", "show", "job", job)
        assert "JobState=COMPLETED" in shown
        assert "TresPerJob=gres:gpu:1\n" in shown
        assert "Requeue=0" in shown, "only Snakemake starts a job again"


def test_no_job_asks_for_the_network(study):
    """What Python code attempts, whether or not it would succeed; code of other languages is not heard."""
    assert [each for each in heard(study) if each["job"] and "attempt" in each] == []
    assert [each["hub_offline"] for each in of_jobs(study) if each["rule"] == "extract_features"] == [True, True]
    assert all(each["hub_offline"] in (True, None) for each in of_jobs(study)), "None: never loaded"


def test_no_job_needs_the_network(study):
    """The kernel gave the scripts no interface but a loopback that is down: the numbers came without any network."""
    if not CAN_ISOLATE:
        not_tested("namespaces", "unshare --net failed")
    assert [each["interfaces"] for each in of_jobs(study)] == [["lo"]] * 4


def test_the_end_of_another_study_keeps_the_folders_for_logs_of_jobs_that_wait(study):
    waiting = study.folder / ".snakemake" / "slurm_logs" / "rule_train_run" / "waiting"
    waiting.mkdir(parents=True)
    arguments = ("--profile", "profiles/slurm", "--configfile", "config/small.yaml", "--config", "features={shards: 2}")
    assert "Nothing to be done" in study.snakemake(*arguments).output
    assert waiting.is_dir()


def test_the_witness_hears(study):
    """A script that asks for the network is heard, so that the silence of the others means something."""
    script = study.folder / ".snakemake" / "scripts" / "tmpabc.loud.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(
        "import socket\nsocket.socket().connect_ex(('127.0.0.1', 9))\nsocket.getaddrinfo('127.0.0.1', 9)\n"
    )
    subprocess.run([sys.executable, script], env=os.environ | study.environment, check=True)
    attempts = [each["attempt"].split()[0] for each in heard(study) if each["rule"] == "loud" and "attempt" in each]
    assert attempts == ["socket.connect", "socket.getaddrinfo"]
