"""Find a band whose darker values were cut off: many pixels have one dark value where another band is bright.

Products write 1 for the darkest ground, because 0 means missing data. So what subtracts an offset twice, or
from values that do not have it, leaves 0 or 1 in the dark part of a chip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from terralucas.data.chips.gaps import SAME, VISIBLE, has_little_more, is_bright_beside

# No ground is as dark in many pixels, except snow in short-wave infrared: 10 DN.
DARKEST = np.float32(1e-3)
_SHORT_WAVE, _SNOW = ("SWIR_1", "SWIR_2"), 0.3
# A value at which others were cut off has so many times the pixels of each other value. In coarse numbers, and in
# pixels that were made smaller by repeating them, other values have as many.
_TIMES = 4


def find_cut_off(
    values: np.ndarray, smallest: np.ndarray, zeros: Sequence[float], bands: Sequence[str], limit: float
) -> tuple[str, float, float] | None:
    """Return the band with the largest share of pixels that were cut off, this share, and the reflectance they have.

    It is None if no band has more than the limit. Pixels that reach from an edge, as those outside a swath do, and
    whole lines are not counted: they are missing.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
        smallest: (bands,) smallest value of each band.
        zeros: reflectance of a stored 0 in each band.
        bands: names of the bands.
        limit: largest share of such pixels that is no fault.
    """
    worst: tuple[str, float, float] | None = None
    dark = np.flatnonzero(smallest <= np.maximum(DARKEST, np.asarray(zeros, dtype=np.float32)) + SAME)
    if not len(dark):
        return None
    level = np.where(np.isfinite(values), values, -np.inf)
    visible = [number for number, band in enumerate(bands) if band in VISIBLE]
    for number in dark.tolist():
        value = _find_value(level[number], zeros[number], limit)
        if value is None:
            continue
        has_value = np.abs(level[number] - value) <= SAME
        is_cut_off = has_value & is_bright_beside(level, number, bands)
        if bands[number] in _SHORT_WAVE:
            is_cut_off &= level[visible].max(axis=0, initial=-np.inf) <= _SNOW
        count = int(is_cut_off.sum())
        share = count / is_cut_off.size
        if share <= (worst[1] if worst else limit) or _reaches_from_an_edge(has_value):
            continue
        if not has_little_more(level[number], value, count):
            worst = (bands[number], share, value)
    return worst


def _find_value(band: np.ndarray, zero: float, limit: float) -> float | None:
    """Return the commonest dark value of a band; None if few pixels have it, or another value is nearly as common."""
    is_dark = ((band >= -SAME) & (band <= DARKEST + SAME)) | (np.abs(band - zero) <= SAME)
    dark, others = band[is_dark], band[~is_dark & np.isfinite(band)]
    if len(dark) <= limit * band.size or not len(others):
        return None
    value, count = _commonest(dark)
    return value if count > limit * band.size and count >= _TIMES * _commonest(others)[1] else None


def _commonest(values: np.ndarray) -> tuple[float, int]:
    """Return the most frequent of some values, and how often it is there."""
    found, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    return float(found[most]), int(counts[most])


def _reaches_from_an_edge(is_in: np.ndarray) -> bool:
    """Return whether pixels are at the beginning or the end of each row that has some, or of each column."""
    return any(int((lines[:, 1:] != lines[:, :-1]).sum(axis=1).max(initial=0)) <= 1 for lines in (is_in, is_in.T))
