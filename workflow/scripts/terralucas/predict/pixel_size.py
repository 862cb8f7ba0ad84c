"""The size of pixels on the ground, as the georeference of a file says it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rasterio._err import CPLE_BaseError  # errors of `transform`, for which rasterio has no public class
from rasterio.crs import CRS
from rasterio.warp import transform

from terralucas.data.discovery.places import METRES_PER_DEGREE, can_be_on_earth, elongation_of, is_local
from terralucas.data.rasters.georeference import Centre
from terralucas.geography import pixel_sides_m

IF_SIZE_IS_WRONG = (
    "if dataset.pixel_size_m is not the size of the training chips, correct it and select again (snakemake … -- "
    "select), which trains no run again"
)
_WGS84 = CRS.from_epsg(4326)
# Pixels over which a size is measured, so that rounding does not matter.
_MEASURED_PX = 100


@dataclass(frozen=True)
class Ground:
    """A place of an image on the ground.

    Attributes:
        longitude: longitude, WGS 84, from -180 to 180 degrees.
        latitude: latitude, WGS 84.
        width_m: width of the pixels there in metres.
        height_m: their height in metres.
        nominal_m: their side in the units of the coordinates, where projections stretch lengths; a degree counts as at
            the equator. Programs that export chips are asked for this size.
        elongation: how many times longer one side is than the other, on the ground or in the units of the coordinates,
            where it is less.
    """

    longitude: float
    latitude: float
    width_m: float
    height_m: float
    nominal_m: float
    elongation: float = 1.0

    @property
    def side_m(self) -> float:
        """Side of a square of the same area as a pixel, in metres."""
        return math.sqrt(self.width_m * self.height_m)


def measure_ground(centre: Centre) -> Ground | None:
    """Find the centre of an image on the ground, and measure the pixels around it.

    They are measured along geodesics, and so also where coordinates are degrees, or where a projection stretches
    lengths.

    Returns:
        None if the coordinates are no place on Earth.
    """
    (a, d), (b, e), crs = centre.column_step, centre.row_step, centre.crs
    if is_local(centre) or not can_be_on_earth(centre):
        return None
    xs = [centre.x, centre.x + _MEASURED_PX * a, centre.x + _MEASURED_PX * b]
    ys = [centre.y, centre.y + _MEASURED_PX * d, centre.y + _MEASURED_PX * e]
    try:
        longitudes, latitudes = transform(crs, _WGS84, xs, ys)
    except CPLE_BaseError:
        # Coordinates of a drawing or a building.
        return None
    if not all(map(math.isfinite, (*longitudes, *latitudes))):
        return None
    # Where degrees are counted from 0 to 360, their transformation leaves them so.
    here = longitudes[0] if -180 <= longitudes[0] <= 180 else (longitudes[0] + 180) % 360 - 180, latitudes[0]
    width, height = pixel_sides_m(longitudes, latitudes, _MEASURED_PX)
    unit_m = METRES_PER_DEGREE if crs.is_geographic else crs.linear_units_factor[1]
    elongation = min(elongation_of(width, height), elongation_of(math.hypot(a, d), math.hypot(b, e)))
    return Ground(*here, width, height, unit_m * math.sqrt(abs(a * e - b * d)), elongation)
