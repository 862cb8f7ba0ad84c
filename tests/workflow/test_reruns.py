"""What makes a finished study run again, by dry runs: edits (docs/architecture.md has a table), files, names."""

import ast
import json
import os
import random
import re
import shutil
import threading
import time
from contextlib import contextmanager

import pytest
import yaml

from helpers.project import Project, results
from helpers.shared_study import copy_study
from helpers.tiny_study import TINY
from terralucas.study.validation import resolve

pytestmark = pytest.mark.workflow

CORE = "workflow/scripts/terralucas"
PAGE = {"build_report"}
TABLES = {"make_tables", "make_evidence", "make_gallery", "draw_figures", "build_report"}
RUNS = {"train_run", *TABLES}
AUDITS = {"audit_treatment"}
ADDED = "ADDED = True\n"


@contextmanager
def edited(study, file, before, after):
    """Change the project's copy; `before` must be there, so that the edit is one."""
    path = study.folder / CORE / file
    text = path.read_text(encoding="utf-8")
    assert before in text, f"{file} has no {before!r}"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def planned(study):
    return set(study.planned("--configfile", "config/small.yaml"))


@pytest.mark.parametrize(
    "file, before, after, rules",
    [
        pytest.param(
            "report/sections/leakage.py", "of the test chips share", "of test chips share", PAGE, id="sentence"
        ),
        pytest.param("report/templates/page.css", "}", "}\n", PAGE, id="style sheet"),
        pytest.param(
            "report/figures/style.py", '"font.size": 10', '"font.size": 11', {"draw_figures", *PAGE}, id="figure"
        ),
        pytest.param(
            "tables/scores.py",
            "CLASS_SCORES = {",
            'SCORES["half"] = Score(True, "Half", lambda sums: formulas.macro_accuracy(sums) / 2)\nCLASS_SCORES = {',
            TABLES,
            id="new score",
        ),
        pytest.param("training/losses.py", "**gamma", "**(gamma + 1)", RUNS | AUDITS, id="loss formula"),
        pytest.param("statistics/intervals.py", '"""', ADDED, TABLES, id="interval"),
        pytest.param("training/frozen_loop.py", '"""', ADDED, RUNS, id="loop on features"),
        pytest.param("audit/treatments.py", '"""', ADDED, set(), id="audit"),
        pytest.param("training/tuned_loop.py", "_EVALUATION_BATCH = 32", "_EVALUATION_BATCH = 16", set(), id="tuned"),
        pytest.param("data/splits.py", '"""', ADDED, {"split_chips", *RUNS}, id="splits"),
        pytest.param("data/retrieval/retrieve.py", '"""', ADDED, None, id="simulated chips"),
    ],
)
def test_an_edit_reruns_what_it_changes(study, file, before, after, rules):
    if before == '"""':
        text = (study.folder / CORE / file).read_text(encoding="utf-8")
        before = re.search(r"^from __future__ import annotations\n", text, re.MULTILINE).group()
        after = before + after
    with edited(study, file, before, after):
        found = planned(study)
    if rules is None:
        assert "retrieve_chips" in found
    else:
        assert found == rules


def changed_everywhere(study, change, files):
    """Change the files of the project's copy, plan, and put them back."""
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    for path, text in texts.items():
        path.write_text(change(text), encoding="utf-8")
    try:
        return planned(study)
    finally:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")


def test_docstrings_and_comments_rerun_nothing(study):
    files = sorted((study.folder / "workflow" / "scripts").rglob("*.py"))
    assert len(files) > 100

    def other_words(text):
        lines = text.splitlines(keepends=True)
        for node in ast.walk(ast.parse(text)):
            is_documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
            if is_documented:
                first = node.body[0].lineno - 1
                lines[first] = lines[first].replace('"""', '"""Other words. ', 1)
        return "".join(lines) + "\n# a comment\n"

    assert changed_everywhere(study, other_words, files) == set()


def test_messages_of_chip_discovery_rerun_nothing(study):
    """A user who takes a better message into a study is to pay no GPU pass for it."""
    message = r'((?:StudyError|Problem|ChipError|Reason)\((?:[^()"]*"\w+",)?\s*f?")([^"]* [^"]*")'
    files = [
        study.folder / CORE / "data" / name
        for name in ("discovery/discover.py", "indexing/index.py", "chips/chip_files.py")
    ]
    assert sum(len(re.findall(message, path.read_text(encoding="utf-8"))) for path in files) > 10
    assert changed_everywhere(study, lambda text: re.sub(message, r"\1in other words: \2", text), files) == set()


def test_times_of_results_rerun_nothing(study):
    """A copy to another disk without times, in any order."""
    files = [path for path in results(study).rglob("*") if path.is_file()]
    times = {path: path.stat().st_mtime_ns for path in files}
    shuffled = random.Random(1)
    for path in files:
        moment = time.time() - shuffled.uniform(0, 1e5)
        os.utime(path, (moment, moment))
    try:
        assert planned(study) == set()
        (results(study) / "features/tiny/all/pooled.npy").touch()
        assert planned(study) == set()
    finally:
        for path, moment in times.items():
            os.utime(path, ns=(moment, moment))


def test_a_configuration_written_in_another_way_reruns_nothing(study):
    """Keys in reverse order, all defaults written out, and whole numbers without decimals."""
    named = ("backbones", "losses", "decoders")  # the page shows them in the order of the user

    def written(value, name=""):
        if isinstance(value, dict):
            items = value.items() if name in named else reversed(value.items())
            return {key: written(item, key) for key, item in items}
        if isinstance(value, list):
            return [written(item) for item in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    text = yaml.safe_dump(written(resolve(TINY)), sort_keys=False, allow_unicode=True)
    (study.folder / "config" / "written.yaml").write_text(text, encoding="utf-8")
    assert study.planned("--configfile", "config/written.yaml") == {}


def test_a_corrected_class_name_reruns_tables_figures_and_report(study):
    classes = [entry | {"name": f"{{0}} Corrected {entry['code']}"} for entry in TINY["dataset"]["classes"]]
    config = study.write_config(TINY | {"dataset": TINY["dataset"] | {"classes": classes}}, "corrected")
    assert set(study.planned("--configfile", config)) == TABLES


def test_a_report_of_what_is_there_refuses_runs_of_another_configuration(study):
    overlay = ("--config", "report={unfinished_runs: name}", "training={epochs: 4}")
    for start in ("-n", "--cores=1"):
        done = study.snakemake(start, "--configfile", "config/small.yaml", *overlay, check=False)
        assert done.returncode != 0
        assert "2 run(s) of another configuration" in done.output
        assert "tiny/weighted_ce/identity/seed-0, tiny/weighted_ce/identity/seed-1" in done.output
    assert planned(study) == set()


def test_touch_is_refused_where_results_are_of_other_settings(study):
    overlay = ("--configfile", "config/small.yaml", "--config", "training={epochs: 4}")
    done = study.snakemake("--cores", 1, "--touch", *overlay, check=False)
    assert done.returncode != 0
    assert "With --touch, results would count as those of another configuration" in done.output
    assert "results/small/runs/tiny/weighted_ce/identity/seed-0" in done.output
    assert planned(study) == set()


def test_results_without_snakemakes_records_are_refused_with_other_settings_and_kept_with_these(study, tmp_path):
    moved = Project(tmp_path)
    for part in ("results", "resources"):
        shutil.copytree(study.folder / part, moved.folder / part)
    moved.write_config(TINY)
    overlay = ("--configfile", "config/small.yaml", "--config", "training={epochs: 4}")
    for start in ("-n", "--cores=1"):
        done = moved.snakemake(start, *overlay, check=False)
        assert done.returncode != 0
        assert "Finished runs have other settings, code or data than the study has now" in done.output
        assert "results/small/runs/tiny/weighted_ce/identity/seed-0" in done.output
    turned = TINY | {"dataset": TINY["dataset"] | {"classes": TINY["dataset"]["classes"][::-1]}}
    for start in ("-n", "--cores=1"):
        done = moved.snakemake(start, "--configfile", moved.write_config(turned, "turned"), check=False)
        assert done.returncode != 0
        assert "Results do not fit the present configuration, code or data" in done.output
        assert "results/small/data/chips.parquet" in done.output
    for overlay, rule in (("normalisation=train", "train_run"), ("select={rule: best}", "build_report")):
        done = moved.snakemake("-n", "--configfile", "config/small.yaml", "--config", overlay, check=False)
        assert rule in re.search(r"the option --forcerun (.*) \(at the end", done.output)[1].split()
    with_controls = TINY | {"report": TINY.get("report", {}) | {"controls": True}}
    done = moved.snakemake("-n", "--configfile", moved.write_config(with_controls, "controls"), check=False)
    assert re.search(r"made with other parameters or inputs: .*results/small/tables/runs.csv", done.output)
    assert moved.planned("--configfile", "config/small.yaml") == {}
    # Snakemake does not make a file again that is gone where what follows from it is there.
    (moved.folder / "results/small/data/chips.parquet").unlink()
    turned = ("--configfile", "config/turned.yaml")
    output = moved.snakemake("-n", *turned, check=False).output
    assert "made with other parameters or inputs: " in output
    advice = re.search(r"the option (--forcerun .*) \(at the end", output)
    assert {"index_chips", "split_chips", "train_run", "make_tables"} <= set(moved.planned(*turned, *advice[1].split()))


def test_a_study_that_got_another_name_is_compared_by_what_it_was_made_with(study, tmp_path):
    """As after `mv` or `cp -a` of the folder of results; Snakemake's records are of the other name."""
    moved = Project(tmp_path)
    shutil.copytree(study.folder / "results" / "small", moved.folder / "results" / "renamed")
    shutil.copytree(study.folder / "resources", moved.folder / "resources")
    for changes, made_again in (
        ({}, {"build_report"}),
        ({"split": {"folds": 2, "random_state": 7}}, {"split_chips", "make_tables", "build_report"}),
    ):
        config = moved.write_config(TINY | {"study": "renamed"} | changes, "renamed")
        output = moved.snakemake("-n", "--configfile", config, check=False).output
        assert "Results do not fit the present configuration, code or data" in output
        advice = re.search(r"the option --forcerun (.*) \(at the end", output)
        # The page has the name of the study.
        assert set(advice[1].split()) == made_again


@pytest.mark.parametrize("with_records", [True, False])
def test_a_step_that_was_made_again_alone_is_noticed_after_a_touch_of_all_files(study, tmp_path, with_records):
    moved = Project(tmp_path)
    for part in ("results", "resources", *([".snakemake"] if with_records else [])):
        shutil.copytree(study.folder / part, moved.folder / part)
    start = ("--configfile", moved.write_config(TINY))
    weights = results(moved) / "weights" / "tiny.json"
    before = weights.read_text(encoding="utf-8")
    weights.write_text(before.replace('"seed": 0', '"seed": 5'), encoding="utf-8")
    assert weights.read_text(encoding="utf-8") != before
    now = time.time()
    for path in moved.folder.glob("re*/**/*"):
        os.utime(path, (now, now))
    output = moved.snakemake("-n", *start, check=False).output
    assert "found: changed since the results were made: results/small/weights/tiny.json" in output
    advice = re.search(r"the option (--forcerun .*) \(at the end", output)
    assert {"extract_features", "train_run", "make_tables"} <= set(moved.planned(*start, *advice[1].split()))
    weights.write_text(before, encoding="utf-8")
    os.utime(weights, (now, now))
    assert moved.planned(*start) == {}


def test_runs_of_other_features_that_were_copied_here_are_refused(study, tmp_path):
    """As where all runs of a backbone are those of a study with other weights and the same settings."""
    moved = Project(tmp_path)
    for part in ("results", "resources", ".snakemake"):
        shutil.copytree(study.folder / part, moved.folder / part)
    start = ("--configfile", moved.write_config(TINY))
    checksum = json.loads((results(moved) / "features/tiny/all/pooled.json").read_text("utf-8"))["sha256"]
    for path in results(moved).rglob("run.yaml"):
        record = path.read_text(encoding="utf-8")
        assert checksum in record
        path.write_text(record.replace(checksum, "0" * 64), encoding="utf-8")
    for option in ("-n", "--cores=1"):
        output = moved.snakemake(option, *start, check=False).output
        assert "Finished runs have other settings, code or data than the study has now" in output
        assert "found: 2 run(s), as their run.yaml says: results/small/runs/tiny/weighted_ce/identity/seed-0" in output
    shutil.rmtree(results(moved) / "runs")
    assert set(moved.planned(*start)) == RUNS


def test_runs_and_features_outlive_a_device_that_is_not_there(study, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # on a machine that has a GPU
    overlay = ("--configfile", "config/small.yaml", "--config", "features={device: cuda}", "training={device: cuda}")
    before = {path: path.stat() for path in sorted((study.folder / "results/small/runs").rglob("*.*"))}
    for each in (overlay, overlay[:3] + overlay[4:]):
        # Snakemake tries again what failed.
        done = study.snakemake("--cores", 1, "--retries", 1, *each, check=False)
        assert done.returncode != 0
        assert "Traceback" not in done.output
        assert "asks for a GPU and this machine shows none" in done.output
        assert planned(study) == set()
    kept = {path: path.stat() for path in before}
    assert {path: (state.st_ino, state.st_mtime_ns) for path, state in kept.items()} == {
        path: (state.st_ino, state.st_mtime_ns) for path, state in before.items()
    }


def test_chips_that_are_retrieved_again_and_are_the_same_repeat_neither_passes_nor_runs(study):
    made = [
        *study.folder.glob("results/small/features/*/*/*.*"),
        *study.folder.glob("results/small/runs/**/model.ckpt"),
    ]
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in made}
    assert any(path.suffix == ".npy" for path in made)
    done = study.snakemake("--cores", 1, "--configfile", "config/small.yaml", "--forcerun", "retrieve_chips")
    assert "Retrieving the chips" in done.output
    assert "are there, of the same chips, weights, settings and code; they are kept" in done.output
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in made} == before
    assert planned(study) == set()


def test_with_directory_the_end_of_a_start_looks_at_the_study_and_not_where_it_was_started(study, tmp_path):
    """Snakemake goes back to the folder in which it was started before Python ends."""
    clone, elsewhere = Project(tmp_path / "clone"), tmp_path / "elsewhere"
    for name in ("results", "resources", ".snakemake"):
        if (study.folder / name).exists():
            shutil.copytree(study.folder / name, elsewhere / name, symlinks=True)
    # Where it is started, a study of the same name has a run of other settings.
    record = next((elsewhere / "results" / "small" / "runs").rglob("run.yaml"))
    other = clone.folder / record.relative_to(elsewhere)
    other.parent.mkdir(parents=True)
    other.write_text(record.read_text(encoding="utf-8").replace("seed: ", "seed: 9"), encoding="utf-8")
    arguments = ("--directory", elsewhere, "--configfile", study.folder / "config" / "small.yaml")
    shown = clone.snakemake("-n", *arguments).output
    assert "Nothing to be done" in shown
    assert re.search(r"report +there", shown)
    assert "Nothing to be done" in clone.snakemake("--cores", 1, *arguments).output
    figures = ("--until", "draw_figures", "--forcerun", "draw_figures")
    assert "The report is at" not in clone.snakemake("--cores", 1, *arguments, *figures).output, "an older one is"
    (elsewhere / "results" / "small" / "report.html").unlink()
    assert re.search(r"report +not there", clone.snakemake("-n", *arguments).output)
    assert "The report is at" in clone.snakemake("--cores", 1, *arguments).output
    assert not list((elsewhere / "results" / "small").glob(".running*"))
    refused = clone.snakemake("-n", *arguments, "--config", "dataset={pixel_size_m: 999}", check=False)
    assert refused.returncode == 1
    assert f"paths: relative to {elsewhere}" in refused.output


def test_results_of_a_job_whose_inputs_are_replaced_while_it_runs_are_made_again(study, tmp_path):
    project = copy_study(study, tmp_path / "project")
    page, table = results(project) / "report.html", results(project) / "tables" / "summary.csv"
    page.unlink()
    is_over = threading.Event()

    def replace():
        while not is_over.wait(0.1):
            table.touch()

    start = ("--cores", 2, "--configfile", "config/small.yaml", "--", "results/small/report.html")
    thread = threading.Thread(target=replace)
    thread.start()
    try:
        refused = project.snakemake(*start, check=False)
    finally:
        is_over.set()
        thread.join()
    assert refused.returncode != 0
    assert "Files that this job reads were replaced while it ran" in refused.output
    assert not page.exists()
    project.snakemake(*start)
    assert page.exists()
