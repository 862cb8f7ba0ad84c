"""The size of pixels on the ground, as the georeference of a file says it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyproj import Geod
from rasterio import Affine
from rasterio._err import CPLE_BaseError  # errors of `transform`, for which rasterio has no public class
from rasterio.crs import CRS
from rasterio.warp import transform

# A larger difference from the pixels of the training chips needs other pixels. Map projections for one country or
# continent distort lengths by less.
SIZE_TOLERANCE = 0.05
IF_SIZE_IS_WRONG = (
    "if dataset.pixel_size_m is not the size of the training chips, correct it and select again (snakemake … -- "
    "select), which trains no run again"
)
_WGS84, _EARTH = CRS.from_epsg(4326), Geod(ellps="WGS84")
# Pixels over which a size is measured, so that rounding does not matter.
_MEASURED_PX = 100


@dataclass(frozen=True)
class Ground:
    """A place of an image on the ground.

    Attributes:
        longitude: longitude, WGS 84.
        latitude: latitude, WGS 84.
        width_m: width of the pixels there in metres.
        height_m: their height in metres.
    """

    longitude: float
    latitude: float
    width_m: float
    height_m: float


def measure_ground(crs: CRS, affine: Affine, column: float, row: float) -> Ground | None:
    """Find a place of an image on the ground, and measure the pixels around it.

    They are measured along geodesics of the ellipsoid WGS 84 (Karney 2013, Journal of Geodesy 87), and so also where
    coordinates are degrees, or where a projection stretches lengths.

    Args:
        crs: coordinate reference system of the image.
        affine: transform from column and row to coordinates.
        column: column of the place in pixels.
        row: row of the place in pixels.

    Returns:
        None if the coordinates are no place on Earth.
    """
    points = [(column, row), (column + _MEASURED_PX, row), (column, row + _MEASURED_PX)]
    xs, ys = zip(*(affine @ point for point in points), strict=True)
    try:
        longitudes, latitudes = transform(crs, _WGS84, xs, ys)
    except CPLE_BaseError:
        # Coordinates of a drawing or a building.
        return None
    if not all(map(math.isfinite, (*longitudes, *latitudes))):
        return None
    here = longitudes[0], latitudes[0]
    sides = [_EARTH.inv(*here, *there)[2] / _MEASURED_PX for there in zip(longitudes[1:], latitudes[1:], strict=True)]
    return Ground(*here, *sides)
