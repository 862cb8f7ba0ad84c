"""The options of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from terralucas.data.dataset import DatasetSpec


@dataclass(frozen=True)
class PredictOptions:
    """Options of a prediction. Batch size, precision and device can change the last digits of its probabilities.

    Attributes:
        batch_size: chips in a forward pass.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `32`, `16-mixed` or `bf16-mixed`.
        coverage: share of chips whose set should contain the true class; None for that of the selection.
        allow_offset: whether chips may be brighter or darker than the training chips by the offset of baseline 04.00.
        allow_band_order: whether chips may look as if their bands had another order than those of the study, or a band
            another scale than the others.
    """

    batch_size: int = 32
    device: str = "auto"
    precision: str = "32"
    coverage: float | None = None
    allow_offset: bool = False
    allow_band_order: bool = False

    def coverage_of(self, selection: Mapping[str, Any]) -> float:
        """Return the coverage: that of a selection (selection.yaml) if the options have none of their own."""
        return float(self.coverage or selection["conformal"]["goal"])

    def checked_by(self, spec: DatasetSpec) -> DatasetSpec:
        """Return the description of a study's dataset with the checks that new chips must pass."""
        return replace(spec, checks=replace(spec.checks, band_levels=False)) if self.allow_band_order else spec
