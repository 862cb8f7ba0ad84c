"""Chips of simulated land in the 12 bands of Sentinel-2: each pixel is a mixture of four surfaces."""

from __future__ import annotations

import numpy as np

BANDS = (
    *("COASTAL_AEROSOL", "BLUE", "GREEN", "RED", "RED_EDGE_1", "RED_EDGE_2", "RED_EDGE_3", "NIR_BROAD", "NIR_NARROW"),
    *("WATER_VAPOR", "SWIR_1", "SWIR_2"),
)
# Typical surface reflectance in %, read off published spectra (Jensen 2007, Remote Sensing of the Environment, figures
# 11-2, 14-6 and 14-9) by eye. They are no measurement.
_SURFACES = {
    "vegetation": (2, 3, 6, 3, 10, 26, 33, 35, 37, 37, 17, 8),
    "soil": (7, 9, 12, 16, 19, 21, 23, 25, 26, 27, 33, 27),
    "built": (11, 13, 15, 17, 18, 19, 20, 21, 22, 22, 24, 21),
    "shade": (2, 2, 2.5, 2, 3, 5, 6, 6.5, 7, 7, 5, 3),
}
_SPECTRA = np.array(list(_SURFACES.values())) / 100
# How much of a chip is of each surface, by the kind of its land.
KINDS = {"fields": (6, 3, 0.3, 0.7), "forest": (8, 0.5, 0.2, 3), "town": (2, 1, 4, 1), "bare": (1, 7, 1, 0.5)}


def draw_land(kind: str, number: int, bands=BANDS, side: int = 32, seed: int = 0) -> list[np.ndarray]:
    """Draw chips (bands, side, side) of reflectance, float32, with a noise of 2 % of each value."""
    random = np.random.default_rng([seed, list(KINDS).index(kind)])
    chosen = [BANDS.index(band) for band in bands]
    chips = []
    for shares in random.dirichlet(np.array(KINDS[kind]), number):
        weights = random.dirichlet(4 * shares + 0.05, (side, side))
        exact = np.einsum("hws,sb->bhw", weights * random.lognormal(0, 0.1, (side, side, 1)), _SPECTRA)
        chips.append((exact * random.normal(1, 0.02, exact.shape))[chosen].astype(np.float32))
    return chips
