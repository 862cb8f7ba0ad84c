"""No job makes a result with other code than that for which the start of the study records it."""

import importlib.util
import json
import logging
import os
import py_compile
import subprocess
import sys
import types
from dataclasses import asdict
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from execution.end.stop import StopAtChangedCode
from execution.records import executed_code as _executed_code
from execution.records import own_code as _own_code
from execution.records.own_code import OwnCode, other_than_on_disk, start_again_if_other
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
    monkeypatch.setattr(_executed_code, "_SCRIPTS", folder)
    # Modules that the tests themselves have imported are no matter of theirs.
    monkeypatch.setattr(_own_code, "executed", executed := {})
    monkeypatch.setattr(_executed_code, "executed", executed)
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


def run_module(name):
    """Import a module as a job does."""
    path = _own_code.SCRIPTS / name
    finder = _executed_code._find_modules_in(str(path.parent))
    module = importlib.util.module_from_spec(finder.find_spec(path.stem))
    module.__spec__.loader.exec_module(module)
    return module


@pytest.mark.parametrize("is_of_start", [True, False])
def test_code_that_was_edited_while_it_was_imported_makes_no_result_though_the_edit_was_undone(scripts, is_of_start):
    code = OwnCode("train_run", recorded())
    if not is_of_start:
        scripts("terralucas/shared.py", "X = 2\n")
    module = run_module("terralucas/shared.py")
    assert is_of_start == (module.X == 1)
    scripts("terralucas/shared.py", "X = 1\n")
    if is_of_start:
        code.require()
    else:
        with pytest.raises(StudyError, match="was changed"):
            code.require()


def test_a_module_that_is_imported_late_is_compared_too(scripts):
    code = OwnCode("train_run", recorded())
    code.require()
    scripts("terralucas/shared.py", "X = 2\n")
    run_module("terralucas/shared.py")
    scripts("terralucas/shared.py", "X = 1\n")
    with pytest.raises(StudyError, match="was changed"):
        code.require()


def test_edited_code_is_noticed_though_its_file_has_its_old_times_and_size(scripts):
    """As after `mv`, `cp -p` or `rsync -t`; the bytecode in `__pycache__` is then that of the edit for Python."""
    code, path = recorded(), codebase.PACKAGE / "shared.py"
    status = path.stat()
    scripts("terralucas/shared.py", "X = 2\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    py_compile.compile(str(path))
    scripts("terralucas/shared.py", "X = 1\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run_module("terralucas/shared.py").X == 1, "a stale file of __pycache__ is run"
    OwnCode("train_run", code).require()


@pytest.mark.parametrize("text", ["X = 1\n", "X = 1  # a comment\n", '"""About."""\nX = 1\n'])
def test_a_file_that_is_saved_while_it_is_imported_stops_nothing(scripts, text):
    code = OwnCode("train_run", recorded())
    run_module("terralucas/shared.py")
    scripts("terralucas/shared.py", text)
    for name in (".shared.py.swp", "4913", "shared.py.orig", "shared.py~"):
        scripts(f"terralucas/{name}", "X = 22\n")
    assert other_than_on_disk() == set()
    code.require()


def test_other_code_of_other_rules_stops_nothing(scripts):
    code = recorded()
    scripts("terralucas/unused.py", "X = 2\n")
    run_module("terralucas/unused.py")
    _own_code.executed[_own_code.SCRIPTS / "train_run.py"] = b"RULE = 'edited'"
    (codebase.PACKAGE / "unused.py").unlink()
    # Only what it shares with train_run counts.
    OwnCode("audit_treatment", code).require()
    with pytest.raises(StudyError, match="code of train_run"):
        OwnCode("train_run", code).require()


def test_the_script_of_a_rule_is_what_snakemake_has_read(scripts, tmp_path, monkeypatch):
    """Snakemake's preamble names the file that it has written, and the file of the rule."""
    code = OwnCode("train_run", recorded())
    text = "######## snakemake preamble start (automatically inserted, do not edit) ########\nx = 1\n"
    text += "######## snakemake preamble end #########\n"
    original = _own_code.SCRIPTS / "train_run.py"
    (tmp_path / "written.py").write_text(text + original.read_text())
    main = types.ModuleType("__main__")
    main.__file__, main.__real_file__ = str(original), str(tmp_path / "written.py")
    monkeypatch.setitem(sys.modules, "__main__", main)
    _own_code.remember_script()
    code.require()
    (tmp_path / "written.py").write_text(text + "RULE = 'edited'\n")
    _own_code.remember_script()
    with pytest.raises(StudyError, match="was changed"):
        OwnCode("train_run", recorded()).require()


def test_a_script_that_imported_other_code_than_is_there_starts_again_a_few_times(scripts, monkeypatch):
    started = []
    monkeypatch.setattr(_own_code.os, "execve", lambda program, arguments, environment: started.append(environment))
    run_module("terralucas/shared.py")
    (codebase.PACKAGE / "shared.py").touch()
    start_again_if_other()
    assert started == []
    scripts("terralucas/shared.py", "X = 2\n")
    start_again_if_other()
    assert [each["TERRALUCAS_RESTARTS"] for each in started] == ["1"]
    monkeypatch.setenv("TERRALUCAS_RESTARTS", "5")
    start_again_if_other()
    assert len(started) == 1


JOB = """
import types
from pathlib import Path
from execution.jobs.job import job
from terralucas.files import write_text
with job(types.SimpleNamespace(rule="train_run", log=["rule.log"], input=[], output=[])):
    print("began")
    {before}
    write_text(Path("result"), "new")
    {after}
"""
# Another source that was run stands for an edit that was undone; the real code of the project is not edited.
EDIT = (
    "from execution.records import executed_code as e; "
    "e.executed[e._SCRIPTS / 'terralucas/training/losses.py'] = b'EDITED = 1'"
)


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


@pytest.mark.parametrize(
    ("edited", "attempts", "said"),
    [("code", 0, "code of train_run"), ("defaults", 0, "defaults"), ("folder", 0, "was moved or is gone"), ("", 2, "")],
)
def test_a_job_of_other_code_or_defaults_is_not_tried_again(scripts, tmp_path, caplog, edited, attempts, said):
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    (schemas / "config.schema.yaml").write_text("default: 1")
    scheduler, rule = SimpleNamespace(keepgoing=True), SimpleNamespace(restart_times=2)
    logger = logging.Logger("snakemake")
    logger.addHandler(caplog.handler)
    logger.addHandler(StopAtChangedCode(scheduler, [rule], recorded(), schemas, logger))
    if edited == "defaults":
        (schemas / "config.schema.yaml").write_text("default: 2")
    if edited == "code":
        scripts("terralucas/shared.py", "X = 22\n")
    if edited == "folder":
        schemas.rename(schemas.with_name("moved"))
    for _ in range(2):
        logger.error("Error", extra={"event": LogEvent.JOB_ERROR, "rule_name": "train_run"})
    assert (rule.restart_times, scheduler.keepgoing) == (attempts, not edited)
    stops = [each for each in caplog.messages if each.startswith("No more jobs are started")]
    assert len(stops) == bool(edited)
    assert all(said in each for each in stops)
