"""A decoded chip, and what its stored values show of missing data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from terralucas.data.chips.reflectance import REFLECTANCE_RANGE
from terralucas.data.dataset import DN_PER_REFLECTANCE, OFFSET_DN
from terralucas.data.rasters.georeference import Centre

# Sun glint can be brighter than `REFLECTANCE_RANGE`, but neither as bright as this, nor in exactly the values that
# programs write for missing data: the ends of 16-bit integers, the -9999 of GIS, and the -10000 of MAJA, which is a
# reflectance of -1.
_POSSIBLE_REFLECTANCE = (-1.0, 10.0)
# Corrections of atmosphere and terrain can make deep shade this dark, but not many pixels with one value.
_DEEP_SHADE, _REPEATED = -0.3, 3
_MARKS_OF_MISSING = (-32768, -9999, 32767, 65535)
# The same after the scale of Sentinel-2, and 65535 after its offset since baseline 04.00.
_SCALED_MARKS = (-0.9999, 3.2767, 6.5535, 6.4535)
# Negative DN down to -10,000 have these values in 16 bits without a sign, or 1,000 less where a program subtracts the
# offset of Sentinel-2's baseline 04.00 after that. No ground is so bright in whole DN.
_FIRST_WRAPPED, _LAST_WRAPPED = 2**16 - 10_000, 2**16 - 2
# Of a DN that float32 holds as reflectance.
_ROUNDING_DN = 0.02
# In fewer bands, grey ground can have one value in all of them.
_BANDS_OF_PATCHES = 4
# Clouds that are cut off at one value have at least this reflectance, or are the brightest pixels of their chip.
_CLOUD_REFLECTANCE = 1.0


@dataclass(frozen=True)
class Chip:
    """A decoded chip; `make_chip` builds it.

    Attributes:
        values: (bands, height, width) float32 surface reflectance, nominally 0..1; NaN for missing pixels.
        dtypes: type of the values of each band in the file, such as `uint16`.
        descriptions: descriptions of the bands in the file; None for a band without one.
        scaling: scale and offset of each band in the file, which `values` contain already; (1, 0) without tags.
        fill_value: the commonest of the stored values that fill pixels: pixels have it in every band, and its
            reflectance is not above 0. It usually means missing data. None without such pixels.
        fill_fraction: share of the pixels with this value, missing ones not counted.
        impossible_value: the commonest of the stored values that no ground has; None without such a value.
        impossible_pixels: number of the pixels that have such a value in any band.
        negative_dn: the negative DN that `impossible_value` seems to have been in 16 bits without a sign; None if not.
        patch_value: the commonest of the stored values that pixels have in every band and whose reflectance is above 0;
            None without such pixels, and in chips of fewer than 4 bands.
        patch_fraction: share of the pixels with this value.
        patch_may_be_cloud: whether it is so bright that it may be a saturated cloud.
        centre: where the file says that the centre of the chip is on Earth; None if it does not.
        simulated: whether the file says that this project simulated it.
        is_cropped: whether the file is larger, and only its middle was decoded.
        all_descriptions: descriptions of all bands of the file, also of those that were not decoded.
        wrong_colours: what the file says of the colours of its bands, if that contradicts the bands of the dataset.
    """

    values: np.ndarray
    dtypes: tuple[str, ...]
    descriptions: tuple[str | None, ...]
    scaling: tuple[tuple[float, float], ...]
    fill_value: float | None
    fill_fraction: float
    centre: Centre | None
    impossible_value: float | None
    impossible_pixels: int
    negative_dn: int | None
    patch_value: float | None
    patch_fraction: float
    patch_may_be_cloud: bool
    simulated: bool
    is_cropped: bool = False
    all_descriptions: tuple[str | None, ...] = ()
    wrong_colours: str | None = None

    @property
    def dtype(self) -> str:
        """The type of the values of all bands, or the types of a scene whose files have several."""
        return " and ".join(dict.fromkeys(self.dtypes))

    @property
    def has_whole_numbers(self) -> bool:
        """Whether the file has whole numbers in all bands."""
        return all(np.dtype(name).kind in "iu" for name in self.dtypes)


def make_chip(
    raw: np.ndarray,
    values: np.ndarray,
    dtypes: Sequence[str],
    descriptions: tuple[str | None, ...],
    scaling: tuple[tuple[float, float], ...],
    centre: Centre | None = None,
    simulated: bool = False,
) -> Chip:
    """Return a chip with what its stored values show of missing data, which the checks of chips need.

    Args:
        raw: (bands, height, width) values as stored, in a type that holds those of all bands.
        values: their reflectance, NaN where they are missing.
        dtypes: see `Chip`, as the arguments after it.
        descriptions: see `Chip`.
        scaling: see `Chip`.
        centre: see `Chip`.
        simulated: see `Chip`.
    """
    equal = _find_equal(raw, values)
    fill = _find_fill(equal, raw, values)
    patches = equal & ~fill if len(raw) >= _BANDS_OF_PATCHES else np.zeros_like(fill)
    fill_value, fill_fraction = _measure_commonest(raw[0], fill)
    patch_value, patch_fraction = _measure_commonest(raw[0], patches)
    impossible_value, impossible_pixels, negative_dn = _find_impossible(raw, values, dtypes)
    return Chip(
        values=values,
        dtypes=tuple(dtypes),
        descriptions=descriptions,
        scaling=scaling,
        fill_value=fill_value,
        fill_fraction=fill_fraction,
        centre=centre,
        impossible_value=impossible_value,
        impossible_pixels=impossible_pixels,
        negative_dn=negative_dn,
        patch_value=patch_value,
        patch_fraction=patch_fraction,
        patch_may_be_cloud=patch_value is not None
        and _may_be_cloud(values[:, patches & (raw[0] == patch_value)], values),
        simulated=simulated,
    )


def _find_fill(equal: np.ndarray, raw: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return where pixels with one stored value in every band are dark, (height, width) booleans.

    Water can be 0 in some bands, and clouds can be saturated in every band, but no ground is 0 in every band.
    """
    if not equal.any():
        return equal
    fill = equal.copy()
    fill[equal] = np.all((raw[:, equal] == 0) | (values[:, equal] <= 0), axis=0)
    return fill


def _find_equal(raw: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return where pixels have one stored value in every band and none is missing, (height, width) booleans."""
    equal = np.isfinite(values[0])
    for stored, reflectance in zip(raw[1:], values[1:], strict=True):
        equal &= (stored == raw[0]) & np.isfinite(reflectance)
        if not equal.any():  # as in almost all chips after the second band
            break
    return equal


def _may_be_cloud(patch: np.ndarray, values: np.ndarray) -> bool:
    """Return whether the reflectance (bands, pixels) of a patch may be that of a saturated cloud in the chip."""
    return bool(patch.max() >= min(_CLOUD_REFLECTANCE, np.nanmax(values)))


def _find_impossible(
    raw: np.ndarray, values: np.ndarray, dtypes: Sequence[str]
) -> tuple[float | None, int, int | None]:
    """Return the commonest stored value that no ground has, the number of pixels that have one, and its negative DN."""
    low, high = REFLECTANCE_RANGE
    if not (np.fmin.reduce(values, axis=None) < low or np.fmax.reduce(values, axis=None) > high):
        return None, 0, None
    is_outside = (values < low) | (values > high)
    low, high = _POSSIBLE_REFLECTANCE
    dn = _wrapped_dn(raw, values, dtypes)
    is_mark = np.isin(raw, _MARKS_OF_MISSING)
    for mark in _SCALED_MARKS:
        is_mark |= np.isclose(values, mark, rtol=0, atol=2e-5)
    is_deep = values <= _DEEP_SHADE
    deep, times = np.unique(raw[is_deep], return_counts=True)
    is_mark |= is_deep & np.isin(raw, deep[times >= _REPEATED])
    is_impossible = is_outside & (is_mark | (values <= low) | (values > high) | (dn != 0))
    found, counts = np.unique(raw[is_impossible], return_counts=True)
    if not len(found):
        return None, 0, None
    value = found[counts.argmax()]
    negative = dn[is_impossible & (raw == value)]
    return float(value), int(is_impossible.any(axis=0).sum()), int(negative[0]) if negative.all() else None


def _wrapped_dn(raw: np.ndarray, values: np.ndarray, dtypes: Sequence[str]) -> np.ndarray:
    """Return the negative DN that values seem to have been before they were stored in 16 bits without a sign, or 0.

    Programs that subtract from such numbers may write the result in another type.
    """
    dn = values.astype(np.float64) * DN_PER_REFLECTANCE
    whole = np.rint(dn)
    is_wrapped = (whole >= _FIRST_WRAPPED - OFFSET_DN) & (whole <= _LAST_WRAPPED)
    is_whole = np.abs(dn - whole) < _ROUNDING_DN
    for band, name in enumerate(dtypes):
        if name == "uint16":
            whole[band] = raw[band]
            is_wrapped[band] = (raw[band] >= _FIRST_WRAPPED) & (raw[band] <= _LAST_WRAPPED)
        elif np.count_nonzero(is_whole[band] & is_wrapped[band]) <= np.count_nonzero(is_wrapped[band]) / 2:
            # Of very bright glint, few values are whole, by chance.
            is_wrapped[band] = False
    return np.where(is_wrapped, whole - 2**16, 0)


def _measure_commonest(raw: np.ndarray, chosen: np.ndarray) -> tuple[float | None, float]:
    """Return the commonest stored value of the chosen pixels of a band, and the share of all pixels that have it.

    Args:
        raw: (height, width) stored values.
        chosen: booleans of the same shape.
    """
    if not chosen.any():
        return None, 0.0
    values, counts = np.unique(raw[chosen], return_counts=True)
    return float(values[counts.argmax()]), float(counts.max() / chosen.size)
