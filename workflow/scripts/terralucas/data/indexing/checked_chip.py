"""A chip that passed its own checks, as it is compared with others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from terralucas.data.discovery.discover import Problem
from terralucas.data.discovery.places import Ground
from terralucas.data.indexing.band_order import Spectrum
from terralucas.data.indexing.class_traits import Traits


@dataclass(frozen=True)
class CheckedChip:
    """A chip that passed its own checks.

    Attributes:
        row: the row of the chip in the index.
        dtype: type of the values in the file.
        scaling: scale and offset of each band in the file.
        pixels: digest of the decoded values, equal for chips with the same pixels in other files, also if they are
            flipped or rotated by quarter turns.
        orientation: number, 0 to 7, of the flip and rotation that `pixels` is of; it tells flipped copies from others.
        ground: what the georeference of the file says; None without one.
        saturated: share of the pixels that have one and the same value in every band, as in saturated clouds.
        darkest: reflectance below which the darkest band of a pixel is in 1 % of the pixels.
        equal_bands: positions of each two bands that are equal in every pixel.
        spectrum: what the chip shows of its bands; None if its file names all of them, or if it has too few pixels.
        other_level: result of `find_other_level`.
        traits: what the chip shows of its processing.
        squares: result of `terralucas.data.chips.sketches.sketch_squares`.
        pattern: result of `terralucas.data.indexing.patterns.measure_pattern`.
        simulated: whether the file says that this project simulated it.
        wrong_colours: what the file says of the colours of its bands, if that contradicts the bands of the dataset, and
            the file does not name them.
        satellite: satellite that the descriptions of bands in the file name.
        satellites_of_numbers: result of `terralucas.data.rasters.band_names.BandNames.find_satellites_meant`.
    """

    row: dict[str, Any]
    dtype: str
    scaling: tuple[tuple[float, float], ...]
    pixels: bytes
    orientation: int
    ground: Ground | None
    saturated: float
    darkest: float
    equal_bands: tuple[tuple[int, int], ...]
    spectrum: Spectrum | None = None
    other_level: str | None = None
    traits: Traits | None = None
    squares: np.ndarray | None = None
    pattern: np.ndarray | None = None
    simulated: bool = False
    wrong_colours: str | None = None
    satellite: str | None = None
    satellites_of_numbers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the chip in messages: its id and file."""
        return f"{self.row['point_id']} ({self.row['file']})"

    def problem(self, kind: str, message: str) -> Problem:
        """Return a problem of this chip."""
        return Problem(self.row["point_id"], self.row["file"], kind, message)
