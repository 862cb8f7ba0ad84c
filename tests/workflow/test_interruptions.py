"""Studies that are killed or terminated in the middle of training end with the numbers of an undisturbed one."""

import os
import shutil
import signal
import subprocess
import time

import psutil
import pytest
import yaml

from helpers.project import results
from helpers.tiny_study import TINY

pytestmark = pytest.mark.workflow


# Figures and the page take a quarter of the time, and are made from the tables that are compared.
WITHOUT_PAGE = ("--cores", 2, "--omit-from", "draw_figures", "make_gallery")


def files_that_must_agree(project, study):
    runs = sorted(results(project, study).glob("runs/*/*/*/*"))
    assert len(runs) == 2
    for run in runs:
        for name in ("predictions.parquet", "history.csv", "metrics.json"):
            yield run / name
    tables = sorted(results(project, study).glob("tables/*.csv"))
    assert len(tables) > 20
    yield from tables


@pytest.fixture(scope="module")
def calm(project):
    """An undisturbed study whose runs last long enough to be disturbed."""
    long_study(project, "calm", checkpoint_interval_s=0)
    project.snakemake(*WITHOUT_PAGE, "--configfile", "config/calm.yaml")
    return project


def long_study(project, name, **training):
    config = TINY | {"study": name, "training": {"epochs": 40, "learning_rate": 0.001, **training}}
    project.write_config(config | {"grid": TINY["grid"] | {"decoders": ["mlp"]}}, name)


def disturbed(project, name, is_time, disturb):
    """Start the study `name`, call `disturb` with its process once `is_time()`, and return the runs' folder."""
    # What comes before training is the same for all these studies and need not be made again.
    for part in ("data", "features", "splits", "weights"):
        shutil.copytree(results(project, "calm") / part, results(project, name) / part)
    process = subprocess.Popen(
        project.command(*WITHOUT_PAGE, "--configfile", f"config/{name}.yaml"),
        cwd=project.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not is_time():
        assert process.poll() is None, "the study ended before it could be disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    disturb(process)
    assert process.wait(timeout=120) != 0


def assert_ends_as_the_calm_one(project, name):
    """Run the study `name` to its end: a run went on where it was, and every file is that of the undisturbed study."""
    project.snakemake(*WITHOUT_PAGE, "--configfile", f"config/{name}.yaml")
    folder = results(project, name)
    records = [yaml.safe_load(path.read_text("utf-8")) for path in folder.glob("runs/*/*/*/*/run.yaml")]
    assert any(record["resumed_after_epoch"] > 0 for record in records), "it went on rather than starting afresh"
    assert not list(folder.rglob("resume.ckpt"))
    for undisturbed, resumed in zip(
        files_that_must_agree(project, "calm"), files_that_must_agree(project, name), strict=True
    ):
        assert undisturbed.read_bytes() == resumed.read_bytes(), resumed


def test_a_study_killed_in_training_goes_on_and_ends_with_the_same_numbers(calm):
    long_study(calm, "killed", checkpoint_interval_s=0)
    runs = results(calm, "killed") / "runs"
    disturbed(
        calm, "killed", lambda: list(runs.rglob("resume.ckpt")), lambda process: os.killpg(process.pid, signal.SIGKILL)
    )
    assert not list(runs.rglob("predictions.parquet"))
    locked = calm.snakemake(*WITHOUT_PAGE, "--configfile", "config/killed.yaml", check=False)
    assert "--unlock" in locked.output, "a stale lock says how to go on"
    calm.snakemake("--unlock", "--configfile", "config/killed.yaml")
    assert_ends_as_the_calm_one(calm, "killed")


def test_a_terminated_run_saves_at_once_and_goes_on(calm):
    """SIGTERM, as SLURM sends it before a time limit; the interval between saves is far from over."""
    long_study(calm, "terminated", checkpoint_interval_s=3600)
    log = results(calm, "terminated") / "logs/train_run/tiny/weighted_ce/mlp/seed-0.log"

    def terminate(process):
        for child in psutil.Process(process.pid).children(recursive=True):
            if str(log) in [file.path for file in child.open_files()]:
                child.terminate()

    disturbed(calm, "terminated", lambda: log.is_file() and "epoch 3:" in log.read_text("utf-8"), terminate)
    assert list(results(calm, "terminated").rglob("resume.ckpt"))
    assert_ends_as_the_calm_one(calm, "terminated")
