"""The predictions of runs and controls: one file format, written and read here alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from terralucas.errors import StudyError
from terralucas.files import atomic_path

# What became of a run that has ended.
FINISHED, DIVERGED = "finished", "diverged"


@dataclass(frozen=True)
class PredictionTable:
    """The columns of a predictions.parquet.

    Attributes:
        point_ids: (m,) ids of the chips.
        parts: (m,) "validation" or "test".
        labels: (m,) class indices.
        logits: (m, K) float32; of a control the logarithms of its probabilities.
    """

    point_ids: Sequence[str]
    parts: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class Part:
    """Predictions for the chips of one part.

    Attributes:
        chips: (m,) rows of the chips in the study's index.
        labels: (m,) class indices.
        logits: (m, K).
    """

    chips: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class RunPredictions:
    """What one run (or one control with one seed) predicts.

    Attributes:
        names: backbone, loss, decoder, seed.
        test: its test chips.
        validation: its validation chips, or None where the study validates on the test chips.
    """

    names: Mapping[str, Any]
    test: Part
    validation: Part | None

    @property
    def choosing(self) -> Part:
        """The chips on which anything is chosen: validation chips, or the test chips where there are no others."""
        return self.validation or self.test

    @property
    def chosen_on(self) -> str:
        """Name of that part."""
        return "test" if self.validation is None else "validation"


def write_predictions(path: Path, table: PredictionTable) -> None:
    """Write predictions.parquet, whole or not at all."""
    logits = pa.array(np.asarray(table.logits, dtype=np.float32).reshape(-1), pa.float32())
    columns = pa.table({
        "point_id": pa.array(table.point_ids, pa.string()),
        "split": pa.array(table.parts.tolist(), pa.string()),
        "label": pa.array(table.labels, pa.int64()),
        "logits": pa.FixedSizeListArray.from_arrays(logits, table.logits.shape[1]),
    })  # fmt: skip
    with atomic_path(path) as temporary:
        pq.write_table(columns, temporary)


def read_predictions(path: Path) -> PredictionTable:
    """Read predictions.parquet."""
    # A plain ParquetFile: pyarrow's read_table imports its dataset module and pandas for a second.
    table = pq.ParquetFile(path).read()
    labels = table["label"].to_numpy()
    logits = np.asarray(table["logits"].combine_chunks().flatten()).reshape(len(labels), -1)
    return PredictionTable(table["point_id"].to_pylist(), np.array(table["split"].to_pylist()), labels, logits)


def load_run(path: Path, names: Mapping[str, Any], rows: Mapping[str, int]) -> RunPredictions:
    """Read the predictions of a run and find its chips in the study's index.

    Args:
        path: predictions.parquet.
        names: backbone, loss, decoder, seed.
        rows: point id → row of the index.

    Raises:
        StudyError: a chip is not in the index, or a logit is no finite number.
    """
    table = read_predictions(path)
    strangers = [point_id for point_id in table.point_ids if point_id not in rows]
    if strangers:
        raise StudyError(
            f"The predictions {path} are of other chips than the study's.",
            found=f"{len(strangers)} chips that are not in the index, as {strangers[0]!r}",
            expected=f"chips out of the {len(rows)} of the index",
            remedy="delete the folder; the run is made again",
        )
    if not np.isfinite(table.logits).all():
        raise StudyError(
            f"The predictions {path} hold numbers that are not finite.",
            remedy="the run diverged: leave it out of the comparison, and say so",
        )
    chips = np.array([rows[point_id] for point_id in table.point_ids], dtype=np.int64)
    parts = {
        part: Part(chips[table.parts == part], table.labels[table.parts == part], table.logits[table.parts == part])
        for part in ("validation", "test")
    }
    return RunPredictions(names, parts["test"], parts["validation"] if len(parts["validation"].chips) else None)


def class_shares(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """(K,) share of each class among training chips.

    Raises:
        StudyError: a class has no chip.
    """
    counts = np.bincount(labels, minlength=n_classes)
    if not counts.all():
        raise StudyError(
            "The training part lacks a class.",
            found=f"no chip of class number {', '.join(map(str, np.flatnonzero(counts == 0)))}",
            expected=f"chips of all {n_classes} classes",
            remedy="delete the study's splits/ folder; the splits are made again",
        )
    return counts / counts.sum()
