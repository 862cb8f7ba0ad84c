"""What the end of a study deletes."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
from snakemake.api import DAGApi  # noqa: F401 - first, because Snakemake's modules import each other
from snakemake.dag import DAG

from execution.end.leftovers import (
    clean_own_logs,
    end_without_jobs,
    let_empty_folders_stay,
    remove_study_leftovers,
)
from execution.known_functions import require_parameters
from terralucas.files import write_json
from terralucas.study.head import seconds_after_boot, this_process

RESULTS = Path("results/mine")
RECORDS = [f"{RESULTS}/runs/seed-{seed}/run.yaml" for seed in (0, 1)]
# What killed jobs leave: of a finished and of an unfinished run, of this study and of another one.
OF_FINISHED, OF_UNFINISHED = (f"{RESULTS}/runs/seed-{seed}/resume.ckpt" for seed in (0, 1))
OWN_SCRIPT, OTHER_SCRIPT = (f".snakemake/scripts/tmp{name}.train_run.py" for name in ("1", "2"))


@pytest.fixture
def left(tmp_path, monkeypatch):
    """A function that returns what is there of what killed jobs left."""
    monkeypatch.chdir(tmp_path)
    for path, text in {
        RECORDS[0]: "",
        OF_FINISHED: "",
        OF_UNFINISHED: "",
        OWN_SCRIPT: "log=['results/mine/logs/train_run.log']",
        OTHER_SCRIPT: "log=['results/another/logs/train_run.log']",
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    return lambda: {path for path in (OF_FINISHED, OF_UNFINISHED, OWN_SCRIPT, OTHER_SCRIPT) if Path(path).exists()}


def test_what_killed_jobs_of_this_study_left_is_deleted_and_unfinished_runs_keep_their_state(left):
    remove_study_leftovers(RESULTS, RECORDS)
    assert left() == {OF_UNFINISHED, OTHER_SCRIPT}


@pytest.mark.parametrize(
    ("scheduler", "jobs", "kept"),
    [
        (object(), [], {OF_UNFINISHED, OTHER_SCRIPT}),  # "Nothing to be done"
        (object(), ["a job"], {OF_FINISHED, OF_UNFINISHED, OWN_SCRIPT, OTHER_SCRIPT}),  # the hooks delete
        (None, [], {OF_FINISHED, OF_UNFINISHED, OWN_SCRIPT, OTHER_SCRIPT}),  # as with --unlock
    ],
)
def test_a_start_with_nothing_to_do_deletes_too(left, scheduler, jobs, kept):
    end_without_jobs(SimpleNamespace(scheduler=scheduler, dag=jobs), lambda: None, lambda: None, RESULTS, RECORDS)
    assert left() == kept


@pytest.mark.parametrize("lives", [False, True])
def test_a_start_with_nothing_to_do_removes_the_mark_of_a_start_that_was_killed(left, lives):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    temporary = Path(".snakemake/tmp.abc")
    temporary.mkdir(parents=True)
    head = replace(this_process((str(temporary),)), pid=process.pid, started=seconds_after_boot(process.pid))
    (RESULTS / ".running.json").write_text(json.dumps(asdict(head)))
    if not lives:
        process.kill()
        process.wait()
    end_without_jobs(SimpleNamespace(scheduler=object(), dag=[]), lambda: None, lambda: None, RESULTS, RECORDS)
    assert (RESULTS / ".running.json").exists() == temporary.exists() == lives
    process.kill()
    process.wait()


def test_a_finished_study_on_a_disk_that_is_read_only_starts_without_a_word(left, monkeypatch):
    def refuse(path, missing_ok=False):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    parts = RESULTS / "features" / "tiny" / "all" / "parts" / "0-of-2"
    parts.mkdir(parents=True)
    (parts / "tokens.npy").touch()
    (parts.parent.parent / "tokens.json").touch()
    monkeypatch.setattr(Path, "unlink", refuse)
    end_without_jobs(SimpleNamespace(scheduler=object(), dag=[]), lambda: None, lambda: None, RESULTS, RECORDS)
    assert left() == {OF_FINISHED, OF_UNFINISHED, OWN_SCRIPT, OTHER_SCRIPT}


def test_a_start_with_nothing_to_do_beside_a_running_study_deletes_nothing(left, monkeypatch):
    monkeypatch.setattr("execution.end.leftovers.may_be_running", lambda folder: True)
    end_without_jobs(SimpleNamespace(scheduler=object(), dag=[]), lambda: None, pytest.fail, RESULTS, RECORDS)
    assert left() == {OF_FINISHED, OF_UNFINISHED, OWN_SCRIPT, OTHER_SCRIPT}


def test_parts_of_features_that_are_joined_are_deleted_and_others_kept(tmp_path):
    features = tmp_path / "features" / "tiny" / "all"
    for part in ("0-of-3", "1-of-3", "0-of-2"):
        (features / "parts" / part).mkdir(parents=True)
        (features / "parts" / part / ".lock").touch()
    for name in ("tokens.npy", ".tokens.npy", "pooled.npy"):
        (features / "parts" / "0-of-3" / name).touch()
    for kind in ("tokens", "pooled", ".cls"):
        write_json(features / "parts" / "0-of-3" / f"{kind}.json", {"fingerprint": "a"})
    (features / "parts" / "0-of-3" / ".cls.npy").touch()
    # Joined of one part, by a study whose features have no parts now.
    write_json(features / "cls.json", {"fingerprint": "a"})
    # Of a job that was killed before it wrote the record.
    (features / "parts" / "1-of-3" / "tokens.npy").touch()
    write_json(features / "tokens.json", {"parts": [{"fingerprint": "a"}, {"fingerprint": "b"}]})
    # Of an earlier pass, with other settings.
    write_json(features / "pooled.json", {"parts": [{"fingerprint": "c"}]})
    os.utime(features / "pooled.json", (1, 1))
    # A file manager's own, which must not end a finished study with an error.
    (features / "parts" / ".DS_Store").touch()
    remove_study_leftovers(tmp_path, [])
    left = sorted(path.relative_to(features).as_posix() for path in features.rglob("*") if path.is_file())
    of_parts = [f"parts/{name}" for name in (".DS_Store", *(f"0-of-3/{each}" for each in (".lock", "pooled.json")))]
    assert left == ["cls.json", *of_parts, "parts/0-of-3/pooled.npy", "pooled.json", "tokens.json"]
    # Of another division than that of 3: left by a pass before the array was joined, or of one that is not finished.
    for name, age in (("0-of-4", -100), ("1-of-4", 100), ("2-of-3", -100)):
        for kind in ("tokens", "pooled"):
            write_json(features / "parts" / name / f"{kind}.json", {"fingerprint": "d"})
            os.utime(features / "parts" / name / f"{kind}.json", (time.time() + age,) * 2)
    write_json(features / "tokens.json", {"parts": [{"fingerprint": each} for each in "abc"]})
    remove_study_leftovers(tmp_path, [])
    left = {str(path.relative_to(features / "parts")) for path in features.rglob("parts/*/tokens*")}
    assert left == {"1-of-4/tokens.json", "2-of-3/tokens.json"}
    for name in ("1-of-4", "2-of-3"):
        shutil.rmtree(features / "parts" / name)
    write_json(features / "pooled.json", {"parts": [{"fingerprint": "a"}]})
    remove_study_leftovers(tmp_path, [])
    assert [path.name for path in (features / "parts").iterdir()] == [".DS_Store"]


def test_an_empty_folder_that_cannot_be_deleted_stays():
    """Snakemake deletes the empty folders of jobs that failed, after the errors were shown."""
    dag, calls = DAG.__new__(DAG), []
    dag.cleanup_workdir = lambda: calls.append("called")
    let_empty_folders_stay(dag)
    dag.cleanup_workdir()
    assert calls == ["called"]

    def refuse():
        raise OSError(errno.EROFS, "Read-only file system")

    dag.cleanup_workdir = refuse
    let_empty_folders_stay(dag)
    dag.cleanup_workdir()
    require_parameters(DAG, "cleanup_workdir", ("self",))


def test_old_logs_of_jobs_and_old_folders_for_them_are_deleted_and_nothing_else(tmp_path, monkeypatch):
    """The plugin deletes whatever is called `*.log`, and empty folders of jobs that wait: SLURM cannot start these."""
    monkeypatch.setattr(plugin.Executor, "clean_old_logs", plugin.Executor.clean_old_logs)
    clean_own_logs()
    files = ("notes.log", "rule_a/1/7.log", "rule_a/2/8_1.log", "rule_a/2/own.log", "group_x/9.log", "other/10.log")
    folders = ("rule_a/waiting", "rule_b/old", "empty")
    paths = {name: tmp_path / name for name in (*files, *folders)}
    for name in files:
        paths[name].parent.mkdir(parents=True, exist_ok=True)
        paths[name].write_text("of a job that failed")
    for name in folders:
        paths[name].mkdir(parents=True, exist_ok=True)
    days = dict.fromkeys(files, 20) | {"group_x/9.log": 5, "rule_b/old": 100, "rule_b": 100, "empty": 100}
    for name, age in days.items():
        os.utime(tmp_path / name, (time.time() - age * 86_400,) * 2)
    settings = SimpleNamespace(delete_logfiles_older_than=10, keep_successful_logs=False)
    executor = SimpleNamespace(workflow=SimpleNamespace(executor_settings=settings), slurm_logdir=tmp_path)
    plugin.Executor.clean_old_logs(executor)
    gone = {name for name, path in paths.items() if not path.exists()}
    assert gone == {"rule_a/1/7.log", "rule_a/2/8_1.log", "rule_b/old"}
