"""The files of an image: those that it names, and those beside it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Env
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from terralucas.data.chip_problems import ChipError
from terralucas.data.rasters.masks import require_readable_mask
from terralucas.data.rasters.side_files import (
    GDAL_OPTIONS,
    find_lost_by_link,
    mask_files,
    metadata_file,
    metadata_files,
    reduce_metadata,
    world_files,
)
from terralucas.data.rasters.tiff_structure import find_damage
from terralucas.disk import no_space
from terralucas.errors import StudyError

# How a PNG picture begins, and its last chunk with its checksum (PNG specification, section 11.2.5).
_PNG, _END_OF_PNG = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
# What is expected of a file whose texts rasterio cannot read, and what to do.
UTF_8 = "names in UTF-8, as that of the coordinate reference system"
AS_CODE = "write the coordinate reference system by its EPSG code, with the program that made the file"


def with_sidecars(path: Path) -> list[Path]:
    """Return an image and the files of its mask, metadata and place, whether masks and metadata exist or not."""
    return [path, *mask_files(path), metadata_file(path), *filter(os.path.exists, world_files(path))]


def files_of_raster(path: Path) -> list[Path]:
    """Return the files that decide the pixels of an image: itself, those that it names such as the bands of a VRT, and
    their masks and metadata, whether these exist or not.
    """
    found: dict[Path, None] = {}
    queue = [path]
    for image in queue:
        if image in found:
            continue
        found |= dict.fromkeys(with_sidecars(image))
        named = _files_named(image)
        # A VRT names its images, and not what these name.
        queue += [file for file in named if file.suffix.lower() == ".vrt"]
        found |= dict.fromkeys(each for file in named if file not in queue for each in with_sidecars(file))
    # Overviews are not read.
    return [file for file in found if file.suffix.lower() != ".ovr"]


@contextmanager
def gdal_writes(path: Path) -> Iterator[None]:
    """Turn the errors of GDAL while it writes into an error for the user.

    GDAL does not pass on what the system said, and does not report everything: compare what was written.

    Args:
        path: the file that is written.

    Raises:
        StudyError: the file could not be written.
    """
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise no_space(path, str(error.__cause__ or error)) from None


def require_whole(path: Path, is_whole: bool) -> None:
    """Raise a StudyError if a file that GDAL wrote does not hold what was written."""
    if not is_whole:
        raise no_space(path, "a file that lacks a part of its pixels")


def require_undamaged(paths: Iterable[Path]) -> None:
    """Raise a StudyError if a file has lost tags, or its mask or metadata cannot be read.

    GDAL leaves out all these without an error, also those beside the file to which a link leads.

    Args:
        paths: of `files_of_raster`; files that do not exist are passed over.
    """
    for path in paths:
        if path.is_file() and path.stat().st_size:
            try:
                _require_no_loss_by_link(path)
                _require_whole_image(path)
                require_readable_mask(path)
                _require_metadata(path)
            except UnicodeDecodeError as error:
                raise not_utf8(path, error) from None


def require_whole_envi(source: DatasetReader) -> None:
    """Raise a StudyError if an open ENVI file ends before its last pixel: GDAL reads zeros there, without an error."""
    header = source.tags(ns="ENVI")
    if source.driver != "ENVI" or header.get("file_compression", "0") != "0":
        return
    size, pixels = Path(source.name).stat().st_size, source.height * source.width
    expected = int(header.get("header_offset", 0)) + pixels * sum(np.dtype(dtype).itemsize for dtype in source.dtypes)
    if size < expected:
        raise StudyError(
            f"The file {source.name} is damaged.",
            found=f"{size:,} bytes",
            expected=f"{expected:,} bytes, by its header",
            remedy="fetch the file again",
        )


def _require_no_loss_by_link(path: Path) -> None:
    """Raise a StudyError if what belongs to an image lies only beside the file to which it leads as a link."""
    lost = find_lost_by_link(path, mask_files, metadata_files)
    # A world file counts only where a file does not say its own place.
    world = find_lost_by_link(path, world_files)
    if lost is None and world is not None and _has_no_place(path):
        lost = world
    if lost is not None:
        raise StudyError(
            f"The file {path} is a link, and would be read without its mask, metadata or place.",
            found=f"{lost} beside the file to which it leads, and none beside the link",
            expected="both beside one another",
            remedy="make a link to it, too, or name the file itself",
        )


def _require_whole_image(path: Path) -> None:
    """Raise a StudyError if a GeoTIFF has lost tags or the end of its mask, or a PNG picture its end."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        damage = find_damage(data)
        # In place of a lost end, GDAL returns uninitialised memory without an error.
        if data[: len(_PNG)] == _PNG and data.rfind(_END_OF_PNG) < 0:
            damage = f"the picture ends at byte {len(data)}, before its mark of the end"
    if damage is not None:
        raise StudyError(
            f"The file {path} is damaged.",
            found=damage,
            expected="a whole image",
            remedy="use a complete copy",
        )


def _require_metadata(image: Path) -> None:
    """Raise a StudyError if the file beside an image that has its metadata cannot be read."""
    metadata, remedy = metadata_file(image), "put the right file there, or remove it"
    if not os.path.lexists(metadata):
        return
    try:
        reduce_metadata(metadata.read_bytes())
    except ChipError as error:
        raise StudyError(f"The file {image} {error.problem}.", remedy=remedy) from None
    except OSError as error:
        found = str(error.strerror)
        raise StudyError(f"The metadata {metadata} cannot be opened.", found=found, remedy=remedy) from None


def _has_no_place(path: Path) -> bool:
    """Return whether GDAL knows no place of an image; not where it cannot read it."""
    try:
        with warnings.catch_warnings(), Env(**GDAL_OPTIONS):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                return bool(source.transform.is_identity)
    except RasterioError:
        return False


def _files_named(path: Path) -> list[Path]:
    """Return the files that GDAL reads of an image; none if it cannot read it."""
    try:
        with warnings.catch_warnings(), Env(**GDAL_OPTIONS):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as source:
                return [_on_disk(name) for name in source.files]
    except (RasterioError, UnicodeDecodeError):
        return []


def _on_disk(name: str) -> Path:
    """Return the file that GDAL means: /vsizip//data/scene.zip/a.tif is in the file /data/scene.zip.

    GDAL accepts braces around the archive: /vsizip/{/data/scene.zip}/a.tif.
    """
    if not name.startswith("/vsi"):
        return Path(name)
    inside = re.sub(r"^(?:/vsi\w+/|\{)+", "", name)
    braced = name.removesuffix(inside).count("{")
    archives = [inside[: brace.start()] for brace in re.finditer("}", inside)] if braced else [inside]
    # An address, as of /vsicurl/, is no file; that it changes is not noticed.
    possible = (path for archive in map(Path, archives) for path in (archive, *archive.parents))
    return next((path for path in possible if path.is_file()), Path(name))


def not_utf8(path: Path, error: UnicodeDecodeError) -> StudyError:
    """Return the error for an image that rasterio does not open, because it has a name in another coding."""
    return StudyError(
        f"The file {path} has text that is not UTF-8.",
        found=error.object[:40].decode("latin-1"),
        expected=UTF_8,
        remedy=AS_CODE,
    )


def changed_chips(paths: Sequence[Path]) -> StudyError:
    """Return the error for files of new chips that are not those whose prediction was begun."""
    more = f" and {len(paths) - 4} more" if len(paths) > 4 else ""
    return StudyError(
        "Chips were changed while they were predicted.",
        found=f"other files than before: {', '.join(map(str, paths[:4]))}{more}",
        expected="the chips that were there when the prediction was planned",
        remedy="start the prediction again when the chips are complete; it is planned again, and parts of the other "
        "chips are made again",
    )


def changed_scene(path: str) -> StudyError:
    """Return the error for a scene that is not the one whose map was begun."""
    return StudyError(
        "The scene was changed while its map was made.",
        found=f"other files than before at {path}",
        expected="the scene that was there when the map was planned",
        remedy="start the map again when the scene is complete; it is planned again, and strips of the other scene are "
        "made again",
    )
