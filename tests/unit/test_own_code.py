"""No job makes a result with other code than that for which the start of the study records it."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

import _own_code
from _own_code import OwnCode, know_loaded_code, start_again_if_unsure, times_of_files
from _stop import StopAtChangedCode
from helpers.paths import SCRIPTS
from terralucas import codebase
from terralucas.codebase import Fingerprints
from terralucas.errors import StudyError
from terralucas.study.head import NAME, this_process


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """The scripts of a project; `train_run` and `audit_treatment` share `shared.py`. Returns an editor of files."""
    folder = tmp_path / "scripts"
    (folder / "terralucas" / "assets").mkdir(parents=True)

    def write(name, text):
        (folder / name).write_text(text)

    for rule in ("train_run", "audit_treatment"):
        write(f"{rule}.py", f"from terralucas import shared\nRULE = '{rule}'\n")
    write("terralucas/__init__.py", "")
    write("terralucas/shared.py", "X = 1\n")
    monkeypatch.setattr(codebase, "SCRIPTS", folder)
    monkeypatch.setattr(codebase, "PACKAGE", folder / "terralucas")
    monkeypatch.setattr(_own_code, "SCRIPTS", folder)
    monkeypatch.setattr(_own_code, "_loaded", None)
    monkeypatch.chdir(tmp_path)
    return write


def recorded():
    """What a start records now."""
    fingerprints = Fingerprints(codebase.KEPT)
    train, audit = (_own_code.SCRIPTS / f"{name}.py" for name in ("train_run", "audit_treatment"))
    return {"train_run": fingerprints.of(train), "audit_treatment train_run": fingerprints.of(audit, train)}


def test_an_edit_after_the_start_stops_a_job_and_its_undoing_does_not(scripts):
    code = OwnCode("train_run", recorded())
    code.require()
    scripts("terralucas/shared.py", "X = 22\n")
    with pytest.raises(StudyError, match=r"code of train_run was changed[\s\S]*found[\s\S]*start the study again"):
        code.require()
    scripts("terralucas/shared.py", "X = 1\n")
    code.require()


@pytest.mark.parametrize("text", ["X = 1  # a comment\n", '"""About."""\nX = 1\n'])
def test_an_edit_that_changes_nothing_stops_nothing(scripts, text):
    code = OwnCode("train_run", recorded())
    scripts("terralucas/shared.py", text)
    code.require()


def test_a_job_is_compared_by_what_its_rule_is_compared_by(scripts):
    code = recorded()
    scripts("audit_treatment.py", "from terralucas import shared\nRULE = 'another'\n")
    OwnCode("audit_treatment", code).require()
    scripts("terralucas/shared.py", "X = 22\n")
    with pytest.raises(StudyError, match="code of audit_treatment"):
        OwnCode("audit_treatment", code).require()
    OwnCode("power", code).require()


@pytest.mark.parametrize("text", ["X = (\n", None])
def test_a_file_that_is_just_written_or_deleted_is_other_code(scripts, text):
    code = OwnCode("train_run", recorded())
    if text is None:
        (_own_code.SCRIPTS / "terralucas" / "shared.py").unlink()
    else:
        scripts("terralucas/shared.py", text)
    with pytest.raises(StudyError, match="was changed"):
        code.require()


def test_files_are_read_again_only_where_one_was_written(scripts, monkeypatch):
    code = OwnCode("train_run", recorded())
    code.require()
    monkeypatch.setattr(codebase, "_hash_all_files", lambda: pytest.fail("read again"))
    code.require()


@pytest.fixture
def start(scripts, tmp_path, monkeypatch):
    """The mark of a start, which this process, a job's, knows."""
    head = this_process(code=recorded())
    (tmp_path / NAME).write_text(json.dumps(asdict(head)))
    monkeypatch.setenv("TERRALUCAS_SUBMITTED_BY", f"{head.start} {tmp_path}")
    return head


def test_a_job_forked_from_a_server_that_imported_other_code_ends_though_the_edit_was_undone(scripts, start):
    scripts("terralucas/shared.py", "X = 22\n")
    assert know_loaded_code(times_of_files())
    scripts("terralucas/shared.py", "X = 1\n")
    with pytest.raises(StudyError, match="was changed"):
        OwnCode("train_run", start.code).require()


def test_a_server_that_imported_while_a_file_was_written_does_not_know_its_code(scripts, start):
    before = times_of_files()
    scripts("terralucas/shared.py", "X = 1  # longer\n")
    assert not know_loaded_code(before)
    OwnCode("train_run", start.code).require()


def test_a_file_that_was_away_for_a_moment_is_noticed_though_it_has_its_old_times(scripts, start):
    """As after `mv` or `cp -p`."""
    before, path = times_of_files(), codebase.PACKAGE / "shared.py"
    away = path.rename(path.with_suffix(".orig"))
    scripts("terralucas/shared.py", "X = 22\n")
    away.rename(path)
    assert path.read_text() == "X = 1\n"
    assert not know_loaded_code(before)


def test_a_server_does_not_know_code_that_is_no_python(scripts, start):
    scripts("terralucas/shared.py", "<<<<<<< HEAD\n")
    assert not know_loaded_code(times_of_files())


def test_what_editors_leave_beside_a_file_is_no_code(scripts, start):
    before = times_of_files()
    for name in (".shared.py.swp", "4913", "shared.py.orig", "shared.py~"):
        scripts(f"terralucas/{name}", "X = 22\n")
    assert times_of_files() == before
    assert know_loaded_code(before)
    OwnCode("train_run", start.code).require()


def test_a_server_that_imported_the_code_of_the_start_runs_jobs(scripts, start):
    assert know_loaded_code(times_of_files())
    OwnCode("train_run", start.code).require()


def test_a_script_that_imported_while_files_were_written_starts_again_a_few_times(scripts, start, monkeypatch):
    started = []
    monkeypatch.setattr(_own_code.os, "execve", lambda program, arguments, environment: started.append(environment))
    monkeypatch.setattr(_own_code, "_AT_IMPORT", times_of_files())
    start_again_if_unsure()
    assert started == []
    (codebase.PACKAGE / "shared.py").touch()
    start_again_if_unsure()
    assert [each["TERRALUCAS_RESTARTS"] for each in started] == ["1"]
    monkeypatch.setenv("TERRALUCAS_RESTARTS", "5")
    start_again_if_unsure()
    assert len(started) == 1


JOB = """
import types
from pathlib import Path
from _job import job
from terralucas.files import write_text
with job(types.SimpleNamespace(rule="train_run", log=["rule.log"])):
    print("began")
    {before}
    write_text(Path("result"), "new")
    {after}
"""
# Other recorded code stands for an edit after it; the real code of the project is not edited.
EDIT = "import _own_code, _job; _own_code._loaded = {}"


@pytest.mark.parametrize(
    ("recorded_code", "before", "after", "began", "status", "result"),
    [
        ("same", "", "", True, 0, "new"),
        ("other", "", "", False, 1, "old"),
        ("same", EDIT, "", True, 1, "old"),
        # A result that was kept before is deleted by Snakemake, because the job fails.
        ("same", "", EDIT, True, 1, "new"),
    ],
)
def test_a_script_of_other_code_keeps_no_result(tmp_path, recorded_code, before, after, began, status, result):
    code = Fingerprints(tmp_path / codebase.KEPT).of(SCRIPTS / "train_run.py") if recorded_code == "same" else "other"
    head = this_process(code={"train_run": code})
    (tmp_path / NAME).write_text(json.dumps(asdict(head)))
    (tmp_path / "result").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", JOB.format(before=before, after=after)], cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS), "TERRALUCAS_SUBMITTED_BY": f"{head.start} {tmp_path}"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, "began" in done.stdout) == (status, began), done.stderr
    assert (tmp_path / "result").read_text() == result
    assert ("ERROR: The code of train_run was changed" in done.stderr) == (status == 1)


@pytest.mark.parametrize(("is_edited", "attempts"), [(True, 0), (False, 2)])
def test_a_job_of_other_code_is_not_tried_again(scripts, is_edited, attempts):
    scheduler, rule = SimpleNamespace(keepgoing=True), SimpleNamespace(restart_times=2)
    logger = logging.Logger("snakemake")
    logger.addHandler(StopAtChangedCode(scheduler, [rule], recorded(), logger))
    if is_edited:
        scripts("terralucas/shared.py", "X = 22\n")
    for _ in range(2):
        logger.error("Error", extra={"event": LogEvent.JOB_ERROR, "rule_name": "train_run"})
    assert (rule.restart_times, scheduler.keepgoing) == (attempts, not is_edited)
