"""One control for one seed: from files to files."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from terralucas.arrays import open_features
from terralucas.controls.classifiers import ControlData, fit_control
from terralucas.controls.descriptions import read_descriptions
from terralucas.data.split_files import read_split
from terralucas.files import sha256_of_file, write_json
from terralucas.predictions import PredictionTable, write_predictions
from terralucas.tables.vocabulary import RECIPE, control_as_recipe

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ControlInputs:
    """What a control reads.

    Attributes:
        chips: the index (chips.parquet).
        split: the seed's split.
        source: nothing for `majority`; descriptions.parquet; or a feature array and its record.
    """

    chips: Path
    split: Path
    source: tuple[Path, ...]


def execute(
    control: str, seed: int, monitor: str, n_classes: int, inputs: ControlInputs, predictions: Path, record: Path
) -> None:
    """Fit a control, and write its predictions as a run does, and a record of how it was chosen.

    Args:
        control: name, such as `majority` or `knn/tiny`.
        seed: of the run.
        monitor: score that chooses the control's setting.
        n_classes: K.
        inputs: files to read.
        predictions: predictions.parquet to write.
        record: control.json to write.

    Raises:
        StudyError: an input does not belong to the others, or the control cannot be fitted.
    """
    chips = pq.read_table(inputs.chips, columns=["point_id", "label"])
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
    shown = np.flatnonzero(parts != "train")
    shown = shown[np.argsort(parts[shown] == "test", kind="stable")]
    logits = fitted.log_probabilities[shown].astype(np.float32)
    table = PredictionTable([point_ids[row] for row in shown], parts[shown], labels[shown], logits)
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
    """(n, d) inputs of a control."""
    if control == "majority":
        return np.empty((len(point_ids), 0))
    if control.partition("/")[2]:
        path, record = source
        features, _ = open_features(path, record, len(point_ids))
        return features.astype(np.float64)
    (path,) = source
    descriptions = read_descriptions(path, point_ids)
    if control == "centre_spectrum":
        return descriptions["centre_pixel"]
    return np.column_stack([descriptions["band_mean"], descriptions["band_std"]])
