"""The predictions of a run, with the rows of its chips in the study's index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from terralucas.errors import StudyError
from terralucas.predictions import read_predictions


@dataclass(frozen=True)
class Part:
    """Predictions for the chips of one part of a split.

    Attributes:
        chips: (m,) rows of the chips in the study's index.
        labels: (m,) class indices.
        logits: (m, K) logits.
    """

    chips: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True)
class RunPredictions:
    """The predictions of one run, or of one control with one seed.

    Attributes:
        names: backbone, loss, decoder, seed.
        test: predictions for the test chips.
        validation: predictions for the validation chips, or None if the study validates on the test chips.
    """

    names: Mapping[str, Any]
    test: Part
    validation: Part | None

    @property
    def choosing(self) -> Part:
        """Predictions for the chips on which a setting is chosen: the validation chips, or else the test chips."""
        return self.validation or self.test

    @property
    def chosen_on(self) -> str:
        """Name of the part on which a setting is chosen: `validation` or `test`."""
        return "test" if self.validation is None else "validation"


def read_run_predictions(path: Path, names: Mapping[str, Any], rows: Mapping[str, int]) -> RunPredictions:
    """Read the predictions of a run and find its chips in the study's index.

    Args:
        path: predictions.parquet.
        names: backbone, loss, decoder, seed.
        rows: point id → row of the index.

    Raises:
        StudyError: a chip is not in the index, or a logit is not a finite number.
    """
    table = read_predictions(path)
    unknown = [point_id for point_id in table.point_ids if point_id not in rows]
    if unknown:
        raise StudyError(
            f"The predictions {path} are of other chips than the study's.",
            found=f"{len(unknown)} chips that are not in the index, for example {unknown[0]!r}",
            expected=f"only chips from the {len(rows)} chips of the index",
            remedy="delete the folder and start the study again, which repeats the run",
        )
    if not np.isfinite(table.logits).all():
        raise StudyError(
            f"The predictions {path} contain numbers that are not finite.",
            remedy="the run diverged: leave it out of the comparison, and report that",
        )
    chips = np.array([rows[point_id] for point_id in table.point_ids], dtype=np.int64)
    parts = {
        part: Part(chips[table.parts == part], table.labels[table.parts == part], table.logits[table.parts == part])
        for part in ("validation", "test")
    }
    return RunPredictions(names, parts["test"], parts["validation"] if len(parts["validation"].chips) else None)
