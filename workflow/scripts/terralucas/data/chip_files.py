"""Decode a chip, and list all kinds of problems that a chip can have."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from terralucas.data.dataset import DN_PER_REFLECTANCE, DatasetSpec
from terralucas.errors import StudyError

# A larger file is a scene and not a chip; several of them would not fit into memory.
MAX_SIDE_PX = 4096
# All kinds of problems that a chip can have, and what the user can do.
REMEDIES = {
    "missing_id": "give every row of the labels table an id, and check dataset.layout.id_column",
    "duplicate_label": "keep one row per chip in the labels table",
    "label_without_file": "fetch and unpack the data again if it is incomplete, check dataset.layout.id_column and "
    "file_column, or remove the rows without a file from the labels table",
    "duplicate_file": "keep one file per chip id, and one chip id per file",
    "file_without_label": "add the chip to the labels table or to a class folder, or remove the file",
    "unknown_label": "list every class under dataset.classes, and check dataset.layout.label_column",
    "folder_disagrees": "find out whether the class folder or the labels table is right, and correct the other one",
    "not_a_lucas_id": "name the chips by their LUCAS Point_ID, or set dataset.point_ids: none",
    "bad_coordinates": "check x_column (longitude, easting), y_column (latitude, northing) and crs of dataset.layout",
    "not_a_file": "restore what the link leads to, or remove the entry",
    "bad_name": "rename the file or folder in UTF-8, for example with convmv -f latin1 -t utf-8 --notest -r",
    "unreadable": "fetch and unpack the data again; files may be truncated",
    "band_count": "check dataset.bands: one name per band, in the order on disk",
    "dtype": "write the chips as real numbers (float32, uint16, ...)",
    "size": "check dataset.chip_size_px, and cut all chips to one square size that is a multiple of the patch size",
    "missing_values": "check dataset.nodata, and that the chips were exported with data in every band",
    "value_range": "check dataset.unit and dataset.nodata",
    "constant": "export the chip again, or set dataset.nodata if its only value means missing data",
}


class ChipError(StudyError):
    """A chip that cannot be used; `kind` is a key of `REMEDIES`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message, remedy=REMEDIES[kind])
        self.kind = kind


def read_chip(data: bytes | Path, spec: DatasetSpec) -> np.ndarray:
    """Decode one GeoTIFF chip.

    Args:
        data: the file, or its bytes.
        spec: description of the dataset: bands, unit and value for missing data.

    Returns:
        (bands, height, width) float32 surface reflectance, nominally 0..1. Missing pixels are NaN: pixels that are NaN,
        infinite, equal to the nodata value of the file or dataset, or outside the mask of the file.

    Raises:
        ChipError: the file is not a complete GeoTIFF of real numbers with the bands of the dataset.
    """
    if isinstance(data, bytes):
        return decode_chip(data, spec)
    try:
        return decode_chip(Path(data).read_bytes(), spec)
    except OSError as error:
        raise ChipError("unreadable", f"{data} cannot be read ({error.strerror})") from error
    except ChipError as error:
        raise ChipError(error.kind, f"{data} {error.problem}") from error


def decode_chip(data: bytes, spec: DatasetSpec) -> np.ndarray:
    """Decode the bytes of a GeoTIFF chip, as `read_chip`; error messages start without the name of the file."""
    if not data:
        raise ChipError("unreadable", "is empty (0 bytes); expected a GeoTIFF")
    try:
        with MemoryFile(data, filename="chip.tif") as memory, memory.open(driver="GTiff") as source:
            if source.count != len(spec.bands):
                expected = f"{len(spec.bands)} ({', '.join(spec.bands)})"
                raise ChipError("band_count", f"has {source.count} band(s); expected {expected}")
            if any("complex" in dtype for dtype in source.dtypes):
                raise ChipError("dtype", f"holds {source.dtypes[0]} values; expected real numbers")
            if max(source.shape) > MAX_SIDE_PX:
                found = f"{source.height} x {source.width} px"
                raise ChipError("size", f"is {found}; expected a chip of at most {MAX_SIDE_PX} px a side")
            raw = source.read()
            nodata_values = source.nodatavals
            # Alpha bands are ignored, because GDAL takes any fourth band of small integers for an alpha band.
            missing = np.zeros(raw.shape, dtype=bool)
            if source.mask_flag_enums[0] == [MaskFlags.per_dataset]:
                missing |= source.dataset_mask() == 0
    except (RasterioError, UnicodeDecodeError) as error:
        # GDAL names its copy in memory, which is in a random folder; remove this path from the message.
        cause = re.sub(r"'?(/vsimem/\S+/)?chip\.tif'?[:,]? ?", "", str(error.__cause__ or error))
        raise ChipError("unreadable", f"cannot be decoded ({cause}); expected a whole GeoTIFF") from error
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and so missing
        for band, missing_in_band, nodata in zip(raw, missing, nodata_values, strict=True):
            for value in {nodata, spec.nodata} - {None}:
                missing_in_band |= band == value
        values = raw.astype(np.float32)
    if spec.unit == "dn":
        values /= np.float32(DN_PER_REFLECTANCE)
    values[missing | ~np.isfinite(values)] = np.nan
    return values
