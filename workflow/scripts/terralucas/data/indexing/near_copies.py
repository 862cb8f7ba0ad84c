"""Find chips that share most of their pixels: copies of which some pixels were changed, masked or cut off.

Chips are compared by their sketches (`terralucas.data.chips.sketches`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from terralucas.data.chips.sketches import SKETCH

# Copies whose crop is shifted by a pixel share 0.88 of the squares of both, at 32 pixels a side.
_MIN_SHARE = 0.75
# Of the chips that have a square, so many are compared, so that time does not grow with the square of their number.
_MOST_CHIPS = 50


def find_near_copies(sketches: Sequence[np.ndarray]) -> list[int | None]:
    """Return for each chip the position of the chip that shares most of its squares; None without a near copy.

    Args:
        sketches: the result of `sketch_squares` of each chip.
    """
    empty = np.empty(0, dtype=np.uint64)
    values = np.concatenate([empty, *sketches])
    owner = np.repeat(np.arange(len(sketches)), np.array([len(sketch) for sketch in sketches], dtype=int))
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    edges = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1, [len(values)]])
    common: dict[int, Counter[int]] = {}
    for start, end in itertools.pairwise(edges.tolist()):
        if end - start > 1:
            chips = owner[start:end].tolist()
            for chip in chips:
                common.setdefault(chip, Counter()).update(other for other in chips[:_MOST_CHIPS] if other != chip)
    found: list[int | None] = [None] * len(sketches)
    for number, counts in common.items():
        nearest = (other for other, _ in counts.most_common(5))
        share, other = max((_share(sketches[number], sketches[other]), -other) for other in nearest)
        found[number] = -other if share >= _MIN_SHARE else None
    return found


def _share(first: np.ndarray, second: np.ndarray) -> float:
    """Return the estimated share of common squares in all squares of two chips (Jaccard's index)."""
    both = np.union1d(first, second)[:SKETCH]
    return float(np.mean(np.isin(both, first) & np.isin(both, second)))
