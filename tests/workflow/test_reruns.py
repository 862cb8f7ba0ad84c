"""What makes a finished study run again, by dry runs: edits (docs/architecture.md has a table), files, names."""

import ast
import hashlib
import json
import os
import random
import re
import shutil
import tarfile
import time
from contextlib import contextmanager

import pytest
import rasterio
import torch
import yaml

from helpers.project import Project, results
from helpers.tiny_study import TINY
from terralucas.data.index_file import read_index
from terralucas.data.simulation import write_archive
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
        pytest.param("data/retrieval.py", '"""', ADDED, None, id="simulated chips"),
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
    files = [study.folder / CORE / "data" / name for name in ("discovery.py", "index.py", "chip_files.py")]
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
        assert "Results were made with another configuration, other code or other data" in done.output
        assert "results/small/data/chips.parquet" in done.output
    for overlay, rule in (("normalisation=train", "train_run"), ("select={rule: best}", "build_report")):
        done = moved.snakemake("-n", "--configfile", "config/small.yaml", "--config", overlay, check=False)
        assert rule in re.search(r"the option --forcerun (.*) \(at the end", done.output)[1].split()
    with_controls = TINY | {"report": TINY.get("report", {}) | {"controls": True}}
    done = moved.snakemake("-n", "--configfile", moved.write_config(with_controls, "controls"), check=False)
    assert "results/small/tables/runs.csv, of other parameters or inputs" in done.output
    assert moved.planned("--configfile", "config/small.yaml") == {}
    # Snakemake does not make a file again that is gone where what follows from it is there.
    (moved.folder / "results/small/data/chips.parquet").unlink()
    turned = ("--configfile", "config/turned.yaml")
    output = moved.snakemake("-n", *turned, check=False).output
    assert "of other parameters or inputs" in output
    advice = re.search(r"the option (--forcerun .*) \(at the end", output)
    assert {"index_chips", "split_chips", "train_run", "make_tables"} <= set(moved.planned(*turned, *advice[1].split()))


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
    assert "found: results/small/features/tiny/all/pooled.npy, of other parameters or inputs" in output
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


CHIPS = {"retrieve_chips", "index_chips", "split_chips"}


@pytest.fixture(scope="module")
def folder_study(project, tmp_path_factory):
    """A study on a folder of chips, up to its splits: a function that plans it, the folder, one that makes a file."""
    temporary = tmp_path_factory.mktemp("source")
    write_archive(temporary / "chips.tar.gz", chips=400, size_px=32, seed=1)
    chips = temporary / "{x} chips"
    with tarfile.open(temporary / "chips.tar.gz") as archive:
        archive.extractall(chips, filter="data")
    source = {"type": "directory", "path": str(chips)}
    config = project.write_config(
        TINY | {"study": "folder", "dataset": TINY["dataset"] | {"sources": [source]}}, "folder"
    )
    target = "results/folder/splits/seed-0.csv"

    def plan():
        return set(project.planned("--configfile", config, "--", target))

    def make(path):
        project.snakemake("--cores", 1, "--configfile", config, "--", path)

    make(target)
    return plan, chips, make


def test_times_of_chips_files_nobody_reads_and_a_folder_that_is_away_rerun_nothing(folder_study):
    plan, chips, _ = folder_study
    for path in chips.rglob("*"):
        path.touch()
    for name in (".DS_Store", "notes.txt"):
        (chips / name).write_text("nobody reads this")
    assert plan() == set()
    away = chips.rename(chips.with_name("away"))
    try:
        assert plan() == set()
    finally:
        away.rename(chips)


@pytest.fixture(scope="module")
def planned_with(project, folder_study):
    """A function that plans the study on a folder with changed keys of its dataset."""
    _, chips, _ = folder_study

    def plan(path=chips, **changes):
        source = {"type": "directory", "path": str(path)}
        dataset = TINY["dataset"] | {"sources": [source]} | changes
        config = project.write_config(TINY | {"study": "folder", "dataset": dataset}, "changed")
        return set(project.planned("--configfile", config, "--", SPLITS))

    return plan


SPLITS = "results/folder/splits/seed-0.csv"


def dry_run_of(project, plan, config, target):
    """The output of a dry run that fails; `plan` writes its configuration."""
    with pytest.raises(AssertionError):
        plan()
    done = project.snakemake("-n", "--configfile", config, "--", target, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.output
    return done.output


def test_the_same_chips_at_another_path_rerun_nothing(project, folder_study, planned_with):
    plan, chips, _ = folder_study
    assert planned_with(f"{chips}/") == set()
    link = chips.with_name("link")
    link.symlink_to(chips)
    assert planned_with(link) == set()
    moved = chips.rename(chips.with_name("moved"))
    try:
        assert planned_with(moved) == set()
        # What is made now reads the chips where they are.
        config = ("--configfile", "config/changed.yaml", "--", "results/folder/data/packed.npy")
        assert set(project.planned(*config)) == {"pack_chips"}
        project.snakemake("--cores", 1, *config)
        first = next(moved.rglob("*.tif"))
        content = first.read_bytes()
        first.unlink()
        assert planned_with(moved) == CHIPS
        first.write_bytes(content)
        assert planned_with(moved) == set()
        refused = dry_run_of(project, lambda: planned_with(chips), "config/changed.yaml", SPLITS)
        assert "expected: a folder that contains files" in refused, "the job would only delete what is there"
    finally:
        moved.rename(chips)
    assert plan() == set()


def test_the_same_weights_at_another_path_or_with_their_checksum_rerun_nothing(project, folder_study, tmp_path):
    from terratorch.registry import BACKBONE_REGISTRY

    _, chips, _ = folder_study
    target = "results/folder/weights/tiny.json"
    file = tmp_path / "{x} weights.pt"

    def plan(path, **weights):
        backbones = {"tiny": TINY["backbones"]["tiny"] | {"weights": {"source": "file", "path": str(path)} | weights}}
        sources = [{"type": "directory", "path": str(chips)}]
        dataset = TINY["dataset"] | {"sources": sources}
        config = project.write_config(TINY | {"study": "folder", "dataset": dataset, "backbones": backbones}, "weights")
        return set(project.planned("--configfile", config, "--", target))

    encoder = BACKBONE_REGISTRY.build("terramind_v1_tiny", modalities=["S2L2A"], pretrained=False)
    torch.save(encoder.state_dict(), file)
    assert plan(file) == {"fetch_weights"}
    project.snakemake("--cores", 1, "--configfile", "config/weights.yaml", "--", target)
    record = json.loads((project.folder / target).read_text(encoding="utf-8"))
    assert plan(file, sha256=record["sha256"].upper()) == set()
    of = ("config/weights.yaml", target)
    assert "their checksum differs" in dry_run_of(project, lambda: plan(file, sha256="0" * 64), *of)
    moved = file.rename(tmp_path / "moved.pt")
    assert plan(moved) == set()
    assert (project.folder / record["path"]).samefile(moved)
    assert "what to do" in dry_run_of(project, lambda: plan(file), *of), "nothing is at this path"
    torch.save({"other": torch.ones(2)}, moved)
    assert plan(moved) == {"fetch_weights"}


def test_what_becomes_of_invalid_chips_and_their_size_rerun_nothing_where_there_are_none(planned_with):
    assert planned_with(on_invalid="drop") == set()
    assert planned_with(chip_size_px=TINY["dataset"]["sources"][0]["size_px"]) == set()
    assert "index_chips" in planned_with(chip_size_px=16)
    assert "index_chips" in planned_with(nodata=-1)


def test_another_name_of_the_dataset_reruns_no_index(planned_with):
    assert planned_with(name="Other chips") == set()


def test_a_mistake_that_the_index_refuses_reruns_nothing_when_it_is_undone(project, folder_study, planned_with):
    """Snakemake would delete the index before the check, and record the mistake as what it was made with."""
    plan, _, _ = folder_study
    classes = [*TINY["dataset"]["classes"], {"code": "none", "name": "No chips"}]
    assert "index_chips" in planned_with(classes=classes)
    done = project.snakemake("--cores", 1, "--configfile", "config/changed.yaml", "--", SPLITS, check=False)
    assert "too few chips of 1 class(es)" in done.output
    assert plan() == set()
    assert "index_chips" in planned_with(classes=classes), "the mistake is refused each time"


def test_another_content_of_a_chip_reruns_all_that_depends_on_it(folder_study):
    plan, chips, make = folder_study
    first = next(chips.rglob("*.tif"))
    with rasterio.open(first, "r+") as file:
        file.write(file.read() * 0.99)
    os.utime(first, (1, 1))
    assert plan() == CHIPS, "though the file is older than before"
    # Stopped after the index, before what depends on it.
    make("results/folder/data/chips.parquet")
    assert plan() == {"split_chips"}


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


def test_chips_that_come_back_to_the_first_place_with_other_content_are_read_there(project, folder_study, tmp_path):
    """The record said where the folder had been moved, and the index was made of the chips there."""
    _, chips, _ = folder_study
    first, moved = tmp_path / "first", tmp_path / "moved"
    shutil.copytree(chips, first)
    target = "results/returned/data/chips.parquet"

    def index(*places):
        sources = [{"type": "directory" if path.is_dir() else "archive", "path": str(path)} for path in places]
        study = TINY | {"study": "returned", "dataset": TINY["dataset"] | {"sources": sources}}
        config = project.write_config(study, "returned")
        shown = project.snakemake("--cores", 1, "--configfile", config, "--", target).output
        return shown, read_index(project.folder / target).set_index("file")["sha256"]

    index(first)
    shutil.copytree(first, moved)
    assert "Nothing to be done" in index(moved)[0]
    chip = next(first.rglob("*.tif"))
    with rasterio.open(chip, "r+") as file:
        file.write(file.read() * 1.01)
    _, sha256 = index(first)
    name = next(each for each in sha256.index if each.endswith(chip.name))
    assert sha256[name] == hashlib.sha256(chip.read_bytes()).hexdigest()
    shutil.rmtree(moved)
    assert "Nothing to be done" in index(first)[0]
    # A source that cannot be used is tried once, also where the folder was moved before.
    first.rename(moved)
    assert "Nothing to be done" in index(moved)[0]
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_text("half an archive")
    index(damaged, moved)
    assert "Nothing to be done" in index(damaged, moved)[0]
