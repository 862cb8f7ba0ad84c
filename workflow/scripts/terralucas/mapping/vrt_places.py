"""Compare where a VRT shows an image with where it lies by its own georeference."""

from __future__ import annotations

import math
from pathlib import Path

from rasterio import Affine
from rasterio.io import DatasetReader

from terralucas.data.rasters.georeference import describe_system
from terralucas.data.rasters.vrt_images import Rectangle
from terralucas.errors import StudyError

# Pixels of the VRT by which an image may be displaced: programs round to whole pixels.
_MOST_PX = 1.0


def require_place(
    path: Path, vrt: DatasetReader, image: DatasetReader, part: Rectangle | None, shown: Rectangle | None
) -> None:
    """Raise a StudyError if a VRT shows an image elsewhere than it lies, or with other coordinates.

    The image was made again, with another extent or zone, after the VRT was built. An image without a georeference is
    where the VRT shows it.

    Args:
        path: of the VRT; for messages.
        vrt: the open VRT.
        image: the open image.
        part: what of the image it shows; None for all.
        shown: where it shows this; None for everywhere.
    """
    if image.crs is None or image.transform == Affine.identity():
        return
    of_image = _corners(image.transform, part or (0, 0, image.width, image.height))
    of_vrt = _corners(vrt.transform, shown or (0, 0, vrt.width, vrt.height))
    # Of a pixel that may be rotated.
    pixel = max(math.hypot(vrt.transform.a, vrt.transform.d), math.hypot(vrt.transform.b, vrt.transform.e))
    far = [((b[0] - a[0]) / pixel, (b[1] - a[1]) / pixel) for a, b in zip(of_vrt, of_image, strict=True)]
    corner = max(far, key=lambda place: math.hypot(*place))
    if image.crs != vrt.crs:
        found = f"{image.name} in {describe_system(image.crs)}, and the VRT in {describe_system(vrt.crs)}"
    elif not max(map(abs, corner)) <= _MOST_PX:
        found = f"{image.name}, a corner of which lies {corner[0]:.4g} and {corner[1]:.4g} pixels from there in x and y"
    else:
        return
    raise StudyError(
        f"The VRT {path} shows an image elsewhere than it lies.",
        found=found,
        expected="each image at the place of its own georeference",
        remedy="build the VRT again from images of one scene (gdal.BuildVRT), or name the images themselves; where the "
        "georeference of an image is wrong, correct it in the image (rio edit-info)",
    )


def _corners(transform: Affine, rectangle: Rectangle) -> list[tuple[float, float]]:
    """Return x and y of three corners, which tell a grid, also one that is rotated."""
    column, row, width, height = rectangle
    corners = ((column, row), (column + width, row + height), (column + width, row))
    return [(float(x), float(y)) for x, y in (transform @ corner for corner in corners)]
