"""Find pixels without data that nothing declares as missing: in some bands alone, and padding at the edges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from terralucas.data.chips.calm_water import VISIBLE, are_calm_water
from terralucas.data.chips.sampling import sample_pixels, turn
from terralucas.data.chips.sketches import hash_spectra

# Where one band is this bright, no other one of the same ground is exactly 0. Water is not that bright.
BRIGHT = 0.1
# Where a correction of the atmosphere cuts values off at 0, many pixels are a little above it. Missing data have none.
_LITTLE, _FEW = 0.005, 0.1
# Values of a band for each row of a chip that are few, and the share of a row that is much of one value.
_COARSE_VALUES, _MUCH = 2, 0.5
# Share of a band, and of all bands together, with one value. Calm water and shade vary more than that.
_ALMOST_ALL, _MANY = 0.99, 0.1
# Reflectance of missing pixels after a lossy compression; no ground is that dark in every band.
_NOTHING = 3.5e-4
# Shade from which a correction of the atmosphere took too much is as dark, but its edge has at most this.
_SHADE = 0.02
# Reflectance that is the same but for rounding.
SAME = np.float32(1e-6)
# One value of at most 2 DN is that of water whose infrared is cut off; darker spectra than this are water too.
_CUT_OFF, _WATER = 2.5e-4, 0.03
# Clouds that are cut off at one value are at least this bright in every band.
_CLOUD = 0.3
# Equal rows or columns at an edge: at least so many, and more than this share of the side. Pixels that were made
# smaller repeat too, but everywhere. EuroSAT's chips of 64 px repeat their first row and column once, and so do
# copies of them of any size.
_EDGE_PX, _EDGE_SHARE = 4, 0.04
# Far more than any reflectance.
_FAR = 1e9
# In fewer bands, grey ground can have one value in all of them.
_MIN_BANDS = 4


def find_zeros(
    values: np.ndarray, smallest: np.ndarray, zeros: Sequence[float], bands: Sequence[str]
) -> tuple[str, float]:
    """Return the band with the largest share of pixels that are 0 where another band is bright, and this share.

    An infrared band is compared with infrared bands, because water is bright in the visible ones alone.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
        smallest: (bands,) smallest value of each band.
        zeros: reflectance of a stored 0 in each band.
        bands: names of the bands.
    """
    worst = (bands[0], 0.0)
    # In most chips, every band is brighter than a stored 0 everywhere.
    zero = np.asarray(zeros, dtype=np.float32)
    if (smallest > zero + 2 * SAME).all():
        return worst
    is_zero = np.abs(values - zero[:, None, None]) <= SAME
    if not is_zero.any():
        return worst
    level = np.where(np.isfinite(values) & ~is_zero, values, -np.inf)
    for number, band in enumerate(bands):
        if not is_zero[number].any():
            continue
        found = is_zero[number] & is_bright_beside(level, number, bands)
        if found.mean() > worst[1] and not has_little_more(level[number], float(zero[number]), found.sum()):
            worst = (band, float(found.mean()))
    return worst


def is_bright_beside(level: np.ndarray, number: int, bands: Sequence[str]) -> np.ndarray:
    """Return the (height, width) pixels in which another band is brighter than any dark ground.

    Args:
        level: (bands, height, width) reflectance, -inf for missing pixels.
        number: position of the band; infrared bands are compared with infrared ones, as water is bright in others.
        bands: names of the bands.
    """
    is_visible = bands[number] in VISIBLE
    compared = [i for i, other in enumerate(bands) if i != number and (is_visible or other not in VISIBLE)]
    return level[compared].max(axis=0, initial=-np.inf) > BRIGHT


def has_little_more(level: np.ndarray, value: float, count: int) -> bool:
    """Return whether a band has many pixels a little above a value, as a correction of the atmosphere leaves them.

    In coarse numbers, such as those of 8 bits, one step counts, too.
    """
    numbers, counts = np.unique(level[level > value], return_counts=True)
    step = float(np.diff(numbers).min()) if len(numbers) > 1 else 0.0
    return int(counts[numbers <= value + max(_LITTLE, step + float(SAME))].sum()) >= _FEW * count


def find_almost_constant(values: np.ndarray, bands: Sequence[str]) -> int | None:
    """Return the position of a band of which almost all pixels have one value that is not of calm water, or None.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels; each band has a value.
        bands: names of the bands.
    """
    sample = sample_pixels(values).reshape(len(values), -1)
    if np.isfinite(sample).all():
        # Most bands vary in the pixels of a sample already. A pixel that differs from the commonest value makes at most
        # one of these pairs unequal.
        unequal = np.count_nonzero(sample[:, :-1:2] != sample[:, 1::2], axis=1)
        numbers = np.flatnonzero(unequal <= (1 - _ALMOST_ALL) * sample.shape[1] + 1).tolist()
        numbers = [number for number in numbers if _is_almost_constant(sample[number])]
    else:
        numbers = list(range(len(values)))
    numbers = [number for number in numbers if _is_almost_constant(values[number][np.isfinite(values[number])])]
    if numbers and are_calm_water(values.reshape(len(values), -1), values, bands):
        return None
    return next(iter(numbers), None)


def _is_almost_constant(numbers: np.ndarray) -> bool:
    common = np.partition(numbers, len(numbers) // 2)[len(numbers) // 2]
    return bool(common > _CUT_OFF and np.count_nonzero(numbers == common) >= _ALMOST_ALL * len(numbers))


def measure_padding(values: np.ndarray, bands: Sequence[str]) -> tuple[str, float]:
    """Return what fills pixels of a chip as padding does, and their share; 0 without any.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
        bands: names of the bands.
    """
    if len(values) >= _MIN_BANDS:
        sample = sample_pixels(values)
        present = np.isfinite(sample).all(axis=0)
        found, count = _commonest(hash_spectra(sample[:1])[present])
        # Where no value of the first band fills many pixels, no spectrum does.
        if count > _MANY * present.size:
            spectra = hash_spectra(sample)
            found, count = _commonest(spectra[present])
        if count > _MANY * present.size:
            spectrum = sample[:, present & (spectra == found)][:, 0]
            brightest = spectrum.max()
            is_cloud = spectrum.min() >= _CLOUD and brightest >= min(1.0, float(np.nanmax(values)))
            if brightest > _WATER and not is_cloud and not are_calm_water(spectrum[:, None], values, bands):
                return "one value in each band", count / present.size
    turned = [turn(values, turns)[:, :_EDGE_PX] for turns in range(4)]
    if not any((edge[:, 1:] == edge[:, :-1]).all() for edge in turned):
        return "", 0.0
    spectra, present = hash_spectra(values), np.isfinite(values).all(axis=0)
    share, name = max((_edge_run(spectra, present), "rows"), (_edge_run(spectra.T, present.T), "columns"))
    return f"equal {name} at an edge", share


def measure_nothing(values: np.ndarray) -> tuple[str, float]:
    """Return what is said of pixels that are almost 0 in every band, and their share; 0 in fewer than 4 bands.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
    """
    if len(values) < _MIN_BANDS:
        return "", 0.0
    darkness = np.abs(sample_pixels(values)).max(axis=0)
    found, dark = darkness <= _NOTHING, (darkness > _NOTHING) & (darkness <= _SHADE)
    is_shade = dark.sum() >= _FEW * found.sum()
    return "values of almost 0 in every band", 0.0 if is_shade else float(found.mean())


def measure_repeated_edge(values: np.ndarray) -> tuple[str, float]:
    """Return what of the rows or columns at an edge repeats others of the chip, and their share; 0 without any.

    Padding of chips at the margin of a scene mirrors the pixels beside it, or continues with those of the other side.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
    """
    worst = ("", 0.0)
    if np.isnan(values.min()):
        # Missing pixels are repeated, too, and differ from all others.
        values = np.nan_to_num(values, nan=_FAR)
    for turns in range(4):
        turned = turn(values, turns)
        # Most rows differ in their first pixels of the first band already.
        candidates = np.flatnonzero((turned[0, :, :8] == turned[0, 0, :8]).all(axis=1))[1:].tolist()
        like_first = [row for row in candidates if (turned[:, row] == turned[:, 0]).all()]
        # Pixels that were made smaller by repeating them have equal neighbours.
        if not like_first or like_first[0] == 1 or (turned[:, 0] == turned[:, 0, :1]).all():
            continue
        side, where = turned.shape[1], "columns" if turns % 2 else "rows"
        for row in like_first:
            mirrored, continued = (row + 1) // 2, side - row
            if mirrored > 1 and (turned[:, :mirrored] == turned[:, row : row - mirrored : -1]).all():
                worst = max(worst, (f"mirrored {where} at an edge", mirrored / side), key=lambda found: found[1])
            if continued > 1 and (turned[:, :continued] == turned[:, row:]).all():
                worst = max(worst, (f"{where} of one edge at the other", continued / side), key=lambda found: found[1])
    return worst


def measure_flat_edge(values: np.ndarray, bands: Sequence[str]) -> tuple[str, float]:
    """Return what of the rows or columns at an edge has a single value, and their share of all; 0 without any.

    A band counts that has one value in a whole row, or in two if it is the only one. Values of water and of saturated
    clouds do not count.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
        bands: names of the bands.
    """
    worst = ("", 0.0)
    if min(values.shape[1:]) == 1:  # a single pixel is no row of one value
        return worst
    for turns in range(4):
        turned = turn(values, turns)
        flat = np.flatnonzero((turned[:, 0] == turned[:, 0, :1]).all(axis=1))
        if not len(flat):
            continue
        # In water, bands differ.
        edge = turned[flat, 0, 0]
        is_fill = 1 < len(flat) == len(bands) and edge[0] > _CUT_OFF and bool((edge == edge[0]).all())
        runs = {int(number): _flat_rows(turned, int(number), bands, may_be_water=not is_fill) for number in flat}
        found = [number for number, rows in runs.items() if rows >= (1 if len(flat) > 1 else 2)]
        if not found:
            continue
        share = max(runs[number] for number in found) / turned.shape[1]
        if share > worst[1]:
            which = f"band {', '.join(bands[number] for number in found)}" if len(found) < len(bands) else "each band"
            worst = (f"one value in {which} in the {'columns' if turns % 2 else 'rows'} at an edge", share)
    return worst


def _flat_rows(values: np.ndarray, number: int, bands: Sequence[str], *, may_be_water: bool) -> int:
    """Return in how many of the first rows a band has one value; 0 for that of water or of saturated clouds.

    A band that has one value almost everywhere counts as 0, too: another check finds it.
    """
    band, value = values[number], float(values[number, 0, 0])
    is_equal = band == value
    if is_equal.mean() >= _ALMOST_ALL:
        return 0
    rows = int(is_equal.all(axis=1).argmin())
    # In coarse values of a small chip, a calm field has rows of one value; the row beside them has much of it then.
    is_coarse = len(np.unique(band)) <= _COARSE_VALUES * len(band)
    if is_coarse and is_equal[rows].mean() >= _MUCH:
        return 0
    # Water is bright in the visible bands alone, and snow too.
    level = [float(np.nanmedian(other[:rows])) if np.isfinite(other[:rows]).any() else 0.0 for other in values]
    is_visible = [name in VISIBLE for name in bands]
    infrared = [x for i, x in enumerate(level) if i != number and not is_visible[i]]
    alike = [x for i, x in enumerate(level) if i != number and is_visible[i] == is_visible[number]]
    beside = level if is_visible[number] else infrared
    is_dark = value <= _WATER and max(beside, default=0.0) <= BRIGHT
    is_water = may_be_water and (is_dark or are_calm_water(values[:, :rows].reshape(len(values), -1), values, bands))
    is_cloud = value >= max(_CLOUD, min(1.0, float(np.nanmax(band)))) and min(alike, default=_CLOUD) >= _CLOUD
    return 0 if is_water or is_cloud else rows


def _commonest(numbers: np.ndarray) -> tuple[np.uint64, int]:
    """Return the most frequent of some numbers, and how often it is there; 0 times without numbers.

    This takes a third of the time of `numpy.unique`.
    """
    ordered = np.sort(numbers)
    ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]])) + 1 if len(ordered) else np.array([0])
    counts = np.diff(ends, prepend=0)
    most = int(counts.argmax())
    return np.uint64(ordered[ends[most] - 1] if len(ordered) else 0), int(counts[most])


def _edge_run(lines: np.ndarray, present: np.ndarray) -> float:
    """Return the share of the lines that repeat at one edge as they do nowhere else; 0 if there are few."""
    if len(lines) == 1:
        return 0.0
    varies = (lines != lines[:, :1]).any(axis=1) & present.any(axis=1)
    equal = (lines[1:] == lines[:-1]).all(axis=1) & varies[1:]
    runs = [(is_equal, len(list(group)) + 1) for is_equal, group in groupby(equal.tolist())]
    at_edge = max((length for is_equal, length in (runs[0], runs[-1]) if is_equal), default=0)
    inside = max((length for is_equal, length in runs[1:-1] if is_equal), default=1)
    is_padding = at_edge >= max(_EDGE_PX, 2 * inside) and at_edge > _EDGE_SHARE * len(lines)
    return at_edge / len(lines) if is_padding else 0.0
