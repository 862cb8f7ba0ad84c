"""A tiny study through Snakemake: its outputs, and what reruns."""

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from helpers.project import Project, results
from helpers.tiny_study import TINY

pytestmark = pytest.mark.workflow

# What follows from any new prediction.
REPORTING = {"make_tables": 1, "make_evidence": 1, "make_gallery": 1, "draw_figures": 1, "build_report": 1}
RUN = Path("runs/tiny/weighted_ce/identity")
CHIPS = "results/small/data/chips.parquet"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_run_leaves_what_the_design_promises(study):
    folder = results(study) / RUN / "seed-0"
    assert {path.name for path in folder.iterdir()} == {
        "predictions.parquet", "metrics.json", "history.csv", "model.ckpt", "run.yaml",
    }  # fmt: skip
    table = pq.read_table(folder / "predictions.parquet")
    assert table.column_names == ["point_id", "split", "label", "logits"]
    split = pd.read_csv(results(study) / "splits" / "seed-0.csv", dtype=str)
    shown = split[split["split"] != "train"].set_index("point_id")["split"].to_dict()
    assert dict(zip(table["point_id"].to_pylist(), table["split"].to_pylist(), strict=True)) == shown
    record = yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))
    assert record["settings"]["training"]["epochs"] == 3
    assert record["settings"]["loss_setting"] == {
        "type": "ce", "class_weights": "balanced", "reduction": "weighted_mean", "label_smoothing": 0.0,
    }  # fmt: skip
    assert record["features"]["weights"]["source"] == "random"
    assert record["settings"]["training"]["threads"] == 1
    assert len(pd.read_csv(folder / "history.csv")) == 3
    checkpoint = torch.load(folder / "model.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["head.head.2.weight"].shape == (10, 192)


def test_the_terminal_shows_stages_a_line_for_each_run_and_where_the_report_is(study):
    lines = study.result.output.splitlines()
    metrics = read(results(study) / RUN / "seed-1" / "metrics.json")["test"]
    (line,) = (line for line in lines if "seed 1:" in line)
    assert f" of 2  tiny · weighted_ce · identity · seed 1: macro accuracy {metrics['macro_accuracy']:.3f}" in line
    assert lines.index("Opening and checking every chip") < lines.index("Computing the tables of small")
    assert f"The report is at {results(study) / 'report.html'}" in lines
    assert "Select jobs to execute..." not in lines


def test_claims_on_recipes_that_lack_are_told_and_studies_that_lack_are_not_asked_for(study):
    tables = results(study) / "tables"
    assert list(pd.read_csv(tables / "claims.csv")["verdict"]) == ["inconclusive"]
    assert pd.read_csv(tables / "beside.csv").empty
    page = (results(study) / "report.html").read_text(encoding="utf-8")
    assert "No two recipes of this study differ in mlp and identity alone." in page


def test_the_two_folds_test_every_chip_once(study):
    tested = []
    for seed in (0, 1):
        table = pq.read_table(results(study) / RUN / f"seed-{seed}" / "predictions.parquet").to_pandas()
        tested += table.loc[table["split"] == "test", "point_id"].tolist()
    assert len(tested) == len(set(tested)) == 400


def test_the_report_says_what_was_simulated_and_links_nothing(study):
    page = (results(study) / "report.html").read_text(encoding="utf-8")
    assert "The chips are simulated" in page
    assert "random, never pre-trained" in page
    runs = pd.read_csv(results(study) / "tables" / "runs.csv")
    metrics = read(results(study) / RUN / "seed-1" / "metrics.json")["test"]
    assert runs.loc[runs["seed"] == 1, "macro_accuracy"].item() == pytest.approx(metrics["macro_accuracy"], abs=1e-12)


def test_finishing_again_has_nothing_to_do_and_touching_reruns_nothing(study):
    assert study.planned("--configfile", "config/small.yaml") == {}
    for path in (study.folder / "workflow").rglob("*.py"):
        path.touch()
    assert study.planned("--configfile", "config/small.yaml") == {}


@pytest.mark.parametrize(
    ("deleted", "planned"),
    [("tables/summary.csv", {"make_tables"}), (RUN / "seed-0", {"train_run", "make_tables"})],
    ids=["a table", "a run"],
)
def test_what_is_deleted_is_made_again_though_the_report_is_there(study, tmp_path, deleted, planned):
    path = results(study) / deleted
    path.rename(tmp_path / "kept")
    try:
        assert set(study.planned("--configfile", "config/small.yaml")) >= planned
    finally:
        (tmp_path / "kept").rename(path)


def test_a_report_of_what_is_there_starts_no_run(study, tmp_path):
    run = results(study) / RUN / "seed-0"
    run.rename(tmp_path / "kept")
    try:
        planned = study.planned("--configfile", "config/small.yaml", "--config", "report={unfinished_runs: name}")
        assert planned == REPORTING
    finally:
        (tmp_path / "kept").rename(run)


def test_a_new_loss_or_seed_runs_only_its_own_cells(study):
    loss = study.planned(
        "--configfile", "config/small.yaml", "--config", "grid={losses: [weighted_ce, weighted_focal]}"
    )
    assert loss == {"audit_treatment": 1, "train_run": 2, **REPORTING}
    seed = study.planned("--configfile", "config/small.yaml", "--config", "grid={seeds: [0, 1, 2]}")
    assert seed == {"split_chips": 1, "train_run": 1, **REPORTING}


def test_a_decoder_that_needs_tokens_runs_the_pass_again_but_no_finished_run(study):
    planned = study.planned("--configfile", "config/small.yaml", "--config", "grid={decoders: [identity, mlp]}")
    assert planned == {"audit_treatment": 1, "extract_features": 1, "train_run": 2, **REPORTING}


def test_a_decoder_on_several_layers_is_a_pass_and_runs_of_its_own(study):
    overlay = "decoders={deep: {pooling: center, layers: [6, 12]}}", "grid={decoders: [identity, deep]}"
    planned = study.planned("--configfile", "config/small.yaml", "--config", *overlay)
    assert planned == {"audit_treatment": 1, "extract_features": 1, "train_run": 2, **REPORTING}


def test_a_changed_loss_is_audited_and_trained_again_beside_one_that_joins(study):
    """Snakemake asks no job for its own reasons to run that lies below a job that runs."""
    changed = "losses={weighted_ce: {reduction: mean}}"
    planned = study.planned("--configfile", "config/small.yaml", "--config", changed)
    assert planned == {"audit_treatment": 1, "train_run": 2, **REPORTING}
    joined = "grid={losses: [weighted_focal, weighted_ce]}"
    planned = study.planned("--configfile", "config/small.yaml", "--config", changed, joined)
    assert planned == {"audit_treatment": 2, "train_run": 4, **REPORTING}


def test_class_weights_that_a_loss_drops_stop_the_study_before_training(study):
    """The original experiment compared two such losses; see docs/treatments.md."""
    overlay = (
        "losses={balanced: {type: terratorch_focal, class_weights: balanced}, soft: {type: terratorch_focal}}",
        "grid={losses: [weighted_ce, balanced, soft]}",
    )
    done = study.snakemake("--cores", 2, "--configfile", "config/small.yaml", "--config", *overlay, check=False)
    assert done.returncode != 0
    assert "losses.balanced.class_weights is balanced and has no effect" in done.output
    assert "losses.soft" in done.output
    assert not list(results(study).glob("runs/tiny/balanced/**/model.ckpt"))


def test_a_decoder_of_several_layers_runs_with_a_loss_that_has_its_own_head(study):
    overlay = (
        "decoders={deep: {pooling: center, window: 1, layers: [6, 12], hidden: 16}}",
        "losses={ldam: {type: ldam, class_weights: effective_number, drw_epoch: 2}}",
        "grid={losses: [ldam], decoders: [deep]}",
    )
    run = Path("results/small/runs/tiny/ldam/deep/seed-0")
    study.snakemake("--cores", 2, "--configfile", "config/small.yaml", "--config", *overlay, "--", run / "metrics.json")
    assert read(results(study) / "features/tiny/all/tokens-6-12.json")["shape"] == [400, 4, 2 * 192]
    checkpoint = torch.load(study.folder / run / "model.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["decoder.hidden_layer.weight"].shape == (16, 2 * 192)
    assert checkpoint["cosine_scale"] == 30
    assert read(results(study) / "data/audit/losses/ldam.json")["keys_with_effect"] == ["class_weights", "drw_epoch"]


def test_changed_settings_rerun_what_depends_on_them(study):
    epochs = study.planned("--configfile", "config/small.yaml", "--config", "training={epochs: 4}")
    assert epochs == {"audit_treatment": 3, "train_run": 2, **REPORTING}
    normalisation = study.planned("--configfile", "config/small.yaml", "--config", "normalisation=pretraining")
    assert normalisation["extract_features"] == 1
    assert normalisation["train_run"] == 2
    level = study.planned("--configfile", "config/small.yaml", "--config", "report={confidence_level: 0.9}")
    assert "train_run" not in level


@pytest.mark.parametrize("setting", ["training={checkpoint_interval_s: 5}", "features={workers: 0}", "title=Other"])
def test_settings_that_change_no_result_rerun_no_run(study, setting):
    planned = study.planned("--configfile", "config/small.yaml", "--config", setting)
    assert {"train_run", "extract_features", "index_chips"}.isdisjoint(planned)


def test_controls_join_a_finished_study_on_its_splits_and_features(study):
    wanted = ("--configfile", "config/small.yaml", "--config", "report={controls: true}")
    assert study.planned(*wanted) == {
        "describe_chips": 1, "fit_control": 5, "make_tables": 1, "make_gallery": 1, "draw_figures": 1,
        "build_report": 1,
    }  # fmt: skip
    folders = [
        results(study) / "controls" / control / "seed-1"
        for control in ("majority", "band_statistics", "centre_spectrum", "knn/tiny", "logistic/tiny")
    ]
    targets = [(folder / "predictions.parquet").relative_to(study.folder) for folder in folders]
    study.snakemake("--cores", 2, *wanted, "--", *targets)
    run = pq.read_table(results(study) / RUN / "seed-1" / "predictions.parquet")
    for folder in folders:
        control = pq.read_table(folder / "predictions.parquet")
        assert control.schema.equals(run.schema)
        assert control.drop_columns("logits").equals(run.drop_columns("logits")), "the same chips in the same order"
        assert read(folder / "control.json")["chosen_on"] == "validation"


def test_a_tuned_backbone_joins_a_finished_study_and_leaves_what_a_run_leaves(study, tmp_path):
    lora = {"model": "terramind_v1_tiny", "weights": {"source": "random"}, "tuning": "lora"}
    overlay = tmp_path / "lora.yaml"
    grid = TINY["grid"] | {"backbones": ["tiny", "tiny_lora"]}
    overlay.write_text(yaml.safe_dump({"backbones": {"tiny_lora": lora}, "grid": grid}))
    wanted = ("--configfile", "config/small.yaml", overlay)
    planned = study.planned(*wanted)
    assert {name: planned.get(name) for name in ("pack_chips", "tune_run", "train_run", "extract_features")} == {
        "pack_chips": 1, "tune_run": 2, "train_run": None, "extract_features": None,
    }  # fmt: skip
    folder = results(study) / "runs/tiny_lora/weighted_ce/identity/seed-1"
    record = folder / "run.yaml"
    done = study.snakemake("--cores", 2, *wanted, "--", record.relative_to(study.folder))
    assert " of 1  tiny_lora · weighted_ce · identity · seed 1: macro accuracy" in done.output
    frozen = results(study) / RUN / "seed-1"
    assert {path.name for path in folder.iterdir()} - {"resume.ckpt"} == {path.name for path in frozen.iterdir()}
    tables = [pq.read_table(path / "predictions.parquet") for path in (folder, frozen)]
    assert tables[0].schema.equals(tables[1].schema)
    assert tables[0].drop_columns("logits").equals(tables[1].drop_columns("logits")), "the same chips in the same order"
    ours, theirs = (yaml.safe_load((path / "run.yaml").read_text(encoding="utf-8")) for path in (folder, frozen))
    assert theirs.keys() < ours.keys()
    assert ours["features"].keys() == theirs["features"].keys()
    assert (folder / "history.csv").read_text().splitlines()[0] == (frozen / "history.csv").read_text().splitlines()[0]
    assert study.planned("--configfile", "config/small.yaml") == {}


def test_snakemakes_own_report_carries_the_items(study):
    study.snakemake("--configfile", "config/small.yaml", "--report", "report.zip")
    import zipfile

    names = " ".join(zipfile.ZipFile(study.folder / "report.zip").namelist())
    assert "report.html" in names
    assert "accuracy.svg" in names


def test_another_copy_of_the_project_that_the_shell_names_is_not_used(tmp_path):
    other = tmp_path / "other" / "terralucas"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise RuntimeError('the other copy')")
    project = Project(tmp_path / "project")
    project.environment["PYTHONPATH"] = str(other.parent)
    config = project.write_config(TINY)
    project.snakemake("--cores", 1, "--configfile", config, "--config", "fork_jobs=false", "--", CHIPS)
    assert (project.folder / CHIPS).is_file()
