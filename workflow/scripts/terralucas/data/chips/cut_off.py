"""Find a band whose darker values were cut off: many pixels have one dark value where another band is bright.

Products write 1 for the darkest ground, because 0 means missing data. So what subtracts an offset twice, or
from values that do not have it, leaves 0 or 1 in the dark part of a chip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from terralucas.data.chips.calm_water import VISIBLE
from terralucas.data.chips.gaps import SAME, has_little_more, is_bright_beside

# No ground is as dark in many pixels, except snow in short-wave infrared: 10 DN.
DARKEST = np.float32(1e-3)
_SHORT_WAVE, _SNOW = ("SWIR_1", "SWIR_2"), 0.3
# A value at which others were cut off has so many times the pixels that a value of the band has on average. Coarse
# numbers and pixels that were made smaller by repeating them have few values, with many pixels each.
_TIMES = 4
# Share of the pixels of such a value that may be smaller: errors, and missing pixels that are 0.
_SMALLER = 0.1


@dataclass(frozen=True)
class CutOff:
    """A value at which darker ones seem to be cut off.

    Attributes:
        band: name of the band.
        value: reflectance.
        share: share of the pixels that have it where another band is bright.
        is_missing: whether these pixels reach from an edge, as those outside a swath do, or are whole lines: they have
            no data then.
    """

    band: str
    value: float
    share: float
    is_missing: bool


def find_cut_off(
    values: np.ndarray, smallest: np.ndarray, zeros: Sequence[float], bands: Sequence[str], limit: float
) -> CutOff | None:
    """Return the band with the largest share of pixels that were cut off; None if no band has more than the limit.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
        smallest: (bands,) smallest value of each band.
        zeros: reflectance of a stored 0 in each band.
        bands: names of the bands.
        limit: largest share of such pixels that is no fault.
    """
    dark = np.flatnonzero(smallest <= np.array([_darkest_from(zero) for zero in zeros], dtype=np.float32))
    if not len(dark):
        return None
    level = np.where(np.isfinite(values), values, -np.inf)
    visible = [number for number, band in enumerate(bands) if band in VISIBLE]
    found = []
    for number in dark.tolist():
        value = _find_value(level[number], zeros[number], limit)
        if value is None:
            continue
        has_value = np.abs(level[number] - value) <= SAME
        is_cut_off = has_value & is_bright_beside(level, number, bands)
        if bands[number] in _SHORT_WAVE:
            is_cut_off &= level[visible].max(axis=0, initial=-np.inf) <= _SNOW
        count = int(is_cut_off.sum())
        if count > limit * is_cut_off.size and not has_little_more(level[number], value, count):
            found.append(CutOff(bands[number], value, count / is_cut_off.size, _reaches_from_an_edge(has_value)))
    return max(found, key=lambda each: (not each.is_missing, each.share), default=None)


def _find_value(band: np.ndarray, zero: float, limit: float) -> float | None:
    """Return the commonest dark value of a band; None if few pixels have it, many are darker, or numbers are coarse."""
    present = band[np.isfinite(band)]
    most = _darkest_from(zero)
    if (present <= most).sum() <= limit * band.size:
        return None
    values, counts = np.unique(present, return_counts=True)
    if len(values) < 2:
        return None
    place = int(np.where(values <= most, counts, 0).argmax())
    count, smaller = int(counts[place]), int(counts[:place].sum())
    is_one = count > limit * band.size and smaller <= _SMALLER * count and count * len(values) >= _TIMES * len(present)
    return float(values[place]) if is_one else None


def _darkest_from(zero: float) -> float:
    """Return the largest reflectance that may be one at which others were cut off; a stored 0 may be bright."""
    return max(0.0, zero) + float(DARKEST) + float(SAME)


def _reaches_from_an_edge(is_in: np.ndarray) -> bool:
    """Return whether pixels are at the beginning or the end of each row that has some, or of each column."""
    return any(int((lines[:, 1:] != lines[:, :-1]).sum(axis=1).max(initial=0)) <= 1 for lines in (is_in, is_in.T))
