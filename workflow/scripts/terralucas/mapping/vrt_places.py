"""Compare where a VRT shows its images with where they lie by their own georeference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from rasterio import Affine
from rasterio.crs import CRS
from rasterio.io import DatasetReader

from terralucas.data.rasters.georeference import describe_system
from terralucas.errors import StudyError

# First column, first row, columns, rows.
Rectangle: TypeAlias = tuple[float, float, float, float]
# Pixels of the VRT by which images may be displaced against each other: programs round to whole pixels.
_MOST_PX = 1.0


@dataclass(frozen=True)
class Place:
    """Where a VRT shows an image.

    Attributes:
        image: name of the image.
        crs: coordinate reference system of the image.
        shifts: how far the VRT shows the upper left and the lower right corner from where they lie in the image, in the
            units of the coordinates: x, y, x, y.
    """

    image: str
    crs: CRS
    shifts: tuple[float, float, float, float]


def find_place(
    vrt: DatasetReader, image: DatasetReader, part: Rectangle | None, shown: Rectangle | None
) -> Place | None:
    """Return where a VRT shows an image; None for an image without a georeference.

    Args:
        vrt: the open VRT.
        image: the open image.
        part: what of the image it shows; None for all.
        shown: where it shows this; None for everywhere.
    """
    if image.crs is None or image.transform == Affine.identity():
        return None
    of_image = _corners(image.transform, part or (0, 0, image.width, image.height))
    of_vrt = _corners(vrt.transform, shown or (0, 0, vrt.width, vrt.height))
    left, top, right, bottom = (b - a for a, b in zip(of_image, of_vrt, strict=True))
    return Place(image.name, image.crs, (left, top, right, bottom))


def _corners(transform: Affine, rectangle: Rectangle) -> tuple[float, float, float, float]:
    column, row, width, height = rectangle
    return *(transform @ (column, row)), *(transform @ (column + width, row + height))


def require_one_place(path: Path, vrt: DatasetReader, places: Sequence[Place]) -> None:
    """Raise a StudyError if images of a VRT are displaced against each other, or have other coordinates.

    A VRT may give all its images another place than they have, as `gdal_translate -a_ullr` does.

    Args:
        path: of the VRT; for messages.
        vrt: the open VRT.
        places: of its images.
    """
    if not places:
        return
    first, limit = places[0], _MOST_PX * max(abs(vrt.transform.a), abs(vrt.transform.e))
    for other in places[1:]:
        far = max(abs(a - b) for a, b in zip(first.shifts, other.shifts, strict=True))
        if other.crs == first.crs and not far > limit:
            continue
        found = f"{far:.6g} in the units of the coordinates between {first.image} and {other.image}"
        if other.crs != first.crs:
            systems = [describe_system(each.crs) for each in (first, other)]
            found = f"{systems[0]} in {first.image}, and {systems[1]} in {other.image}"
        raise StudyError(
            f"The VRT {path} shows images elsewhere than they lie.",
            found=found,
            expected="images in one coordinate reference system, each at its own place",
            remedy="build the VRT again from images of one scene (gdalbuildvrt), or name the images themselves",
        )
