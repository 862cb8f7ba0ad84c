"""Read where a GeoTIFF lies. GDAL's search for the coordinate reference system takes most of the time that it needs to
open a chip, so that it is asked once for each one, and the place of other chips is taken from their tags.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from affine import Affine, loadsw
from rasterio.crs import CRS
from rasterio.io import DatasetReader

from terralucas.data.rasters.side_files import refuse_lost_by_link, world_files

# Option of GDAL's GeoTIFF driver: do not look where a file lies but in a world file. One is given, because rasterio
# warns of each file without any transform, and libraries show this warning again to those who do not want to see it.
WITHOUT_PLACE, UNUSED_WORLD = {"georef_sources": "WORLDFILE"}, b"2\n0\n0\n-2\n1\n-1\n"
# Far more than six numbers.
_MAX_WORLD_BYTES = 4096
# Tags of GeoTIFF 1.1 (OGC 19-008r4, chapter 7): the size of pixels, the place of one of them, and three tags with the
# coordinate reference system. A matrix, and the polynomials of satellites (RPC), are left to GDAL.
_SCALE, _TIE_POINT, _MATRIX, _RPC, _SYSTEM = 33550, 33922, 34264, 50844, (34735, 34736, 34737)
# Bytes of a number of each type in these tags: text, short and double.
_SIZES = {2: 1, 3: 2, 12: 8}
# The key that says whether the place of a pixel is its centre (2) or its corner (1).
_RASTER_TYPE, _IS_POINT = 1025, 2
# Of a name of a system in messages; some are a text of many lines.
_NAME_LENGTH = 40
# Systems that GDAL found before, by the tags that say them. A dataset has few.
_known: dict[bytes, CRS] = {}
_MOST_KNOWN = 100


@dataclass(frozen=True)
class Centre:
    """The centre of a chip in its own coordinate reference system.

    Attributes:
        crs: this system.
        x: the first coordinate of the centre.
        y: the second one.
        column_step: difference in x and y from one column to the next.
        row_step: difference in x and y from one row to the next.
        shape: rows and columns of the chip.
    """

    crs: CRS
    x: float
    y: float
    column_step: tuple[float, float]
    row_step: tuple[float, float]
    shape: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class GeoTags:
    """What the tags of a GeoTIFF say about its place.

    Attributes:
        system: bytes of the tags of its coordinate reference system.
        transform: from columns and rows to coordinates; None if the tags say nothing at all about a place.
    """

    system: bytes
    transform: Affine | None


def read_geo_tags(data: bytes) -> GeoTags | None:
    """Read the place of a GeoTIFF from its tags; None where GDAL is to be asked.

    Args:
        data: bytes of the file; of any other file, nothing is read.
    """
    try:
        tags = _read_tags(data)
        if tags is not None and not tags:
            return GeoTags(b"", None)
        if tags is None or tags.keys() & {_MATRIX, _RPC} or not tags.keys() >= {_SCALE, _TIE_POINT, _SYSTEM[0]}:
            return None
        width, height, _ = struct.unpack("<3d", tags[_SCALE])
        column, row, _, x, y, _ = struct.unpack("<6d", tags[_TIE_POINT])
    except struct.error:
        return None
    if width <= 0 or height <= 0:
        return None
    keys = list(struct.iter_unpack("<4H", tags[_SYSTEM[0]][: len(tags[_SYSTEM[0]]) // 8 * 8]))
    half = 0.5 if (_RASTER_TYPE, 0, 1, _IS_POINT) in keys else 0.0
    transform = Affine(width, 0.0, x - (column + half) * width, 0.0, -height, y + (row + half) * height)
    return GeoTags(b"|".join(tags.get(tag, b"") for tag in _SYSTEM), transform)


def _read_tags(data: bytes) -> dict[int, bytes] | None:
    """Return the bytes of the tags about the place, of the first image of a TIFF file; None for another kind of TIFF.

    Raises:
        struct.error: the file ends before.
    """
    if data[:4] != b"II*\0":
        return None
    (start,) = struct.unpack_from("<I", data, 4)
    (number,) = struct.unpack_from("<H", data, start)
    found = {}
    for place in range(start + 2, start + 2 + 12 * number, 12):
        tag, kind, count = struct.unpack_from("<HHI", data, place)
        if tag in (_SCALE, _TIE_POINT, _MATRIX, _RPC, *_SYSTEM):
            length = _SIZES.get(kind, 0) * count
            at = place + 8 if length <= 4 else struct.unpack_from("<I", data, place + 8)[0]
            (found[tag],) = struct.unpack_from(f"{length}s", data, at)
    return found


def is_known(tags: GeoTags | None) -> bool:
    """Return whether tags say the place of a file, or that it has none, so that GDAL need not be asked."""
    return tags is not None and (tags.transform is None or tags.system in _known)


def centre_of(tags: GeoTags, shape: tuple[int, int]) -> Centre | None:
    """Return the centre of an image of so many rows and columns, whose place is known by its tags."""
    return None if tags.transform is None else _make_centre(_known[tags.system], tags.transform, shape)


def find_centre(source: DatasetReader, path: Path | None, tags: GeoTags | None) -> Centre | None:
    """Return where the centre of an open file is; None without a place. What GDAL found is kept for other files.

    Args:
        source: the file, which GDAL opened together with its place.
        path: the file on the disk, beside which a world file may be.
        tags: result of `read_geo_tags`; kept only if GDAL finds the same place.
    """
    if source.crs is None:
        return None
    if tags is not None and tags.transform == source.transform and len(_known) < _MOST_KNOWN:
        _known[tags.system] = source.crs
    transform = _read_world(path) if source.transform.is_identity else source.transform
    return None if transform is None else _make_centre(source.crs, transform, source.shape)


def _make_centre(crs: CRS, transform: Affine, shape: tuple[int, int]) -> Centre | None:
    """Return the centre of an image of so many rows and columns; None if its transform says no place."""
    # Programs that know no place write an upper left corner at 0, 0, where no chips are.
    if transform.is_identity or (transform.c, transform.f) == (0, 0):
        return None
    x, y = transform @ (shape[1] / 2, shape[0] / 2)
    return Centre(crs, x, y, (transform.a, transform.d), (transform.b, transform.e), shape)


def describe_system(crs: CRS) -> str:
    """Return in words what kind of coordinates a coordinate reference system has, and its name."""
    name = crs.to_string()
    name = name if len(name) < _NAME_LENGTH else f"{name[:_NAME_LENGTH]}…"
    if crs.is_geographic:
        return f"coordinates in degrees ({name})"
    if crs.is_projected:
        return f"projected coordinates ({name})"
    # Imported late, because only messages need it.
    import pyproj

    return f"coordinates of the kind {pyproj.CRS.from_wkt(crs.to_wkt()).type_name} ({name})"


def _read_world(path: Path | None) -> Affine | None:
    """Return the transform in the world file beside a chip; None without one, or if GDAL would not understand it.

    Raises:
        ChipError: the chip is a link, and its world file lies beside the file to which it leads.
        OSError: it cannot be read.
    """
    if path is None:
        return None
    file = next((file for file in world_files(path) if os.path.isfile(file)), None)  # noqa: PTH113 - false for names that are too long
    if file is None:
        refuse_lost_by_link(path, world_files)
        return None
    with file.open("rb") as opened:
        text = opened.read(_MAX_WORLD_BYTES)
    try:
        return loadsw(text.decode().replace(",", "."))
    except (ValueError, TypeError):
        return None
