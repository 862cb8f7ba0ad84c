"""Tell calm water in coarse numbers, such as those of 8 bits, from pixels without data: both have one value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

VISIBLE = ("COASTAL_AEROSOL", "BLUE", "GREEN", "RED")
# Reflectance between two numbers that hides the waves and the noise of water: 1/255 and 0.002 do, 0.001 does not.
_COARSE_STEP = 0.0019
# Largest reflectance of water at the top of the atmosphere, in the infrared and in the visible bands.
_INFRARED, _BRIGHTEST = 0.08, 0.15


def is_calm_water(spectrum: np.ndarray, values: np.ndarray, bands: Sequence[str]) -> bool:
    """Return whether pixels of one spectrum may be calm water, because the numbers of their chip are coarse.

    Water is brightest in a visible band. Without visible or without infrared bands, nothing tells it.

    Args:
        spectrum: (bands,) reflectance that the pixels have.
        values: (bands, height, width) reflectance of the chip, NaN for missing pixels.
        bands: names of the bands.
    """
    is_visible = np.array([band in VISIBLE for band in bands])
    if is_visible.all() or not is_visible.any():
        return False
    brightest, infrared = float(spectrum[is_visible].max()), float(spectrum[~is_visible].max())
    return infrared <= min(brightest, _INFRARED) and brightest <= _BRIGHTEST and _smallest_step(values) >= _COARSE_STEP


def _smallest_step(values: np.ndarray) -> float:
    """Return the smallest difference between two values of a band; 0 if every band has one value alone."""
    steps = [np.diff(np.unique(band[np.isfinite(band)])) for band in values]
    return float(min((step.min() for step in steps if len(step)), default=0.0))
