"""Find where pixels are outside the masks of a raster file."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Env
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from terralucas.data.chip_problems import ChipError
from terralucas.data.rasters.band_names import BandNames
from terralucas.data.rasters.said_of_bands import find_descriptions
from terralucas.data.rasters.side_files import GDAL_OPTIONS, MASK_SUFFIX, mask_files
from terralucas.data.rasters.tiff_structure import has_mask
from terralucas.errors import StudyError

# What the description of an alpha band may say; `alpha` and `fmask` are also layers that the names of bands know.
_ALPHA = re.compile("alpha|mask|valid|nodata|transparen|opacity", re.IGNORECASE)


def read_masks(source: DatasetReader, bands: Sequence[int], window: Window | None = None) -> np.ndarray:
    """Return where pixels are outside the masks of a file, (bands, height, width) booleans.

    Alpha bands are masks for all bands, unless they are among them: GDAL takes any fourth band of small integers for an
    alpha band. Nodata values are left to the caller.

    Args:
        source: the open file.
        bands: numbers of all bands that are used of this file, counted from 1.
        window: the pixels to look at; None for all.
    """
    shape = source.shape if window is None else (window.height, window.width)
    missing = np.zeros((len(bands), *shape), dtype=bool)
    for alpha in find_alpha(source, bands):
        # NaN is missing, too.
        missing |= ~(source.read(alpha, window=window) > 0)
    # The property looks at all bands each time.
    flags_of_bands = source.mask_flag_enums
    for place, band in enumerate(bands):
        flags = flags_of_bands[band - 1]
        if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
            return missing | (source.read_masks(1, window=window) == 0)
        if not flags:
            missing[place] |= source.read_masks(band, window=window) == 0
    return missing


def find_alpha(source: DatasetReader, bands: Collection[int] = ()) -> list[int]:
    """Return the numbers, counted from 1, of the alpha bands of a file that are not among `bands`.

    A band whose description names another band or layer, such as NIR, is none, though GDAL may take it for one. Any
    other description, such as `Band 5` of the fifth band or `coverage`, says nothing against it.
    """
    if len(set(bands)) == source.count:
        return []
    alpha = [
        number for number, kind in enumerate(source.colorinterp, 1) if kind == ColorInterp.alpha and number not in bands
    ]
    texts = find_descriptions(source) if alpha else ()
    named = [position + 1 for position in BandNames(texts).find_named()]
    return [number for number in alpha if number not in named or _ALPHA.search(texts[number - 1] or "")]


def shows_mask(source: DatasetReader) -> bool:
    """Return whether GDAL reads a mask of each band of an open file, in it or beside it, that is no alpha band."""
    return all(
        not flags or (MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags)
        for flags in source.mask_flag_enums
    )


def bands_of_mask(mask: DatasetReader, shape: tuple[int, ...]) -> list[int]:
    """Return for each band of an image the band, from 0, of the file beside it that has its mask.

    As for GDAL, the tags INTERNAL_MASK_FLAGS_<band> say which one it is (2: the first, for all bands).

    Args:
        mask: the open file of the mask.
        shape: bands, height and width of the image.

    Raises:
        ChipError: the file is no mask of GDAL, or has another size or number of bands than the image.
    """
    if mask.shape != shape[1:] or mask.count not in (1, shape[0]):
        found = f"{mask.count} band(s) of {mask.height} x {mask.width} px"
        expected = f"1 or {shape[0]} bands of {shape[1]} x {shape[2]} px"
        raise ChipError("unreadable", f"has a mask {MASK_SUFFIX} of {found}; expected {expected}")
    tags = mask.tags()
    flags = [tags.get(f"INTERNAL_MASK_FLAGS_{band + 1}", "") for band in range(shape[0])]
    if not all(re.fullmatch("[0-9]+", flag) for flag in flags):
        expected = "a mask of GDAL, with the tag INTERNAL_MASK_FLAGS_1, or no file of this name"
        raise ChipError("unreadable", f"has a file {MASK_SUFFIX} beside it that is no mask; expected {expected}")
    bands = [0 if int(flag) & MaskFlags.per_dataset else band for band, flag in enumerate(flags)]
    if max(bands) >= mask.count:
        found = f"1 band that is to be the mask of {shape[0]} bands, each by itself"
        expected = "the tags INTERNAL_MASK_FLAGS_1, ... with the value 2"
        raise ChipError("unreadable", f"has a mask {MASK_SUFFIX} of {found}; expected {expected}")
    return bands


def require_readable_mask(path: Path) -> None:
    """Raise a StudyError if an image has a mask that GDAL does not read, or two, of which it reads one alone."""
    beside = next((mask for mask in mask_files(path) if os.path.lexists(mask)), None)
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        is_inside = has_mask(data)
    if beside is not None and is_inside:
        raise StudyError(
            f"The file {path} has a mask in it and another one beside it.",
            found=f"{beside.name}, which GDAL does not look at",
            expected="one mask",
            remedy="remove the wrong mask",
        )
    if beside is None and not is_inside:
        return
    is_read = False
    try:
        with Env(**GDAL_OPTIONS), rasterio.open(path) as source:
            if beside is not None:
                with rasterio.open(beside, driver="GTiff") as mask:
                    bands_of_mask(mask, (source.count, *source.shape))
            is_read = shows_mask(source)
    except ChipError as error:
        raise StudyError(f"The file {path} {error.problem}.", remedy="write the mask again, or remove it") from None
    # GDAL may report only later why it could not open a mask.
    except (RasterioError, CPLE_BaseError):
        pass
    if not is_read:
        raise StudyError(
            f"The mask of {path} cannot be read.",
            found="a mask in the file that GDAL leaves out" if beside is None else f"{beside.name}, which is no mask",
            expected="a mask that GDAL reads",
            remedy="use a complete copy" if beside is None else "put the right mask there, or remove it",
        )
