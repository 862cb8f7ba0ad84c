"""A map made small enough for a picture and a page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Of the values of all bands; one limit keeps the colours true.
_BRIGHTEST = 98.0
_GAMMA = 1.6


@dataclass(frozen=True)
class SmallMap:
    """Evenly spaced cells of a map.

    Attributes:
        labels: (rows, columns) uint8 class index, 255 without a class.
        uncertainty: (4, rows, columns) float32, the bands of `terralucas.mapping.rasters.UNCERTAINTY_BANDS`.
        scene: (1 or 3, rows, columns) uint16 reflectance of the scene, 0 where unknown.
    """

    labels: np.ndarray
    uncertainty: np.ndarray
    scene: np.ndarray

    @property
    def entropy(self) -> np.ndarray:
        """(rows, columns) entropy in nats, NaN without a class."""
        return self.uncertainty[0]

    @property
    def is_unlike(self) -> np.ndarray:
        """(rows, columns) booleans: the cell is unlike all training chips."""
        return self.uncertainty[2] == 1

    @property
    def set_size(self) -> np.ndarray:
        """(rows, columns) number of classes in the conformal set, NaN without a class."""
        return self.uncertainty[3]

    def scene_colours(self) -> np.ndarray:
        """Return the scene as (rows, columns, 3) uint8 colours, black where it is unknown."""
        known = self.scene[self.scene > 0]
        brightest = np.percentile(known, _BRIGHTEST) if known.size else 1.0
        scaled = np.clip(self.scene / max(brightest, 1.0), 0.0, 1.0) ** (1.0 / _GAMMA)
        colours = np.broadcast_to(np.rint(255 * scaled), (3, *scaled.shape[1:]))
        return np.ascontiguousarray(colours.transpose(1, 2, 0).astype(np.uint8))
