"""Convert stored values of chips and scenes to surface reflectance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from terralucas.data.chip_problems import ChipError
from terralucas.data.dataset import DN_PER_REFLECTANCE, DatasetSpec

# Clouds and snow can be brighter than 1; after atmospheric correction, water can be slightly below 0.
REFLECTANCE_RANGE = (-0.2, 2.0)
# No sensor measures such numbers, in any unit.
FILL = 1e30
# Scale and offset of a band without tags.
NO_TAGS = (1.0, 0.0)


def to_reflectance(
    raw: np.ndarray,
    missing: np.ndarray,
    nodata_values: Sequence[float | None],
    scaling: Sequence[tuple[float, float]],
    spec: DatasetSpec,
) -> np.ndarray:
    """Convert stored values to surface reflectance.

    Args:
        raw: (bands, height, width) values as stored.
        missing: booleans of the same shape, true outside the masks of the file.
        nodata_values: nodata value of each band in the file; None without one.
        scaling: scale and offset tag of each band.
        spec: description of the dataset: its unit and nodata value.

    Returns:
        (bands, height, width) float32 reflectance, nominally 0..1; NaN for missing pixels: also those that are NaN,
        infinite, or equal to a nodata value.

    Raises:
        ChipError: with the tags, the values are not in the unit of the dataset.
    """
    factors = [reflectance_factors(scale, offset, spec.unit) for scale, offset in scaling]
    missing = missing.copy()
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and so missing
        for band, missing_in_band, nodata in zip(raw, missing, nodata_values, strict=True):
            for value in {value for value in (nodata, spec.nodata) if value is not None}:
                missing_in_band |= are_nodata(band, value)
        values = raw.astype(np.float32)
        for band, (factor, shift) in zip(values, factors, strict=True):
            if factor != 1:
                band *= np.float32(factor)
            if shift != 0:
                band += np.float32(shift)
    if spec.unit == "dn":
        values /= np.float32(DN_PER_REFLECTANCE)
    missing |= ~np.isfinite(values)
    if missing.any():
        np.copyto(values, np.nan, where=missing)
    return values


def are_nodata(values: np.ndarray, nodata: float) -> np.ndarray:
    """Return which stored values mean missing data.

    Huge nodata values are written with few digits, such as -3.40282e+38 for -3.4028235e+38; all huge values count then.
    """
    return np.abs(values) >= FILL if abs(nodata) >= FILL else values == nodata


def require_tags_of_all(
    scaling: Sequence[tuple[float, float]], dtypes: Sequence[str], bands: Sequence[str], unit: str
) -> None:
    """Raise a ChipError if tags shift some bands of one type of numbers, and not the others.

    A program that writes a tag on the first band alone would take the 1,000 DN of Sentinel-2's baseline 04.00 from this
    band and leave them in the others. Bands that are packed one by one have tags of their own each, with a scale of
    their own.

    Args:
        scaling: scale and offset tag of each band; 1 and 0 without tags.
        dtypes: type of the stored numbers of each band.
        bands: names of the bands.
        unit: unit of the dataset.
    """
    if all(tags == scaling[0] for tags in scaling):
        return
    factors = [reflectance_factors(scale, offset, unit) for scale, offset in scaling]
    for dtype in sorted(set(dtypes)):
        places = [place for place, own in enumerate(dtypes) if own == dtype]
        first = places[0]
        shifts_differ = any(not math.isclose(factors[place][1], factors[first][1]) for place in places)
        is_one_scale = all(math.isclose(factors[place][0], factors[first][0]) for place in places)
        has_untagged = any(scaling[place] == NO_TAGS for place in places) and any(
            factors[place] != NO_TAGS for place in places
        )
        if has_untagged or (is_one_scale and shifts_differ):
            tags = ", ".join(f"{scaling[place][0]:g} and {scaling[place][1]:g} on {bands[place]}" for place in places)
            raise ChipError(
                "scale_tags", f"has the tags of scale and offset {tags}; expected the same tags on all bands"
            )


def reflectance_of_zero(scaling: Sequence[tuple[float, float]], unit: str) -> list[float]:
    """Return the reflectance of a stored 0 in each band, which is not 0 with an offset tag."""
    shifts = [reflectance_factors(scale, offset, unit)[1] for scale, offset in scaling]
    return [shift / DN_PER_REFLECTANCE if unit == "dn" else shift for shift in shifts]


def reflectance_factors(scale: float, offset: float, unit: str) -> tuple[float, float]:
    """Return factor and shift that convert the stored values of a band to the configured unit.

    GDAL's tags say: value = stored × scale + offset. With `unit: reflectance`, the value is the reflectance. With
    `unit: dn`, the stored values are DN, and the tags convert them either to reflectance (scale 1/10,000; the offset of
    Sentinel-2 since baseline 04.00 is −0.1) or to other DN (scale 1, offset −1000).

    Raises:
        ChipError: with the tags, the values are not in the unit.
    """
    if unit == "reflectance" and math.isfinite(offset) and scale > 0 and math.isfinite(scale):
        return scale, offset
    if math.isclose(scale * DN_PER_REFLECTANCE, 1.0, rel_tol=1e-6) and abs(offset) <= 1:
        return 1.0, offset * DN_PER_REFLECTANCE
    if scale == 1 and (offset == 0 or 1 <= abs(offset) <= DN_PER_REFLECTANCE):
        return 1.0, offset
    expected = (
        "scale and offset that give reflectance (0..1)"
        if unit == "reflectance"
        else f"no tags, scale 1/{DN_PER_REFLECTANCE:,} with an offset in reflectance, or scale 1 with an offset in DN"
    )
    raise ChipError("scale_tags", f"has the scale tag {scale:g} and the offset tag {offset:g}; expected {expected}")
