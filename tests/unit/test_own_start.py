"""A job whose start is over changes nothing: neither before a run nor when it has results."""

import asyncio
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
from snakemake.exceptions import WorkflowError
from snakemake.jobs import Job

from execution.records.finished_runs import patch_deletion
from execution.records.own_start import KEY, know_start, require_own_settings, require_own_start, tell_jobs
from helpers.paths import SCRIPTS
from terralucas import files
from terralucas.errors import StudyError
from terralucas.files import atomic_path, check_before_each_result, write_text
from terralucas.study import head
from terralucas.study.head import NAME, this_process

OTHER = replace(this_process(), pid=5, machine="login2")


def mark(results, of):
    (results / NAME).write_text(json.dumps(asdict(of)))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Results of a study that this process runs; this process is also a job of it, which knows its start."""
    monkeypatch.setattr(head, "_NEWS_TAKE_S", 0.0)
    mark(tmp_path, this_process(("tmp.x",)))
    settings = SimpleNamespace(config_args=["earlier_jobs=report"])
    tell_jobs(settings, this_process(("tmp.x",)).start)
    given, told = settings.config_args
    assert given == "earlier_jobs=report"
    key, _, start = told.partition("=")
    assert key == KEY
    monkeypatch.setenv("TERRALUCAS_SUBMITTED_BY", "")
    know_start(start, tmp_path)
    return tmp_path


def replaced(results):
    mark(results, OTHER)


def ended(results):
    (results / NAME).unlink()


over = pytest.mark.parametrize(
    ("end", "found"), [(replaced, "found: process 5 on login2 runs the study now"), (ended, "found: no ")]
)


def test_a_job_goes_on_while_its_start_runs_and_after_that_was_killed(results):
    require_own_start()


@over
def test_a_job_ends_when_its_start_is_over(results, end, found):
    end(results)
    with pytest.raises(StudyError, match=rf"This job ends without a change to any result[\s\S]*{found}"):
        require_own_start()


def test_a_job_ends_whose_project_was_renamed_and_replaced_by_a_copy(tmp_path, monkeypatch):
    """Its relative paths lead to the renamed folder, which another start may run by now; the copy has the mark, too."""
    monkeypatch.setenv("TERRALUCAS_SUBMITTED_BY", "")
    project, results = tmp_path / "project", Path("results", "small")
    (project / results).mkdir(parents=True)
    monkeypatch.chdir(project)
    start = this_process()
    mark(results, start)
    know_start(start.start, results)
    project.rename(tmp_path / "renamed")
    shutil.copytree(tmp_path / "renamed", project)
    with pytest.raises(StudyError, match="the folder of its study was moved while it ran"):
        require_own_start()


@pytest.mark.parametrize("recorded", ["", "of the start"])
def test_a_job_ends_where_the_project_gives_it_other_settings(results, monkeypatch, recorded):
    """The mark of an earlier version of the project has none."""
    start = this_process(settings=recorded)
    mark(results, start)
    know_start(start.start, results)
    require_own_settings("of the start")
    if not recorded:
        require_own_settings("others")
        return
    with pytest.raises(StudyError, match="gives it other settings than the start of the study"):
        require_own_settings("others")
    monkeypatch.delenv("TERRALUCAS_SUBMITTED_BY")
    require_own_settings("of no job")


def test_news_of_a_shared_file_system_may_take_a_while(results, monkeypatch):
    monkeypatch.setattr(head, "_NEWS_TAKE_S", 60.0)
    mine = (results / NAME).read_text()
    ended(results)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: (results / NAME).write_text(mine))
    monkeypatch.setattr(head, "time", clock)
    require_own_start()


def test_what_is_no_job_of_another_machine_asks_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("TERRALUCAS_SUBMITTED_BY", raising=False)
    know_start(None, tmp_path)
    require_own_start()


def test_without_a_mark_jobs_are_told_nothing():
    settings = SimpleNamespace(config_args=None)
    tell_jobs(settings, None)
    assert settings.config_args is None


@over
def test_a_result_does_not_get_its_place_and_saved_progress_does(results, monkeypatch, end, found):
    monkeypatch.setattr(files, "_checks", [])
    check_before_each_result(require_own_start)
    result = results / "predictions.parquet"
    write_text(result, "of this start")
    end(results)
    with pytest.raises(StudyError, match="ends without a change"):
        write_text(result, "late")
    assert result.read_text() == "of this start"
    with atomic_path(results / "resume.ckpt", is_result=False) as path:
        path.write_text("late")
    assert sorted(path.name for path in results.iterdir() if path.name != NAME) == [
        "predictions.parquet",
        "resume.ckpt",
    ]


@over
def test_snakemake_in_a_job_does_not_delete_the_files_of_the_next_run(results, monkeypatch, end, found):
    deleted = []

    async def remove_existing_output(self):
        deleted.append(self)

    monkeypatch.setattr(Job, "remove_existing_output", remove_existing_output)
    monkeypatch.setattr(Job, "register", Job.register)
    monkeypatch.setattr(Job, "postprocess", Job.postprocess)
    patch_deletion()
    persistence = SimpleNamespace(metadata=lambda path: None, _clear_cache=lambda: None)
    job = SimpleNamespace(
        rule=SimpleNamespace(name="train_run"),
        output=[str(results / "predictions.parquet")],
        dag=SimpleNamespace(workflow=SimpleNamespace(persistence=persistence, is_main_process=False)),
    )
    asyncio.run(Job.remove_existing_output(job))
    end(results)
    with pytest.raises(WorkflowError, match="ends without a change"):
        asyncio.run(Job.remove_existing_output(job))
    assert deleted == [job]


def test_a_script_of_a_job_does_not_overwrite_the_log_of_another_start(results, tmp_path):
    log = tmp_path / "rule.log"
    log.write_text("of another start")
    replaced(results)
    # It has not the shorter time of these tests; the mark is old news before it begins.
    script = f"""
import types
from terralucas.study import head
head._NEWS_TAKE_S = 0.0
from execution.jobs.job import job
with job(types.SimpleNamespace(rule="train_run", log=[{str(log)!r}], input=[], output=[])):
    print("it ran")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, log.read_text()) == (1, "", "of another start")
    assert done.stderr.startswith("ERROR: This job ends without a change to any result")


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_job_that_fails_deletes_no_result_of_another_start(results, is_replaced):
    """The other start has finished the same result while this job worked."""
    script = """
import sys, types
from pathlib import Path
from terralucas.files import write_text
from terralucas.study import head
head._NEWS_TAKE_S = 0.0
from execution.jobs.job import job
output = sys.argv[1]
with job(types.SimpleNamespace(rule="make_tables", log=["rule.log"], input=[], output=[output])):
    print("ready", flush=True)
    sys.stdin.readline()
    write_text(Path(output), "of this job")
    raise RuntimeError
"""
    table = results / "summary.csv"
    done = subprocess.Popen(
        [sys.executable, "-c", script, table], env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, cwd=results,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert done.stdout.readline() == "ready\n"
    table.write_text("of another start")
    if is_replaced:
        replaced(results)
    done.communicate("go on\n", timeout=60)
    assert done.returncode == 1
    assert table.exists() == is_replaced
    if is_replaced:
        assert table.read_text() == "of another start"


def test_saved_progress_is_no_result():
    """A job that another start cancels saves its progress after that start has taken its place."""
    source = Path(SCRIPTS, "terralucas", "training", "resume.py").read_text(encoding="utf-8")
    assert "atomic_path(self.path, is_result=False)" in source
