"""Check a decoded chip, whatever the other chips of its dataset are."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.band_levels import find_impossible_level
from terralucas.data.chips.calm_water import are_calm_water
from terralucas.data.chips.cut_off import DARKEST, CutOff, find_cut_off
from terralucas.data.chips.decoded_chip import Chip
from terralucas.data.chips.gaps import (
    find_almost_constant,
    find_zeros,
    measure_flat_edge,
    measure_nothing,
    measure_padding,
    measure_repeated_edge,
)
from terralucas.data.chips.reflectance import REFLECTANCE_RANGE, reflectance_of_zero
from terralucas.data.chips.sampling import find_quantiles, present_values, turn
from terralucas.data.dataset import DN_PER_REFLECTANCE, DatasetSpec
from terralucas.data.rasters.band_names import BandNames

MAX_SHARE_OUTSIDE = 0.01
# In the numbers of Landsat's Collection 2, a reflectance of 0 is 7,273 (USGS, Landsat 8-9 Collection 2 Level 2 Science
# Product Guide), and a little less where a correction of the atmosphere took too much.
LANDSAT_DN = 6500


def check_chip(chip: Chip, valid: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if a chip cannot be used, whatever the other chips are.

    Args:
        chip: the decoded chip.
        valid: (bands, height, width) booleans, false for missing pixels.
        spec: description of the dataset.
    """
    if spec.checks.band_descriptions:
        contradiction = BandNames(chip.descriptions, spec.may_be_landsat).find_contradiction(spec.bands)
        if contradiction is not None:
            raise ChipError("band_descriptions", contradiction, ", as in dataset.bands")
    small = [name for name in chip.dtypes if np.dtype(name).itemsize == 1]
    if spec.unit == "dn" and small:
        message = f"holds {small[0]} values, at most {np.iinfo(small[0]).max}"
        raise ChipError("dtype", f"{message}; expected DN (reflectance x {DN_PER_REFLECTANCE:,}), which need 16 bits")
    _check_missing(chip, valid, spec)
    _check_range(chip, valid, spec)
    _check_impossible(chip)
    _check_variation(chip, valid, spec)


def find_other_level(values: np.ndarray, spec: DatasetSpec) -> str | None:
    """Return what is wrong with a band that seems to have another unit or scale than the other bands; None if nothing.

    Bands in a wrong order look alike, so that the order is to be checked first.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
        spec: description of the dataset.
    """
    return find_impossible_level(values, spec.bands, spec.unit) if spec.checks.band_levels else None


def _check_missing(chip: Chip, valid: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if a chip, or a band of it, has no data or too few."""
    missing = np.array([1.0 - np.count_nonzero(band) / band.size for band in valid])
    empty = [band for band, share in zip(spec.bands, missing, strict=True) if share == 1.0]
    if empty:
        where = "any band" if len(empty) == len(spec.bands) else f"band {', '.join(empty)}"
        raise ChipError("missing_values", f"has no valid value in {where}; expected data in every band")
    worst, limit = int(missing.argmax()), spec.checks.max_nodata_fraction
    if missing[worst] > limit:
        found = f"lacks {percent_text(missing[worst])} of the values of band {spec.bands[worst]}"
        raise ChipError("missing_values", f"{found}; expected at most {percent_text(limit)}")


def _check_range(chip: Chip, valid: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if the values of a chip seem to have another unit than configured."""
    present = chip.values.ravel() if valid.all() else chip.values[valid]
    low, high = REFLECTANCE_RANGE
    is_within = low <= present.min() and present.max() <= high
    outside = present[:0] if is_within else present[(present < low) | (present > high)]
    scale = DN_PER_REFLECTANCE if spec.unit == "dn" else 1
    if outside.size > MAX_SHARE_OUTSIDE * present.size:
        cause, advice = _likely_cause(chip, present, outside, scale)
        raise ChipError(
            "value_range",
            f"has {outside.size / present.size:.0%} of its values outside {low * scale:g}..{high * scale:g} "
            f"(median {np.median(present) * scale:g}); {cause}",
            advice,
        )
    # Reflectance read as DN would be 0..2 of 10,000: inside the range, but darker than any surface. So would
    # reflectance that a scale tag scales a second time.
    is_scaled = any(factors != (1.0, 0.0) for factors in chip.scaling)
    dark = high / DN_PER_REFLECTANCE
    if (spec.unit == "dn" or is_scaled) and present.any() and _share_beyond(present, dark) < MAX_SHARE_OUTSIDE:
        most = float(np.abs(present).max())
        if spec.unit == "dn":
            found = f"has values of {most * DN_PER_REFLECTANCE:g} at most"
            message = f"{found}; expected DN (reflectance x {DN_PER_REFLECTANCE:,})"
            raise ChipError("value_range", f"{message}; they look like reflectance", ": set dataset.unit: reflectance")
        message = f"has reflectance of {most:.2g} at most after its scale tag {chip.scaling[0][0]:g}"
        raise ChipError("value_range", f"{message}; its values look scaled already: remove the tag")
    if spec.unit == "reflectance" and not is_scaled and chip.has_whole_numbers and present.max() != 0:
        message = f"holds {chip.dtype} whole numbers without a scale tag"
        raise ChipError(
            "dtype", f"{message}; expected reflectance (0..1) as fractions", ", or DN with dataset.unit: dn"
        )


# Whole numbers up to it are exact; larger ones are fill values such as -3.40282347e+38, the least of float32.
_LARGEST_WHOLE = 2**53


def _share_beyond(values: np.ndarray, limit: float) -> float:
    """Return the share of (n,) values whose magnitude is larger than a limit."""
    return (np.count_nonzero(values > limit) + np.count_nonzero(values < -limit)) / values.size


def _likely_cause(chip: Chip, present: np.ndarray, outside: np.ndarray, scale: int) -> tuple[str, str]:
    """Return the likely reason for values outside the range of the configured unit, and the advice that it gives."""
    values, counts = np.unique(outside, return_counts=True)
    commonest = float(values[counts.argmax()]) * scale
    if counts.max() > outside.size / 2 and (commonest < 0 or commonest >= np.iinfo(np.int16).max):
        value = f"{commonest:.9g}" if scale == 1 or abs(commonest) > _LARGEST_WHOLE else f"{commonest:.0f}"
        factor, offset = chip.scaling[0]
        if chip.impossible_value is not None and np.isclose(chip.impossible_value * factor + offset, commonest):
            # As the file stores it, before its tags of scale and offset.
            value = _stored_text(chip)
        return f"{value} seems to mean missing data", f": set dataset.nodata: {value}"
    if np.percentile(present, 1) * scale >= LANDSAT_DN and present.max() * scale <= np.iinfo(np.uint16).max:
        return (
            "they look like the numbers of Landsat's Collection 2",
            ": give the files the scale tag 0.0000275 and the offset tag -0.2, and set dataset.unit: reflectance",
        )
    if scale == DN_PER_REFLECTANCE:
        return f"expected DN (reflectance x {DN_PER_REFLECTANCE:,})", ""
    if outside.size < present.size / 2:
        return "expected reflectance (0..1): the file may be damaged", ""
    if np.percentile(present, 99) > np.iinfo(np.uint8).max:
        return f"they look like DN (reflectance x {DN_PER_REFLECTANCE:,})", ": set dataset.unit: dn"
    return "they look like percent or 8-bit values; expected reflectance (0..1)", ""


def _check_impossible(chip: Chip) -> None:
    """Raise a ChipError if any pixel has a value that no ground has: a few such pixels shift all statistics."""
    if chip.negative_dn is not None:
        raise ChipError(
            "impossible_values",
            f"has the value {_stored_text(chip)}, which no ground has, in {chip.impossible_pixels} of its pixels; it "
            f"seems to be {chip.negative_dn} in 16 bits without a sign",
            ": convert the values to int16 or float32 before anything is subtracted from them",
        )
    if chip.impossible_value is not None:
        raise ChipError(
            "impossible_values",
            f"has the value {_stored_text(chip)}, which no ground has, in {chip.impossible_pixels} of its pixels; it "
            "seems to mean missing data",
            f": set dataset.nodata: {_stored_text(chip)}",
        )


def _stored_text(chip: Chip) -> str:
    """Return the impossible value of a chip in as many digits as tell it from all others of its type."""
    value = chip.impossible_value
    if value is None or chip.has_whole_numbers:
        return f"{value:.0f}"
    # Nine digits identify any number of 32 bits with a point.
    return repr(value) if "float64" in chip.dtypes else f"{value:.9g}"


def _check_variation(chip: Chip, valid: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if a chip or a band has only one value, or if one value fills many pixels."""
    limit, scale = spec.checks.max_fill_fraction, DN_PER_REFLECTANCE if spec.unit == "dn" else 1
    pixels = chip.values.reshape(len(chip.values), -1)
    lowest, highest = np.fmin.reduce(pixels, axis=1), np.fmax.reduce(pixels, axis=1)  # of the values that are not NaN
    if lowest.min() == highest.max():
        raise ChipError("constant", f"has the value {lowest[0] * scale:g} everywhere; expected values that vary")
    constant = lowest == highest
    is_checked = constant.any() and not spec.checks.allow_constant_bands
    if is_checked and not are_calm_water(pixels, chip.values, spec.bands):
        values = ", ".join(f"{spec.bands[i]} ({lowest[i] * scale:g})" for i in np.flatnonzero(constant))
        is_cut_off = (constant & (lowest > 0) & (lowest <= DARKEST)).any()
        kind = "cut_off" if is_cut_off else "constant"
        raise ChipError(kind, f"has one value everywhere in band {values}; expected values that vary")
    cut_off = find_cut_off(chip.values, lowest, reflectance_of_zero(chip.scaling, spec.unit), spec.bands, limit)
    if cut_off is not None and not cut_off.is_missing:
        raise _cut_off_error("cut_off", cut_off, limit, scale)
    if chip.fill_fraction > limit:
        raise _fill_error(chip.fill_value, chip.fill_fraction, limit)
    if chip.patch_fraction > limit and not chip.patch_may_be_cloud:
        raise _fill_error(chip.patch_value, chip.patch_fraction, limit)
    _check_gaps(chip, lowest, spec)
    if cut_off is not None:
        raise _cut_off_error("fill", cut_off, limit, scale)


def _check_gaps(chip: Chip, lowest: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if pixels seem to have no data in some bands, or to be padding."""
    limit = spec.checks.max_fill_fraction
    usually = f"expected at most {percent_text(limit)}, because this usually means missing data"
    zeros = reflectance_of_zero(chip.scaling, spec.unit)
    band, share = find_zeros(chip.values, lowest, zeros, spec.bands)
    if share > limit:
        raise ChipError("fill", f"has the value 0 in band {band} in {percent_text(share)} of its pixels; {usually}")
    what, share = max(
        measure_padding(chip.values, spec.bands),
        measure_flat_edge(chip.values, spec.bands),
        measure_repeated_edge(chip.values),
        measure_nothing(chip.values),
        key=lambda found: found[1],
    )
    if share > limit:
        raise ChipError("fill", f"has {what} in {percent_text(share)} of its pixels; {usually}")
    number = None if spec.checks.allow_constant_bands else find_almost_constant(chip.values, spec.bands)
    if number is not None:
        message = f"has one value almost everywhere in band {spec.bands[number]}"
        raise ChipError("constant", f"{message}; expected values that vary")


def _cut_off_error(kind: str, found: CutOff, limit: float, scale: float) -> ChipError:
    usually = "missing data, or that darker values were cut off"
    if kind == "cut_off":
        usually = "that darker values were cut off, or missing data"
    return ChipError(
        kind,
        f"has the value {round(found.value * scale, 6):g} in band {found.band} in {percent_text(found.share)} of its "
        f"pixels, where another band is bright; expected at most {percent_text(limit)}, because this usually means "
        f"{usually}",
    )


def _fill_error(value: float | None, share: float, limit: float) -> ChipError:
    found = f"has the value {value:g} in every band in {percent_text(share)} of its pixels"
    return ChipError(
        "fill", f"{found}; expected at most {percent_text(limit)}, because this usually means missing data"
    )


def percent_text(share: float) -> str:
    """Write a share so that 4,095 of 4,096 are not 100 %."""
    return f"{100 * share:.4g} %"


def find_equal_bands(values: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the positions of each two bands that vary and are equal wherever both have a value.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
    """
    pairs: Iterable[tuple[int, int]] = itertools.combinations(range(len(values)), 2)
    row = values[:, 0]
    if np.isfinite(row).all():
        # Most bands differ in their first row already.
        is_alike = (row[:, None] == row).all(axis=2)
        pairs = (pair for pair in pairs if is_alike[pair])
    return tuple((first, second) for first, second in pairs if _are_equal(values[first], values[second]))


def _are_equal(first: np.ndarray, second: np.ndarray) -> bool:
    # Most of the others differ in their first rows.
    for rows in (slice(0, 4), slice(None)):
        a, b = first[rows], second[rows]
        both = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[both], b[both]):
            return False
    return both.any() and bool(np.ptp(a[both]) > 0)


def measure_darkest(values: np.ndarray) -> float:
    """Return the reflectance below which the darkest band of a pixel is in 1 % of the pixels.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
    """
    darkest = present_values(np.fmin.reduce(values, axis=0))
    return float(find_quantiles(darkest, [0.01])[0])


def hash_pixels(spectra: np.ndarray) -> tuple[bytes, int]:
    """Return a digest of a decoded chip that is the same for its eight orientations, and the number of the hashed one.

    The orientations are those of a square: four quarter turns, each flipped or not. The one with the smallest first
    row is hashed, so that mostly a single one is. Missing pixels are alike, however the file writes them.

    Args:
        spectra: (height, width) result of `terralucas.data.chips.sketches.hash_spectra`.
    """
    orientations = [turn(side, turns) for side in (spectra, spectra[:, ::-1]) for turns in range(4)]
    first_rows = [orientation[0].tobytes() for orientation in orientations]
    smallest = min(first_rows)
    return min(
        (_digest(orientation), number)
        for number, (orientation, first_row) in enumerate(zip(orientations, first_rows, strict=True))
        if first_row == smallest
    )


def _digest(spectra: np.ndarray) -> bytes:
    digest = hashlib.sha256(repr(spectra.shape).encode())
    digest.update(np.ascontiguousarray(spectra).data)
    return digest.digest()
