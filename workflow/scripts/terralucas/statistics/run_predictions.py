"""The predictions of a run, found in the study's index."""

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


def read_run_predictions(path: Path, names: Mapping[str, Any], rows: Mapping[str, int]) -> RunPredictions:
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
