"""Fit one control with one seed: read the input files, write predictions and a record."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from terralucas.arrays import open_checked_array
from terralucas.controls.classifiers import ControlData, fit_control
from terralucas.controls.descriptions import read_descriptions
from terralucas.data.index_file import read_index_table
from terralucas.data.split_files import read_split
from terralucas.files import sha256_of_file, write_json
from terralucas.predictions import PredictionTable, write_predictions
from terralucas.tables.vocabulary import RECIPE, control_as_recipe

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ControlInputs:
    """The input files of a control.

    Attributes:
        chips: index of the chips (chips.parquet).
        split: split of the seed.
        source: no file for `majority`; descriptions.parquet; or a feature array and its record.
    """

    chips: Path
    split: Path
    source: tuple[Path, ...]


def execute(
    control: str, seed: int, monitor: str, n_classes: int, inputs: ControlInputs, predictions: Path, record: Path
) -> None:
    """Fit a control, write its predictions in the format of a run, and write a record of its setting.

    Args:
        control: name of the control, such as `majority` or `knn/tiny`.
        seed: seed of the run.
        monitor: score by which the setting is chosen.
        n_classes: number of classes K.
        inputs: files to read.
        predictions: predictions.parquet to write.
        record: control.json to write.

    Raises:
        StudyError: the input files do not belong together, or the control cannot be fitted.
    """
    chips = read_index_table(inputs.chips, columns=["point_id", "label"])
    point_ids, labels = chips["point_id"].to_pylist(), chips["label"].to_numpy()
    parts = read_split(inputs.split, point_ids)
    validation = "validation" if "validation" in parts else "test"
    data = ControlData(
        _read_inputs(control, inputs.source, point_ids),
        labels,
        np.flatnonzero(parts == "train"),
        np.flatnonzero(parts == validation),
        n_classes,
    )
    fitted = fit_control(control, data, monitor, seed)
    predicted = np.flatnonzero(parts != "train")
    predicted = predicted[np.argsort(parts[predicted] == "test", kind="stable")]
    logits = fitted.log_probabilities[predicted].astype(np.float32)
    table = PredictionTable([point_ids[row] for row in predicted], parts[predicted], labels[predicted], logits)
    write_predictions(predictions, table)
    scores = table.accuracies("test")
    content = {
        "schema_version": SCHEMA_VERSION,
        "control": control,
        "names": {**dict(zip(RECIPE, control_as_recipe(control), strict=True)), "seed": seed},
        "chips": {part: int((parts == part).sum()) for part in ("train", "validation", "test")},
        "setting": dict(fitted.setting),
        "tried": [{"value": value, monitor: score} for value, score in fitted.scores.items()],
        "chosen_on": validation,
        "predictions_sha256": sha256_of_file(predictions),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scikit-learn")},
        },
    }
    write_json(record, content)
    logger.info(
        "%s, seed %d, %s: macro accuracy %.3f, micro accuracy %.3f",
        *(control, seed, content["setting"], scores["macro_accuracy"], scores["micro_accuracy"]),
    )


def _read_inputs(control: str, source: tuple[Path, ...], point_ids: list[str]) -> np.ndarray:
    """Return the inputs (n, d) of a control."""
    if control == "majority":
        return np.empty((len(point_ids), 0))
    if control.partition("/")[2]:
        path, record = source
        features, _ = open_checked_array(path, record, len(point_ids))
        return features.astype(np.float64)
    (path,) = source
    descriptions = read_descriptions(path, point_ids)
    if control == "centre_spectrum":
        return descriptions["centre_pixel"]
    return np.column_stack([descriptions["band_mean"], descriptions["band_std"]])
