"""A control from files to files: the same form as a run's, and a record of how it was chosen."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from helpers.index_file import write_index_of
from terralucas.controls.descriptions import write_descriptions
from terralucas.controls.run import ControlInputs, execute
from terralucas.data.split_files import write_split
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.statistics.run_predictions import read_run_predictions
from terralucas.tables.vocabulary import control_as_recipe

N, CLASSES = 60, 3
IDS = [f"chip {index}" for index in range(N)]
LABELS = np.arange(N) % CLASSES


@pytest.fixture
def folder(tmp_path):
    write_index_of(tmp_path / "chips.parquet", {"point_id": IDS, "label": LABELS})
    write_split(tmp_path / "split.csv", IDS, (["train"] * 3 + ["validation"] + ["test"]) * (N // 5))
    write_split(tmp_path / "holdout.csv", IDS, (["train"] * 4 + ["test"]) * (N // 5))
    spectra = np.random.default_rng(0).normal(size=(N, 4)) + LABELS[:, None]
    columns = {name: list(spectra) for name in ("band_mean", "band_std", "centre_pixel")}
    write_descriptions(pd.DataFrame({"point_id": IDS, **columns}), tmp_path / "descriptions.parquet")
    np.save(tmp_path / "pooled.npy", spectra.astype(np.float32))
    record = {"shape": [N, 4], "sha256": sha256_of_file(tmp_path / "pooled.npy")}
    (tmp_path / "pooled.json").write_text(json.dumps(record))
    return tmp_path


SOURCES = {
    "majority": [], "band_statistics": ["descriptions.parquet"], "centre_spectrum": ["descriptions.parquet"],
    "knn/tiny": ["pooled.npy", "pooled.json"], "logistic/tiny": ["pooled.npy", "pooled.json"],
}  # fmt: skip


def run(folder, control, split="split.csv"):
    source = tuple(folder / name for name in SOURCES[control])
    inputs = ControlInputs(folder / "chips.parquet", folder / split, source)
    execute(control, 3, "macro_accuracy", CLASSES, inputs, folder / "predictions.parquet", folder / "control.json")
    return json.loads((folder / "control.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("control", SOURCES)
def test_predictions_are_in_a_runs_form(folder, control):
    record = run(folder, control)
    assert pq.read_table(folder / "predictions.parquet").column_names == ["point_id", "split", "label", "logits"]
    assert record["predictions_sha256"] == sha256_of_file(folder / "predictions.parquet")
    assert record["chips"] == {"train": 36, "validation": 12, "test": 12}
    read = read_run_predictions(
        folder / "predictions.parquet", record["names"], {name: row for row, name in enumerate(IDS)}
    )
    assert (read.test.chips % 5 == 4).all()
    assert (read.validation.chips % 5 == 3).all()
    assert np.array_equal(read.test.labels, LABELS[read.test.chips])
    right = np.mean(read.test.logits.argmax(axis=1) == read.test.labels)
    assert right == pytest.approx(1 / 3) if control == "majority" else right > 0.5


def test_the_record_says_what_was_tried_and_on_which_chips(folder):
    record = run(folder, "logistic/tiny")
    assert record["chosen_on"] == "validation"
    best = max(record["tried"], key=lambda each: each["macro_accuracy"])
    assert record["setting"] == {"C": best["value"]}
    assert record["names"] == {"backbone": "tiny", "loss": "control", "decoder": "logistic", "seed": 3}
    faithful = run(folder, "logistic/tiny", split="holdout.csv")
    assert (faithful["chosen_on"], faithful["chips"]["validation"]) == ("test", 0)


def test_names_of_controls_beside_recipes():
    assert control_as_recipe("majority") == ("none", "control", "majority")
    assert control_as_recipe("knn/base") == ("base", "control", "knn")


def test_damaged_features_and_other_chips_descriptions_are_refused(folder):
    np.save(folder / "pooled.npy", np.zeros((N, 4), dtype=np.float32))
    with pytest.raises(StudyError, match="not what was written"):
        run(folder, "knn/tiny")
    write_index_of(folder / "chips.parquet", {"point_id": IDS[::-1], "label": LABELS})
    write_split(folder / "split.csv", IDS[::-1], (["train"] * 3 + ["validation"] + ["test"]) * (N // 5))
    with pytest.raises(StudyError, match="belong to other chips"):
        run(folder, "band_statistics")
