"""Constants of the LUCAS survey: point ids, the grid, and the classes and bands of the chips of Italy."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np

from terralucas.errors import StudyError
from terralucas.geography import ASSETS, EPSG

GRID_STEP_KM = 2
# Extent of the European reference grid in EPSG:3035, including the Canary Islands and the Azores.
EASTING_RANGE_KM = (900, 7400)
NORTHING_RANGE_KM = (900, 5500)


@dataclass(frozen=True)
class LandCoverClass:
    """A land-cover class: LUCAS code (counted from 1), name, and number of chips in the study of Italy."""

    code: int
    name: str
    count: int


ITALY_CLASSES = (
    LandCoverClass(1, "Arable lands", 511),
    LandCoverClass(2, "Permanent crops", 178),
    LandCoverClass(3, "Grass", 205),
    LandCoverClass(4, "Wooded areas", 704),
    LandCoverClass(5, "Shrubs", 126),
    LandCoverClass(6, "Bare surface, low or rare vegetation", 57),
    LandCoverClass(7, "Artificial, constructions and sealed areas", 125),
    LandCoverClass(8, "Inland water", 43),
    LandCoverClass(9, "Transitional and coastal waters", 20),
    LandCoverClass(10, "Impossible to photo-interpret", 25),
)


# In the order on disk: B4, B3, B2, B8, B11, B12 of Sentinel-2.
ITALY_BANDS = ("RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2")


def italy_class_counts(chips: int) -> dict[int, int]:
    """Return the number of chips of each LUCAS code in a sample with the class shares of the study of Italy.

    Shares are rounded by the largest-remainder method. Each class gets at least one chip, if necessary from
    the class that is most above its share.

    Raises:
        StudyError: fewer chips than classes.
    """
    if chips < len(ITALY_CLASSES):
        raise StudyError(
            "There are fewer simulated chips than classes.",
            found=f"{chips} chips",
            expected=f"at least {len(ITALY_CLASSES)}, one for each class",
            remedy="set `chips` of the simulated source to a larger number",
        )
    exact = np.array([entry.count for entry in ITALY_CLASSES]) * chips / sum(entry.count for entry in ITALY_CLASSES)
    counts = np.floor(exact).astype(int)
    largest_remainders = np.argsort(counts - exact, kind="stable")[: chips - counts.sum()]
    counts[largest_remainders] += 1
    counts = np.maximum(counts, 1)
    while counts.sum() > chips:
        counts[np.argmax(np.where(counts > 1, counts - exact, -np.inf))] -= 1
    return {entry.code: int(count) for entry, count in zip(ITALY_CLASSES, counts, strict=True)}


def parse_point_id(text: str) -> tuple[float, float] | None:
    """Return the coordinates in a LUCAS id: `45922254` is easting 4592 km, northing 2254 km in EPSG:3035.

    Returns:
        (easting, northing) in metres, or None if `text` is no LUCAS id: it does not have eight digits, or the point is
        not on the 2 km grid, or it is outside the European reference grid.
    """
    text = text.strip()
    if not re.fullmatch(r"[0-9]{8}", text):
        return None
    easting_km, northing_km = int(text[:4]), int(text[4:])
    on_grid = easting_km % GRID_STEP_KM == 0 and northing_km % GRID_STEP_KM == 0
    in_europe = (
        EASTING_RANGE_KM[0] <= easting_km <= EASTING_RANGE_KM[1]
        and NORTHING_RANGE_KM[0] <= northing_km <= NORTHING_RANGE_KM[1]
    )
    return (easting_km * 1000.0, northing_km * 1000.0) if on_grid and in_europe else None


def format_point_id(easting_km: int, northing_km: int) -> str:
    """Return the id of a grid point from its coordinates in km: the inverse of `parse_point_id`."""
    return f"{easting_km:04d}{northing_km:04d}"


def italy_grid_points() -> np.ndarray:
    """Return the points of the 2 km LUCAS grid inside a coarse outline of Italy (Natural Earth 1:110m).

    Returns:
        (n, 2) int64 array of (easting, northing) in km, all even, sorted by easting, then northing; n is about 79,000.
    """
    from rasterio import Affine
    from rasterio.features import bounds, rasterize
    from rasterio.warp import transform_geom

    collection = json.loads((ASSETS / "italy_outline.geojson").read_text(encoding="utf-8"))
    outline = transform_geom("EPSG:4326", f"EPSG:{EPSG}", collection["features"][0]["geometry"])
    step = GRID_STEP_KM
    west, south, east, north = (round(edge / 1000 / step) * step for edge in bounds(outline))
    # Each cell is centred on its grid point, and is inside the outline if its centre is inside.
    cell = step * 1000
    transform = Affine(cell, 0, west * 1000 - cell / 2, 0, -cell, north * 1000 + cell / 2)
    shape = ((north - south) // step + 1, (east - west) // step + 1)
    rows, columns = np.nonzero(rasterize([outline], out_shape=shape, transform=transform))
    points = np.column_stack([west + columns * step, north - rows * step])
    return points[np.lexsort((points[:, 1], points[:, 0]))]
