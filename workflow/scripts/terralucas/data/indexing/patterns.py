"""Find chips that show the same pattern of dark and bright ground in other values.

Copies of a chip with another brightness, contrast, noise or blur, as an augmentation makes them before the split, have
no pixel in common. But which of two neighbouring blocks of a chip is brighter stays mostly the same, as in the
"difference hash" of pictures. Chips whose patterns agree in almost all neighbours are found by parts of the patterns
that agree completely (locality-sensitive hashing; Indyk & Motwani 1998), so that not all pairs are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from terralucas.data.chips.sampling import sample_pixels

# Blocks on a side. Chips with smaller ones show too little.
_BLOCKS, _MIN_BLOCK_PX = 8, 2
# Patterns of one chip in other values differ in at most this share. Of all pairs of 100 different chips of Sentinel-2
# (EuroSAT), the closest differ in 0.35. Fewer bands than this say too little.
_MOST_DIFFERENT, _MIN_BANDS = 0.15, 3
# Mostly one direction, from dark to bright: haze, or the slope of a light over water, which many chips share.
_MOST_ONE_WAY = 0.8
# Bits of a part that has to agree, and how many chips with one part are compared.
_PART, _MOST_CHIPS = 16, 50


def measure_pattern(values: np.ndarray) -> np.ndarray | None:
    """Return which neighbouring blocks of a chip are brighter, as bits of (n,) uint8, alike in its eight orientations.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.

    Returns:
        None if the chip has too few bands or pixels, lacks some, or is mostly brighter towards one side.
    """
    sample = sample_pixels(values)
    size = min(sample.shape[1:]) // _BLOCKS
    if len(values) < _MIN_BANDS or size < _MIN_BLOCK_PX:
        return None
    shown = sample[:, : _BLOCKS * size, : _BLOCKS * size]
    blocks = shown.reshape(len(values), _BLOCKS, size, _BLOCKS, size).mean(axis=(2, 4))
    if not np.isfinite(blocks).all():
        # Gaps are alike in many chips, such as at the edge of a swath.
        return None
    blocks = _turn(blocks)
    down, right = blocks[:, 1:] > blocks[:, :-1], blocks[:, :, 1:] > blocks[:, :, :-1]
    if any(abs(each.mean() - 0.5) > _MOST_ONE_WAY - 0.5 for each in (down, right)):
        return None
    return np.packbits(np.concatenate([down.ravel(), right.ravel()]))


def _turn(blocks: np.ndarray) -> np.ndarray:
    """Turn and flip blocks: the brightest quarter of the first band is at the top left, and the next one beside it."""
    half = _BLOCKS // 2
    quarters = blocks[0].reshape(2, half, 2, half).mean(axis=(1, 3))
    row, column = np.unravel_index(int(quarters.argmax()), (2, 2))
    turned = blocks[:, :: -1 if row else 1, :: -1 if column else 1]
    quarters = quarters[:: -1 if row else 1, :: -1 if column else 1]
    return turned if quarters[0, 1] >= quarters[1, 0] else turned.transpose(0, 2, 1)


def find_alike(patterns: Sequence[np.ndarray | None]) -> list[tuple[int, int]]:
    """Return the pairs of positions of chips with almost the same pattern, in order.

    Args:
        patterns: result of `measure_pattern` of each chip; all chips have the same bands.
    """
    numbers = np.array([number for number, pattern in enumerate(patterns) if pattern is not None], dtype=int)
    if not len(numbers):
        return []
    stacked = np.stack([patterns[number] for number in numbers])
    bits = 8 * stacked.shape[1]
    found: set[tuple[int, int]] = set()
    for start in range(0, stacked.shape[1] - _PART // 8 + 1, _PART // 8):
        part = np.ascontiguousarray(stacked[:, start : start + _PART // 8]).view(np.uint16).ravel()
        order = np.argsort(part, kind="stable")
        # Chips with one part are beside each other.
        for step in range(1, min(_MOST_CHIPS, len(order) - 1) + 1):
            first, second = order[:-step], order[step:]
            same = part[first] == part[second]
            if not same.any():
                break
            first, second = first[same], second[same]
            for some in range(0, len(first), 100_000):
                a, b = first[some : some + 100_000], second[some : some + 100_000]
                differing = np.unpackbits(stacked[a] ^ stacked[b], axis=1).sum(axis=1, dtype=int)
                close = differing <= _MOST_DIFFERENT * bits
                found.update(zip(numbers[a[close]].tolist(), numbers[b[close]].tolist(), strict=True))
    return sorted({(min(pair), max(pair)) for pair in found})


def describe_alike(
    rows: Sequence[Mapping[str, Any]], patterns: Sequence[np.ndarray | None], pixel_size_m: float
) -> str | None:
    """Return a sentence about chips with almost the pattern of another one; None without any.

    Chips that overlap on the ground are not counted: they are told as such.

    Args:
        rows: rows of the index of all valid chips.
        patterns: result of `measure_pattern` of each of them.
        pixel_size_m: side of a pixel on the ground in metres.
    """

    def is_elsewhere(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
        east, north = (abs(first[name] - second[name]) for name in ("easting_m", "northing_m"))
        # Without a place, they may be anywhere.
        return not max(east, north) < pixel_size_m * first["width"]

    pairs = [(rows[i], rows[j]) for i, j in find_alike(patterns) if is_elsewhere(rows[i], rows[j])]
    if not pairs:
        return None
    alike = {row["point_id"] for pair in pairs for row in pair}
    differ = {row["point_id"] for pair in pairs for row in pair if pair[0]["label"] != pair[1]["label"]}
    first, second = pairs[0]
    return (
        f"{len(alike)} chips show the pattern of another chip in other values, such as {first['point_id']} "
        f"({first['file']}) and {second['point_id']} ({second['file']}), and {len(differ)} of them that of a chip with "
        "another label: copies with another brightness, noise or sharpness, or dates of one place. Scores are too high "
        "where one is trained on and the other tested: leave out all but one of each"
    )
