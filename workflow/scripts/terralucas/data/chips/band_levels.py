"""Find a band that has another unit or scale than the other bands of its chip.

All bands of a chip may be darker or brighter than those of other chips, and water is dark in the infrared. But no land
is far darker, or far brighter, in one band than in the bands of the wavelengths beside it. The limits leave room beyond
vegetation, soil, water, snow and built land. docs/own-data.md says what they find and pass of real chips.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from terralucas.data.chips.sampling import find_quantiles, present_values, sample_pixels
from terralucas.data.dataset import DN_PER_REFLECTANCE

# By wavelength. WATER_VAPOR is left out: at the top of the atmosphere it is dark between bright bands.
_WAVELENGTHS = (
    *("COASTAL_AEROSOL", "BLUE", "GREEN", "RED", "RED_EDGE_1", "RED_EDGE_2", "RED_EDGE_3", "NIR_BROAD", "NIR_NARROW"),
    *("SWIR_1", "SWIR_2"),
)
_VISIBLE = _WAVELENGTHS[:4]
_NEAR_INFRARED = ("RED_EDGE_2", "RED_EDGE_3", "NIR_BROAD", "NIR_NARROW")
_INFRARED = (*_NEAR_INFRARED, "SWIR_1", "SWIR_2")
# Below this reflectance, water and the correction of the atmosphere leave nothing that could be compared.
_MIN_REFLECTANCE = 0.05
# Water can have a reflectance a little below 0 after the correction of the atmosphere, and less than this never.
_LOWEST_MEDIAN = -0.03
# Fewer pixels that all bands have may be errors of their masks.
_MIN_PIXELS = 10
# Reflectance that is divided by 10,000 once more is at most 2 of 10,000, in fractions of a DN.
_DARK_DN, _ALMOST_ALL = 2.0, 0.99


@dataclass(frozen=True)
class _Limit:
    """What no ground shows: a band is darker, or brighter, than each of `others` by at least the factor beside it."""

    band: str
    is_dark: bool
    others: tuple[tuple[str, float], ...]

    def is_broken(self, level: dict[str, float]) -> bool:
        """Return whether a chip is beyond the limit, from the median reflectance of its bands."""
        own = level[self.band]
        if self.is_dark:
            return all(level[other] >= max(_MIN_REFLECTANCE, factor * own) for other, factor in self.others)
        return own >= _MIN_REFLECTANCE and all(own >= factor * level[other] for other, factor in self.others)


@cache
def _limits_of(bands: tuple[str, ...]) -> tuple[_Limit, ...]:
    """Return the limits between bands."""
    order = [band for band in _WAVELENGTHS if band in bands]
    limits = []
    for before, band, after in zip(order, order[1:], order[2:], strict=False):
        limits.append(_Limit(band, True, ((before, 5), (after, 5))))
        if band in _VISIBLE:
            # Turbid water is brighter in red than in the infrared, red soil brighter in red than in green, and dense
            # crops four times as bright in green as in blue and red where the atmosphere is corrected.
            limits.append(_Limit(band, False, ((before, 5), (after, 5 if after in _VISIBLE else 1.5))))
    if len(order) > 2 and order[2] in _VISIBLE:
        # The air brightens blue bands, and a correction that takes away too much darkens them.
        limits += [_Limit(order[0], is_dark, tuple((other, 5) for other in order[1:3])) for is_dark in (True, False)]
    for first, second in itertools.combinations([band for band in order if band in _NEAR_INFRARED], 2):
        limits += [_Limit(first, True, ((second, 4),)), _Limit(second, True, ((first, 4),))]
    short = next((band for band in ("SWIR_1", "SWIR_2") if band in order), None)
    if short is not None:
        limits += [_Limit(band, True, ((short, 3),)) for band in _NEAR_INFRARED[1:] if band in order]
    if {"SWIR_1", "SWIR_2"} <= set(order):
        limits += [_Limit("SWIR_1", True, (("SWIR_2", 2.5),)), _Limit("SWIR_2", True, (("SWIR_1", 8),))]
    return tuple(limits)


def find_impossible_level(values: np.ndarray, bands: Sequence[str], unit: str) -> str | None:
    """Return what is wrong with the level of a band of a chip; None if all may be right.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels; each band has a value.
        bands: names of the bands.
        unit: `reflectance` or `dn`, for the message.
    """
    pixels = _common_pixels(sample_pixels(values))
    if pixels.shape[1] < _MIN_PIXELS:
        pixels = _common_pixels(values)
    # Bands without any pixel in common are compared as they are.
    present = list(pixels) if pixels.shape[1] >= _MIN_PIXELS else [present_values(band) for band in values]
    scale, name = (DN_PER_REFLECTANCE, "DN") if unit == "dn" else (1, "reflectance")
    level = {band: float(find_quantiles(own, [0.5])[0]) for band, own in zip(bands, present, strict=True)}
    lowest = min(level, key=lambda band: level[band])
    if level[lowest] < _LOWEST_MEDIAN:
        return f"has a median of {level[lowest] * scale:.4g} {name} in band {lowest}; expected no negative reflectance"
    brightest = max(level[band] for band in bands)
    for band, own in zip(bands, present, strict=True):
        dn = np.abs(own.astype(np.float64)) * DN_PER_REFLECTANCE
        is_bright = np.count_nonzero(dn > _DARK_DN) / dn.size > 1 - _ALMOST_ALL
        if is_bright or brightest < _MIN_REFLECTANCE / 2:
            continue
        infrared = [level[other] for other in bands if other in _INFRARED and other != band]
        is_fraction = np.mean(np.abs(dn - np.round(dn)) > 0.01) > 0.5
        # Where a correction of the atmosphere ends at 0 or 1 DN, water has this value in infrared bands, but in all.
        if is_fraction or (band in _INFRARED and max(infrared, default=0) >= _MIN_REFLECTANCE):
            most = dn.max() / DN_PER_REFLECTANCE * scale
            return (
                f"has at most {most:.3g} {name} in band {band}, and {brightest * scale:.3g} in another band; expected "
                "one unit in all bands"
            )
    limit = _first_broken(level, tuple(bands))
    if limit is None:
        return None
    other = limit.others[0][0]
    return (
        f"has a median of {level[limit.band] * scale:.3g} {name} in band {limit.band}, and of "
        f"{level[other] * scale:.3g} in {other}: no ground is so {'dark' if limit.is_dark else 'bright'} in one band "
        "alone; expected one unit and scale in all bands"
    )


def _common_pixels(values: np.ndarray) -> np.ndarray:
    """Return the pixels of (bands, height, width) values that have a value in every band, (bands, n).

    Where a band lacks the water, as some corrections of the atmosphere leave it, it would be compared on other ground.
    """
    pixels = values.reshape(len(values), -1)
    present = np.isfinite(pixels)
    return pixels if present.all() else pixels[:, present.all(axis=0)]


def are_possible(medians: np.ndarray, bands: Sequence[str]) -> bool:
    """Return whether the (bands,) median reflectances of a chip can be those of ground."""
    return _first_broken(dict(zip(bands, medians.tolist(), strict=True)), tuple(bands)) is None


def _first_broken(level: dict[str, float], bands: tuple[str, ...]) -> _Limit | None:
    return next((limit for limit in _limits_of(bands) if limit.is_broken(level)), None)
