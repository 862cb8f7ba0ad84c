"""The selected models of a finished study: what they predict, what says how good they are, and when they are stale."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from helpers.project import results
from helpers.shared_study import copy_study
from helpers.tiny_study import TINY
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.dataset import DatasetSpec
from terralucas.predict.ensemble import Ensemble
from terralucas.predict.selected import load_selected
from terralucas.predictions import read_predictions

pytestmark = pytest.mark.workflow

CONFIG = ("--cores", 2, "--configfile", "config/small.yaml")


def test_the_selected_models_predict_what_the_study_recorded(selected):
    folder = results(selected) / "selected"
    record = yaml.safe_load((folder / "selection.yaml").read_text(encoding="utf-8"))
    assert list(record["recipe"].values()) == ["tiny", "weighted_ce", "identity"]
    assert record["models"] == ["models/seed-0", "models/seed-1"]
    assert record["chips"] == {"simulated": True, "number": 400}
    assert record["weights"]["source"] == "random"
    assert record["reason"][0].startswith("The study has one recipe; its macro accuracy is")
    index = pd.read_parquet(results(selected) / "data" / "chips.parquet").set_index("point_id")
    root = selected.folder / json.loads((results(selected) / "data" / "retrieval.json").read_text())["root"]
    spec = DatasetSpec.from_config(record["dataset"])
    import torch

    ensemble = Ensemble([folder / name for name in record["models"]], torch.device("cpu"))
    assert len(ensemble.groups) == 1, "one frozen encoder, read once"
    for member, seed in enumerate((0, 1)):
        table = read_predictions(results(selected) / f"runs/tiny/weighted_ce/identity/seed-{seed}/predictions.parquet")
        rows = np.flatnonzero(table.parts == "test")[:20]
        ids = [table.point_ids[row] for row in rows]
        chips = np.stack([read_chip(root / index.loc[name, "file"], spec) for name in ids])
        logits, _ = ensemble.predict(chips)
        assert np.abs(logits[member] - table.logits[rows]).max() < 1e-5
    summary = pd.read_csv(results(selected) / "tables" / "summary.csv").set_index(["classes", "metric"])
    quoted = record["scores"]["values"]["macro_accuracy"]
    assert quoted["value"] == pytest.approx(summary.loc[("all", "macro_accuracy"), "pooled"], abs=1e-6)
    assert quoted["high"] == pytest.approx(summary.loc[("all", "macro_accuracy"), "crossed_high"], abs=1e-6)


def test_what_mattered_is_shown_for_the_selected_models(selected):
    given = "explain={chips: 24, permutations: 2}"
    output = selected.snakemake(*CONFIG, "--config", given, "--", "explain").output
    folder = results(selected) / "selected"
    assert f"What mattered is at {folder / 'explained.html'}" in output
    table = pd.read_csv(folder / "importance.csv")
    # Visible, near and short-wave infrared; six bands; three scores.
    assert len(table) == (3 + 6) * 3
    assert table["chips"].eq(2 * 24).all()
    assert table["test_chips"].eq(400).all()
    assert pd.read_csv(folder / "importance_by_seed.csv")["seed"].unique().tolist() == [0, 1]
    occlusion = json.loads((folder / "occlusion.json").read_text(encoding="utf-8"))
    assert {np.shape(chip["fall"]) for chip in occlusion["chips"].values()} == {(4, 4)}
    chosen = [place for entry in occlusion["classes"] for kind in entry["kinds"].values() for place in kind]
    assert sorted(occlusion["chips"]) == sorted(map(str, chosen))
    page = (folder / "explained.html").read_text(encoding="utf-8")
    assert "The chips are simulated" in page
    assert len(page.encode()) < 3e6
    assert not re.search(r"(src|href)=.https?:", page)
    planned = selected.planned(*CONFIG, "--config", given, "--", "explain")
    assert planned == {}, "nothing has changed"
    for file in (folder / "models", *(folder / "models").rglob("*")):
        os.utime(file)
    planned = selected.planned(*CONFIG, "--config", given, "--", "explain")
    assert planned == {}, "as in a copy without times"


def test_held_out_coverage_is_given_for_each_class(selected):
    table = pd.read_csv(results(selected) / "selected" / "conformal.csv", dtype={"class_code": str})
    assert table["class_code"].tolist() == ["all", *map(str, range(1, 11))]
    assert table["chips"].iloc[0] == 400 == table["chips"].iloc[1:].sum()
    assert (table["expected_low"] <= table["expected_high"]).all()
    # Classes of fewer than 9 chips are in the set of every new chip, too.
    assert (table.loc[table["chips"] < 9, "expected_low"] == 1.0).all()
    assert table["expected_low"].iloc[0] < 0.9 < table["expected_high"].iloc[0]
    # Two folds; each is the calibration of the other. Classes with fewer than 9 chips are in every set.
    assert table["coverage"].iloc[0] > 0.85
    assert table.loc[table["chips"] < 18, "coverage"].min() == 1.0


@pytest.mark.parametrize("change", ["gone", "changed"])
def test_selected_models_that_are_gone_or_changed_are_selected_again(selected, tmp_path, change):
    model = results(selected) / "selected" / "models" / "seed-0" / "model.ckpt"
    shutil.move(model, tmp_path / "model.ckpt")
    if change == "changed":
        model.write_bytes((tmp_path / "model.ckpt").read_bytes() + b" ")
    try:
        planned = selected.planned(*CONFIG, "--", "select", "explain")
        assert planned == {"select_models": 1, "select": 1, "explain_models": 1, "explain": 1}
        assert selected.planned(*CONFIG) == {}, "nobody asks for it"
    finally:
        shutil.move(tmp_path / "model.ckpt", model)
    assert selected.planned(*CONFIG, "--", "select") == {}


def test_selecting_another_rule_starts_no_run(selected):
    planned = selected.planned(*CONFIG, "--config", "select={rule: best}", "--", "select")
    assert planned == {"select": 1, "select_models": 1}
    planned = selected.planned(*CONFIG, "--config", "select={rule: best}", "predict={input: config}")
    assert planned == {"build_report": 1}, "it says which recipe would be selected"
    planned = selected.planned(*CONFIG, "--config", "select={coverage: 0.8}", "predict={input: config}")
    assert planned == {}, "the report is not made again"


@pytest.mark.parametrize(
    "change",
    [{"pixel_size_m": 28}, {"name": "other"}, {"checks": {"max_nodata_fraction": 0.6}}],
    ids=lambda each: next(iter(each)),
)
def test_what_the_selection_keeps_of_the_dataset_reaches_it_and_trains_nothing(selected, change):
    """Maps, predictions and exported files take it from there. The chips have pixels of 30 m."""
    changed = selected.write_config({**TINY, "dataset": {**TINY["dataset"], **change}}, "changed")
    # Only rules that are allowed make files: other checks of the chips may leave all else the same bytes.
    planned = selected.planned("--configfile", changed, "--allowed-rules", "select_models", "select", "--", "select")
    assert planned == {"select_models": 1, "select": 1}
    if "pixel_size_m" in change:
        planned = selected.planned("--configfile", changed, "--", "select")
        assert "select_models" in planned
        assert not {"index_chips", "extract_features", "train_run", "make_tables"} & planned.keys()


def test_swapped_class_names_reach_what_is_made_with_the_selection(selected, new_chips):
    """Also where the report was made first: then its tables are finished, and may be the same bytes as before."""
    classes = [dict(entry) for entry in TINY["dataset"]["classes"]]
    classes[0]["name"], classes[1]["name"] = classes[1]["name"], classes[0]["name"]
    swapped = {"dataset": TINY["dataset"] | {"classes": classes}, "predict": {"input": str(new_chips)}}
    config = selected.write_config(TINY | swapped, "swapped")
    uses = {"explain_models", "explain", "export_models", "plan_prediction", "predict_part", "join_predictions"}
    rules = {"select_models", "select", "export", "predict", *uses}
    # Only rules that are allowed make files; the tables count as finished.
    planned = selected.planned(
        "--configfile", config, "--allowed-rules", *rules, "--", "select", "explain", "export", "predict"
    )
    assert set(planned) == rules


def softmax_of(logits):
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def test_logits_are_divided_by_the_temperature_of_the_validation_chips(selected, new_chips, tmp_path):
    project = copy_study(selected, tmp_path / "project")
    project.snakemake(*CONFIG, "--config", "select={temperature_scaling: true}", "--", "select")
    folder = results(project) / "selected"
    record = yaml.safe_load((folder / "selection.yaml").read_text(encoding="utf-8"))
    scores, of_new = [], {}
    for seed, temperature in zip((0, 1), record["temperatures"], strict=True):
        table = read_predictions(results(project) / f"runs/tiny/weighted_ce/identity/seed-{seed}/predictions.parquet")
        chosen, test = table.parts == "validation", table.parts == "test"
        candidates = np.exp(np.linspace(np.log(0.05), np.log(20), 12_000))
        probabilities = [softmax_of(table.logits[chosen] / each) for each in candidates]
        losses = [-np.log(each[np.arange(chosen.sum()), table.labels[chosen]]).mean() for each in probabilities]
        assert temperature == pytest.approx(candidates[np.argmin(losses)], rel=1e-3)
        scaled = softmax_of(table.logits / temperature)
        scores.append(1 - scaled[test, table.labels[test]])
        of_new |= {(seed, name): row for name, row in zip(table.point_ids, scaled, strict=True)}
    assert min(record["temperatures"]) != 1
    with np.load(folder / "held_out.npz") as held_out:
        np.testing.assert_allclose(held_out["score"], np.concatenate(scores), atol=1e-6)
    calibration = pd.read_csv(results(project) / "tables" / "calibration.csv").set_index(["metric", "stage"])
    for score in ("nll", "brier", "ece", "classwise_ece"):
        scaled = calibration.loc[(score, "after"), "mean"]
        assert record["scores"]["values"][score]["value"] == pytest.approx(scaled, abs=1e-6), "six decimals"
    # What is quoted is of the saved models.
    quoted = np.mean([-np.log(1 - each).mean() for each in scores])
    assert record["scores"]["values"]["nll"]["value"] == pytest.approx(quoted, rel=1e-4)
    command = ("predict", new_chips, "--study", results(project), "--output", tmp_path / "predicted")
    done = project.module(*command)
    assert done.returncode == 0, done.stderr
    # As after a training with other settings.
    trained = results(project) / "runs/tiny/weighted_ce/identity/seed-1/run.yaml"
    earlier = trained.read_text(encoding="utf-8")
    assert len(record["runs"]) == 2
    trained.write_text(earlier.replace(yaml.safe_load(earlier)["fingerprint"], "0" * 64), encoding="utf-8")
    refused = project.module(*command)
    assert refused.returncode == 1
    assert "The selected models of" in refused.stderr
    assert "are of earlier runs" in refused.stderr
    predicted = pq.read_table(tmp_path / "predicted" / "predictions.parquet").to_pandas()
    names = [f"probability_{code}" for code in load_selected(results(project)).class_codes]
    files = sorted((selected.folder / "resources").rglob("*.tif"))
    point_of = {f"chip {number:02d}": file.stem for number, file in enumerate(files[:37])}
    index = pd.read_parquet(results(project) / "data" / "chips.parquet")
    id_of = {Path(file).stem: point for file, point in zip(index["file"], index["point_id"], strict=True)}
    both = 0
    for row in predicted.to_dict("records"):
        point = id_of[point_of[row["id"]]]
        if all((seed, point) in of_new for seed in (0, 1)):
            both += 1
            expected = np.mean([of_new[seed, point] for seed in (0, 1)], axis=0)
            np.testing.assert_allclose([row[name] for name in names], expected, atol=1e-5)
    assert both


def test_one_model_can_be_trained_on_all_chips(selected, new_chips, tmp_path):
    project = copy_study(selected, tmp_path / "project")
    project.snakemake(*CONFIG, "--config", "select={models: retrain}", "--", "select")
    folder = results(project) / "selected"
    record = yaml.safe_load((folder / "selection.yaml").read_text(encoding="utf-8"))
    assert (record["method"], record["models"]) == ("retrain", ["models/all-chips"])
    assert record["same_predictions_as_the_study"] is None
    of_model = yaml.safe_load((folder / "models/all-chips/run.yaml").read_text(encoding="utf-8"))
    of_seed = yaml.safe_load((results(project) / "runs/tiny/weighted_ce/identity/seed-0/run.yaml").read_text("utf-8"))
    chips = of_seed["chips"]
    assert of_model["chips"] == {
        "train": chips["train"] + chips["test"],
        "validation": chips["validation"],
        "test": 0,
    }
    assert of_model["settings"] == of_seed["settings"]
    # Sets come from the held-out predictions of the runs, so that they are those of the ensemble's calibration.
    with np.load(folder / "held_out.npz") as own, np.load(results(selected) / "selected" / "held_out.npz") as other:
        assert np.array_equal(own["score"], other["score"])
        assert set(own["member"]) == {0} and set(other["member"]) == {0, 1}
    done = project.module("predict", new_chips, "--study", results(project), "--output", tmp_path / "predicted")
    assert done.returncode == 0, done.stderr
    assert "36 of 37 chips predicted" in done.stdout
