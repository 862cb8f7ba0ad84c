"""Write and read the predictions of runs and controls; no other module knows this file format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from terralucas.errors import StudyError
from terralucas.files import atomic_path

# The possible results of a run that has ended.
FINISHED, DIVERGED = "finished", "diverged"


@dataclass(frozen=True)
class PredictionTable:
    """The columns of a predictions.parquet.

    Attributes:
        point_ids: (m,) ids of the chips.
        parts: (m,) "validation" or "test".
        labels: (m,) class indices.
        logits: (m, K) float32; for a control, the logarithms of its probabilities.
    """

    point_ids: Sequence[str]
    parts: np.ndarray
    labels: np.ndarray
    logits: np.ndarray

    def accuracies(self, part: str) -> dict[str, float]:
        """Return the number of chips, macro accuracy and micro accuracy of a part, for log messages of a job."""
        in_part = self.parts == part
        macro, micro = accuracies(self.labels[in_part], self.logits[in_part].argmax(axis=1))
        return {"n": int(in_part.sum()), "macro_accuracy": macro, "micro_accuracy": micro}


def write_predictions(path: Path, table: PredictionTable) -> None:
    """Write predictions.parquet atomically."""
    logits = pa.array(np.asarray(table.logits, dtype=np.float32).reshape(-1), pa.float32())
    columns = {
        "point_id": pa.array(table.point_ids, pa.string()),
        "split": pa.array(table.parts.tolist(), pa.string()),
        "label": pa.array(table.labels, pa.int64()),
        "logits": pa.FixedSizeListArray.from_arrays(logits, table.logits.shape[1]),
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)


def read_predictions(path: Path) -> PredictionTable:
    """Read predictions.parquet.

    Raises:
        StudyError: the file is damaged.
    """
    # `pq.read_table` would import pyarrow's dataset module and pandas, which takes a second.
    try:
        table = pq.ParquetFile(path).read()
        if missing := {"point_id", "split", "label", "logits"} - set(table.column_names):
            raise pa.ArrowInvalid(f"no column {', '.join(sorted(missing))}")
    except (pa.ArrowException, OSError) as error:
        # A missing file, or a disk that fails, is no damaged file.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise StudyError(
            f"The predictions {path} cannot be read.",
            found=str(error).splitlines()[0],
            remedy=f"delete the folder {Path(path).parent} and start the study again, which repeats the run",
        ) from None
    labels = table["label"].to_numpy()
    logits = np.asarray(table["logits"].combine_chunks().flatten()).reshape(len(labels), -1)
    return PredictionTable(table["point_id"].to_pylist(), np.array(table["split"].to_pylist()), labels, logits)


def accuracies(labels: np.ndarray, predictions: np.ndarray) -> tuple[float, float]:
    """Return macro accuracy (mean recall of the classes that occur) and micro accuracy (share of correct chips)."""
    n = np.bincount(labels)
    hits = np.bincount(labels[labels == predictions], minlength=len(n))
    return float((hits[n > 0] / n[n > 0]).mean()), float(hits.sum() / n.sum())
