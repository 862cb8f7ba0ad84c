"""Read and decode the files of a chip."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from rasterio import Env
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_content import ChipContent, read_content, read_unchanged
from terralucas.data.chips.decoded_chip import Chip, make_chip
from terralucas.data.chips.reflectance import require_tags_of_all, to_reflectance
from terralucas.data.dataset import DatasetSpec
from terralucas.data.rasters.georeference import (
    UNUSED_WORLD,
    WITHOUT_PLACE,
    centre_of,
    find_centre,
    is_known,
    read_geo_tags,
)
from terralucas.data.rasters.image_files import AS_CODE, UTF_8
from terralucas.data.rasters.masks import bands_of_mask, read_masks, shows_mask
from terralucas.data.rasters.said_of_bands import find_wrong_colours, read_descriptions
from terralucas.data.rasters.side_files import GDAL_OPTIONS, MASK_SUFFIX, METADATA_SUFFIX
from terralucas.data.rasters.tiff_structure import find_damage, has_mask
from terralucas.file_kinds import HEAD_BYTES, TIFF, find_kind

# Chips need no place.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
# Function that finds the positions of bands from the descriptions of all bands of a file (None without one).
FindBands = Callable[[tuple[str | None, ...]], Sequence[int]]
# A larger image is a scene and not a chip; several of them would not fit into memory. The limit also holds for the
# tiles inside a file, because a tile is decoded whole.
MAX_SIDE_PX = 1024
# Simulated chips say so themselves, wherever their files go.
SIMULATED_TAG = {"TERRALUCAS_SIMULATED": "yes"}


def read_chip(path: Path, spec: DatasetSpec) -> np.ndarray:
    """Read and decode one GeoTIFF chip.

    Args:
        path: the file of the chip.
        spec: description of the dataset: bands, unit, size and value for missing data.

    Returns:
        (bands, height, width) float32 surface reflectance, nominally 0..1. Missing pixels are NaN: pixels that are NaN,
        infinite, equal to the nodata value of the file or dataset, or outside the mask in or beside the file.

    Raises:
        ChipError: the file is not a complete GeoTIFF of real numbers with the bands of the dataset.
    """
    try:
        return decode_chip(read_content(path), spec, with_place=False).values
    except OSError as error:
        raise ChipError("unreadable", f"{path} cannot be read ({error.strerror})") from error
    except ChipError as error:
        raise ChipError(error.kind, f"{path} {error.problem}") from error


def read_indexed_chip(path: Path, sha256: str, spec: DatasetSpec) -> np.ndarray:
    """Read and decode a chip of the index, as `read_chip`, after checking that it is the indexed one.

    Raises:
        StudyError: the file no longer exists, or its content has changed.
    """
    return decode_chip(read_unchanged(path, sha256), spec, with_place=False).values


def decode_chip(
    content: ChipContent,
    spec: DatasetSpec,
    find_bands: FindBands | None = None,
    *,
    side_px: int | None = None,
    with_place: bool = True,
) -> Chip:
    """Decode the content of a GeoTIFF chip, as `read_chip`; error messages start without the name of the file.

    Args:
        content: the content of the chip.
        spec: description of the dataset.
        find_bands: function that finds where the bands of the dataset are, from the descriptions in the file; only
            these are decoded. None: they are all bands of the file, in its order.
        with_place: find where the chip lies; without it, `centre` is None.
    """
    if not content.data:
        raise ChipError("unreadable", "is empty (0 bytes); expected a GeoTIFF")
    _require_whole(content.data)
    # Metadata beside a chip can say another place, and GDAL reads them only together with the place.
    is_alone = content.metadata is None
    tags = read_geo_tags(content.data) if with_place and is_alone else None
    is_asked = with_place and not is_known(tags)
    options = WITHOUT_PLACE if is_alone and not is_asked else {}
    try:
        with ExitStack() as stack:
            memory = stack.enter_context(MemoryFile(content.data, filename="chip.tif"))
            # Without an environment around them, each call below makes one of its own, which takes time.
            stack.enter_context(Env(**(GDAL_OPTIONS if content.metadata is not None else {})))
            # GDAL finds what lies beside the chip, in its folder in memory.
            beside = {"chip.tif" + METADATA_SUFFIX: content.metadata, "chip.tfw": UNUSED_WORLD if options else None}
            for name, data in beside.items():
                if data is not None:
                    stack.enter_context(MemoryFile(data, dirname=memory.name.split("/")[2], filename=name))
            source = stack.enter_context(memory.open(driver="GTiff", **options))
            _check_header(source, spec)
            if has_mask(content.data) and not shows_mask(source):
                raise ChipError("unreadable", "has a mask in it that GDAL does not read; expected a whole GeoTIFF")
            bands = _bands_to_read(source, spec, find_bands)
            window = None if side_px is None else _find_middle(source.shape, side_px)
            raw = source.read(bands, window=window)
            missing = read_masks(source, bands, window)
            all_descriptions = read_descriptions(source)
            descriptions = tuple(all_descriptions[band - 1] for band in bands)
            nodata_values, scales, offsets = (
                tuple(values[band - 1] for band in bands)
                for values in (source.nodatavals, source.scales, source.offsets)
            )
            wrong_colours = find_wrong_colours(source, [band - 1 for band in bands], spec.bands)
            centre = None
            if is_asked:
                centre = find_centre(source, content.path, tags)
            elif tags is not None:
                centre = centre_of(tags, source.shape)
            count, shape, dtypes = source.count, source.shape, [source.dtypes[band - 1] for band in bands]
            simulated = SIMULATED_TAG.items() <= source.tags().items()
    except (RasterioError, UnicodeDecodeError) as error:
        raise _unreadable(error, content.data) from error
    if content.mask is not None:
        masks = _decode_mask(content.mask, (count, *shape))[[band - 1 for band in bands]]
        missing |= masks if window is None else masks[:, *window.toslices()]
    scaling = tuple(zip(scales, offsets, strict=True))
    require_tags_of_all(scaling, dtypes, spec.bands, spec.unit)
    values = to_reflectance(raw, missing, nodata_values, scaling, spec)
    chip = make_chip(raw, values, dtypes, descriptions, scaling, centre, simulated)
    is_cropped = raw.shape[1:] != shape
    return replace(chip, is_cropped=is_cropped, all_descriptions=all_descriptions, wrong_colours=wrong_colours)


def _require_whole(data: bytes, name: str = "") -> None:
    """Raise a ChipError where a part of a file is lost or damaged that GDAL would leave out without an error.

    Args:
        data: bytes of the file.
        name: begin of the message about a file beside the chip.
    """
    if (damage := find_damage(data)) is not None:
        raise ChipError("unreadable", f"{name}is damaged ({damage}); expected a whole GeoTIFF")


def _unreadable(error: Exception, data: bytes = b"") -> ChipError:
    """Return the problem of a file that GDAL cannot read; `data` are its bytes, if it may be another kind of file."""
    if isinstance(error, UnicodeDecodeError):
        found = f"has text that is not UTF-8 ({error.object[:40].decode('latin-1')})"
        return ChipError("unreadable", f"{found}; expected {UTF_8}", remedy=AS_CODE)
    if (kind := find_kind(data[:HEAD_BYTES])) and kind.name != TIFF:
        advice = f" ({kind.remedy})" if kind.remedy else ""
        return ChipError("unreadable", f"is {kind.name}{advice}; expected a whole GeoTIFF")
    # GDAL names its copy in memory, which is in a random folder; remove this path from the message.
    cause = re.sub(r"'?(/vsimem/\S+/)?chip\.tif(\.msk)?'?[:,]? ?", "", str(error.__cause__ or error))
    return ChipError("unreadable", f"cannot be decoded ({cause}); expected a whole GeoTIFF")


def _check_header(source: DatasetReader, spec: DatasetSpec) -> None:
    """Raise a ChipError if the header of a file says that its pixels are no chip; nothing was decoded yet."""
    if source.subdatasets:
        raise ChipError("pages", f"has {len(source.subdatasets)} pages; expected one image with all bands")
    if any("complex" in dtype for dtype in source.dtypes):
        raise ChipError("dtype", f"holds {source.dtypes[0]} values; expected real numbers")
    found, side = f"is {source.height} x {source.width} px", spec.chip_size_px
    if side is not None and source.shape != (side, side):
        raise ChipError("size", f"{found}; expected {side} x {side} px")
    if max(source.shape) > MAX_SIDE_PX:
        raise ChipError("size", f"{found}; expected a chip of at most {MAX_SIDE_PX} px a side")
    _check_tiles(source)


def _find_middle(shape: tuple[int, int], side_px: int) -> Window:
    """Return the square in the middle of a file.

    Raises:
        ChipError: the file is smaller, or no square of this side has its centre.
    """
    rows, columns = (length - side_px for length in shape)
    if rows < 0 or columns < 0 or rows % 2 or columns % 2:
        expected = f"{side_px} x {side_px} px, or an even number of pixels more, which is cropped to its centre"
        raise ChipError("size", f"is {shape[0]} x {shape[1]} px; expected {expected}")
    return Window(columns // 2, rows // 2, side_px, side_px)


def _bands_to_read(source: DatasetReader, spec: DatasetSpec, find_bands: FindBands | None) -> list[int]:
    """Return the numbers of the bands of the dataset in a file, counted from 1.

    Raises:
        ChipError: the file does not have the bands of the dataset.
    """
    if find_bands is not None:
        return [position + 1 for position in find_bands(read_descriptions(source))]
    if source.count != len(spec.bands):
        expected = f"{len(spec.bands)} ({', '.join(spec.bands)})"
        raise ChipError("band_count", f"has {source.count} band(s); expected {expected}")
    return list(source.indexes)


def _check_tiles(source: DatasetReader) -> None:
    """Raise a ChipError if one tile of a file would fill the memory, whatever the size of its image."""
    tile = source.block_shapes[0]
    if max(tile) > MAX_SIDE_PX:
        found = f"has tiles of {tile[0]} x {tile[1]} px"
        raise ChipError("size", f"{found}; expected at most {MAX_SIDE_PX} px a side")


def _decode_mask(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Decode the mask beside a chip: booleans of the chip's shape, true where pixels are missing.

    Args:
        data: bytes of a GeoTIFF with one band, or one for each band of the chip; 0 means missing.
        shape: bands, height and width of the chip.

    Raises:
        ChipError: the mask cannot be decoded, is no mask of GDAL, or has another size than the chip.
    """
    if not data:
        raise ChipError("unreadable", f"has a mask {MASK_SUFFIX} that is empty (0 bytes); expected a mask of GDAL")
    _require_whole(data, f"has a mask {MASK_SUFFIX} that ")
    try:
        with MemoryFile(data, filename="chip.tif.msk") as memory, memory.open(driver="GTiff") as source:
            bands = bands_of_mask(source, shape)
            _check_tiles(source)
            return (source.read() == 0)[bands]
    except (RasterioError, UnicodeDecodeError) as error:
        problem = _unreadable(error)
        raise ChipError("unreadable", f"has a mask {MASK_SUFFIX} that {problem.problem}") from error
