"""Refuse features from which nothing can be learned: numbers that are not finite, or equal ones for all chips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from terralucas.errors import StudyError

# Of the largest number: what rounding of float32 may change where batches have different sizes.
_ROUNDING = 1e-6
_OTHER_WEIGHTS = "use other weights for this backbone: correct backbones.<name>.weights"


def refuse_infinite(computed: Tensor, stored: Tensor, first: int, precision: str) -> None:
    """Raise an error if features of a batch are not finite.

    Args:
        computed: (n, …) features as the encoder gives them, float32.
        stored: the same in the type in which they are stored.
        first: number of the first chip of the batch.
        precision: precision of the pass: `32`, `16-mixed` or `bf16-mixed`.

    Raises:
        StudyError: with advice that fits what overflows: storage, precision or weights.
    """
    if torch.isfinite(stored).all():
        return
    found = f"NaN or infinity with precision {precision}"
    if torch.isfinite(computed).all():
        found = f"numbers up to {computed.abs().max().item():.3g}, which {_name(stored.dtype)} cannot hold"
        remedy = "set features.storage to float32"
    elif precision == "16-mixed":
        remedy = "set features.precision to 32 or bf16-mixed"
    else:
        # Both have the range of float32: another precision would not help.
        found += "; the weights are finite, but so large that the sums of the encoder are beyond the range of float32"
        remedy = _OTHER_WEIGHTS
    raise StudyError(
        f"The features of chips {first} to {first + len(stored) - 1} are not finite.",
        found=found,
        expected="finite numbers",
        remedy=remedy,
    )


def refuse_equal(features: Path) -> None:
    """Raise an error if two or more chips all have the same features: every decoder would be no better than chance.

    Two chips are never the same, because duplicates are refused. Only rows up to the first that differs are read.

    Args:
        features: .npy file with a row for each chip.
    """
    rows = np.load(features, mmap_mode="r", allow_pickle=False)
    if len(rows) < 2:
        return
    first = rows[0].astype(np.float32)
    tolerance = _ROUNDING * np.abs(first).max()
    if any(np.abs(row.astype(np.float32) - first).max() > tolerance for row in rows[1:]):
        return
    raise StudyError(
        "The features are the same for all chips: nothing can be learned from them.",
        found=f"{len(rows)} chips with equal features" + ("" if first.any() else ", which are 0"),
        expected="features that differ between chips",
        remedy=f"the weights let nothing of a chip through; {_OTHER_WEIGHTS}",
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
