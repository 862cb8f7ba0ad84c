"""Tell calm water in coarse numbers, such as those of 8 bits, from pixels without data: both have one value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

VISIBLE = ("COASTAL_AEROSOL", "BLUE", "GREEN", "RED")
# Numbers with at least this step of reflectance, such as 1/255 or 0.002, do not show waves and noise of water.
_COARSE_STEP = 0.0019
# Largest reflectance of water at the top of the atmosphere, in the infrared and in the visible bands.
_INFRARED, _BRIGHTEST = 0.08, 0.15
# Share of the pixels that must look like water; the others may be a boat, or a shore.
_ALMOST_ALL = 0.99


def are_calm_water(spectra: np.ndarray, values: np.ndarray, bands: Sequence[str]) -> bool:
    """Return whether almost all of some pixels may be calm water, and the numbers of their chip are coarse.

    Water is brightest in a visible band. Without visible or without infrared bands, nothing tells it.

    Args:
        spectra: (bands, n) reflectance of the pixels, NaN for missing ones, which do not count.
        values: (bands, height, width) reflectance of the chip, NaN for missing pixels.
        bands: names of the bands.
    """
    is_visible = np.array([band in VISIBLE for band in bands])
    present = spectra[:, np.isfinite(spectra).all(axis=0)]
    if is_visible.all() or not is_visible.any() or not present.size:
        return False
    brightest, infrared = present[is_visible].max(axis=0), present[~is_visible].max(axis=0)
    is_water = (infrared <= np.minimum(brightest, _INFRARED)) & (brightest <= _BRIGHTEST)
    return bool(is_water.mean() >= _ALMOST_ALL) and _smallest_step(values) >= _COARSE_STEP


def _smallest_step(values: np.ndarray) -> float:
    """Return the smallest difference between two values of a band; 0 if every band has one value alone."""
    steps = [np.diff(np.unique(band[np.isfinite(band)])) for band in values]
    return float(min((step.min() for step in steps if len(step)), default=0.0))
