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


def find_near_copies(sketches: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Return the positions of each two chips that share most of their squares, the smaller one first.

    Of more than `_MOST_CHIPS` copies of one chip, each is paired with the first ones at least.

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
    # Squares of more chips than are compared: any other chip may have them in common.
    crowded: Counter[int] = Counter()
    for start, end in itertools.pairwise(edges.tolist()):
        if end - start > 1:
            chips = owner[start:end].tolist()
            for place, chip in enumerate(chips):
                common.setdefault(chip, Counter()).update(chips[: min(place, _MOST_CHIPS)])
            if len(chips) > _MOST_CHIPS:
                crowded.update(chips)
    return sorted(
        (other, number)
        for number, counts in common.items()
        for other, count in counts.items()
        # Two sketches with this share have at least as much of each in common.
        if count + crowded[number] >= _MIN_SHARE * len(sketches[number])
        and _share(sketches[number], sketches[other]) >= _MIN_SHARE
    )


def _share(first: np.ndarray, second: np.ndarray) -> float:
    """Return the estimated share of common squares in all squares of two chips (Jaccard's index).

    Args:
        first, second: sketches: different numbers in order.
    """
    both = np.sort(np.concatenate([first, second]), kind="stable")
    is_twice = both[1:] == both[:-1]
    smallest = np.delete(both, np.flatnonzero(is_twice))[:SKETCH]
    return int(np.searchsorted(both[1:][is_twice], smallest[-1], side="right")) / len(smallest)
