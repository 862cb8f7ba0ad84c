"""A study over real Sentinel-2 chips, where a folder of them is given."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.predict.conformal import softmax
from terralucas.predict.ensemble import Ensemble
from terralucas.predict.new_chips import NewChip
from terralucas.predict.selected import load_selected
from terralucas.predictions import read_predictions

pytestmark = pytest.mark.workflow


@needs_real_chips
def test_other_peoples_chips_run_to_the_report_and_to_predictions(project, monkeypatch):
    classes = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
    config = {
        "study": "real",
        "dataset": {
            "name": "real chips",
            "sources": [{"type": "directory", "path": str(FOLDER)}],
            "layout": {
                "labels": "table", "table": "labels.csv", "id_column": "file", "file_column": "file",
                "label_column": "class", "x_column": "lon", "y_column": "lat",
            },
            "classes": [{"code": name, "name": name} for name in classes],
            "bands": ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"],
            "unit": "dn",
            "point_ids": "none",
        },
        "normalisation": "pretraining",
        "backbones": {"tiny": {"model": "terramind_v1_tiny", "weights": {"source": "random"}}},
        "losses": {"ce": {"type": "ce"}},
        "decoders": {"identity": {"pooling": "mean"}},
        "grid": {"backbones": ["tiny"], "losses": ["ce"], "decoders": ["identity"], "seeds": [0, 1]},
        "training": {"epochs": 30, "learning_rate": 0.01},
    }  # fmt: skip
    project.write_config(config, "real")
    project.snakemake("--cores", 2, "--configfile", "config/real.yaml")
    folder = project.folder / "results" / "real"
    runs = pd.read_csv(folder / "tables" / "runs.csv")
    assert runs["n_test"].tolist() == [20, 20]
    assert runs["macro_accuracy"].mean() > 0.2, "ten classes, guessing gives 0.1"
    index = pd.read_parquet(folder / "data" / "chips.parquet").set_index("point_id")
    assert index["easting_m"].notna().all()
    assert "real chips" in (folder / "report.html").read_text(encoding="utf-8")

    # The winner in use: on the second half of the same folder, as new chips.
    project.snakemake("--cores", 2, "--configfile", "config/real.yaml", "--", "select")
    # The path of weights in run.yaml is relative to where the study ran.
    monkeypatch.chdir(project.folder)
    chosen = load_selected(folder)
    assert chosen.record["same_predictions_as_the_study"]["other_classes"] == 0
    files = sorted(FOLDER.rglob("*.tif"))[50:]
    pd.DataFrame({"path": map(str, files)}).to_csv(project.folder / "second.csv", index=False)
    given = "predict={input: second.csv}"
    project.snakemake("--cores", 2, "--configfile", "config/real.yaml", "--config", given, "--", "predict")
    predicted = pd.read_parquet(folder / "predictions" / "second" / "predictions.parquet")
    assert predicted["path"].tolist() == list(map(str, files))
    assert predicted["class_code"].isin(classes).all()
    assert (project.folder / "results/real/predictions/second/predictions.geojson").is_file(), "the chips have places"
    shown = predicted.set_index("path")
    ensemble = Ensemble(chosen.models, torch.device("cpu"))
    reader = chosen.reader
    for member, seed in enumerate((0, 1)):
        table = read_predictions(folder / f"runs/tiny/ce/identity/seed-{seed}/predictions.parquet")
        of_test = [row for row, part in enumerate(table.parts) if part == "test"]
        paths = [str(FOLDER / index.loc[table.point_ids[row], "file"]) for row in of_test]
        logits, _ = ensemble.predict(np.stack([reader(NewChip("", path)).values for path in paths]))
        assert np.abs(logits[member] - table.logits[of_test]).max() < 1e-5
        mean = softmax(logits).mean(axis=0)
        for path, row in zip(paths, mean, strict=True):
            if path in shown.index:
                probabilities = shown.loc[path, [f"probability_{name}" for name in classes]].to_numpy(dtype=float)
                assert probabilities == pytest.approx(row, abs=1e-5)
