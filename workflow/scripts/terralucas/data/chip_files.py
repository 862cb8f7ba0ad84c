"""Read the files of a chip, decode them, and list all kinds of problems that a chip can have."""

from __future__ import annotations

import copyreg
import errno
import hashlib
import math
import os
import re
import stat
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from rasterio import Env
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window

from terralucas.commands import REMOVE_PLACE, REWRITE
from terralucas.data.band_names import find_named
from terralucas.data.dataset import DN_PER_REFLECTANCE, DatasetSpec
from terralucas.data.georeference import (
    UNUSED_WORLD,
    WITHOUT_PLACE,
    Centre,
    centre_of,
    find_centre,
    is_known,
    read_geo_tags,
)
from terralucas.errors import StudyError, printable
from terralucas.file_kinds import HEAD_BYTES, TIFF, find_kind
from terralucas.files import sha256_of_json

# Chips need no place.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
# Function that finds the positions of bands from the descriptions of all bands of a file (None without one).
FindBands = Callable[[tuple[str | None, ...]], Sequence[int]]
# Clouds and snow can be brighter than 1; after atmospheric correction, water can be slightly below 0.
REFLECTANCE_RANGE = (-0.2, 2.0)
# Sun glint can be brighter than that, but neither as bright as this, nor in exactly the values that programs write for
# missing data: the ends of 16-bit integers, and the -9999 of GIS.
_POSSIBLE_REFLECTANCE = (-1.0, 10.0)
_MARKS_OF_MISSING = (-32768, -9999, 32767, 65535)
# Negative DN down to -10,000 have these values in 16 bits without a sign.
FIRST_WRAPPED = 2**16 - 10_000
# In fewer bands, grey ground can have one value in all of them.
_BANDS_OF_PATCHES = 4
# Clouds that are cut off at one value have at least this reflectance, or are the brightest pixels of their chip.
_CLOUD_REFLECTANCE = 1.0
# A larger image is a scene and not a chip; several of them would not fit into memory. The limit also holds for the
# tiles inside a file, because a tile is decoded whole.
MAX_SIDE_PX = 1024
# More than the uncompressed values of any chip: 12 bands of 8 bytes, with overviews and masks.
MAX_FILE_BYTES = 256 * 2**20
# What the description of an alpha band may say; `alpha` and `fmask` are also layers that the names of bands know.
_ALPHA = re.compile("alpha|mask|valid|nodata|transparen|opacity", re.IGNORECASE)
# Simulated chips say so themselves, wherever their files go.
SIMULATED_TAG = {"TERRALUCAS_SIMULATED": "yes"}
# Files beside a chip that belong to it. GDAL writes masks and metadata there if it cannot write them into the chip.
MASK_SUFFIX, METADATA_SUFFIX = ".msk", ".aux.xml"
# GDAL reads them unless variables of the user's shell forbid it.
GDAL_OPTIONS = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE", "GDAL_PAM_ENABLED": "YES"}
# What GDAL reads from the metadata file of a chip and what changes pixels or their meaning. All else there (statistics
# and histograms that viewers add) must not change the identity of a chip.
_BAND_METADATA = ("Description", "NoDataValue", "Offset", "Scale")
# The georeference in this file, which counts for GDAL before that of the chip.
_PLACE_METADATA = ("SRS", "GeoTransform")
# All kinds of problems that a chip can have, and what the user can do.
REMEDIES = {
    "missing_id": "give every row of the labels table an id, and check dataset.layout.id_column",
    "duplicate_label": "keep one row per chip in the labels table",
    "label_without_file": "fetch and unpack the data again if it is incomplete, check dataset.layout.id_column and "
    "file_column, write the paths of file_column relative to the table and with /, or remove the rows without a file "
    "from the labels table",
    "duplicate_file": "keep one file per chip id, and one chip id per file; where files of different chips have one "
    "name, as <id>/image.tif, name them in a labels table (dataset.layout.file_column)",
    "file_without_label": "add the chip to the labels table or to a class folder, or remove the file",
    "unknown_label": "list every class under dataset.classes, and check dataset.layout.label_column",
    "folder_disagrees": "find out whether the class folder or the labels table is right, and correct the other one",
    "not_a_lucas_id": "name the chips by their LUCAS Point_ID, or set dataset.point_ids: none",
    "bad_coordinates": "check x_column (longitude, easting), y_column (latitude, northing) and crs of dataset.layout; "
    "with LUCAS ids also whether names of files were exchanged; correct a georeference that is no place on Earth, or "
    f"remove it ({REMOVE_PLACE})",
    "not_a_file": "restore what the link leads to, or remove the entry",
    "bad_name": "rename the file or folder in UTF-8",
    "unreadable": "fetch and unpack the data again; files may be truncated",
    "pages": "write one image with all bands per file; a file with several pages has several images",
    "band_count": "check dataset.bands: one name per band, in the order on disk",
    "band_descriptions": "correct dataset.bands to the order on disk, or set dataset.checks.band_descriptions: false "
    "if the descriptions in the files are wrong",
    "dtype": "write all chips as real numbers of one type that can hold dataset.unit (float32, uint16, ...), or set "
    "dataset.checks.allow_mixed_dtypes: true if the types differ on purpose",
    "scale_tags": "check dataset.unit, or correct the tags ("
    f"{REWRITE} chips corrected --without-scale leaves them out)",
    "size": "check dataset.chip_size_px, and cut all chips to one square size that is a multiple of the patch size",
    "pixel_size": "set dataset.pixel_size_m to the size of the pixels, resample the chips to one size, or correct the "
    f"georeference of the files ({REMOVE_PLACE} removes it)",
    "missing_values": "check dataset.nodata and the nodata tag of the files (rio info): where that is a value of water "
    "or shade, such as 0, remove it (rio edit-info --unset-nodata) and set dataset.checks.allow_constant_bands: true; "
    "check that the chips were exported with data in every band; or raise dataset.checks.max_nodata_fraction, but a "
    "band without any value is never used",
    "fill": "mark these pixels as missing: with dataset.nodata if one value fills them, otherwise with a mask in the "
    "file; or raise dataset.checks.max_fill_fraction if they are ground, such as dark water or coarse values",
    "impossible_values": "set dataset.nodata to this value, or write it into the files as their nodata value "
    "(rio edit-info --nodata) where dataset.nodata has another one",
    "value_range": "check dataset.unit and dataset.nodata",
    "band_levels": "write all bands in dataset.unit, with one scale and offset, or set "
    "dataset.checks.band_levels: false if the chips are right",
    "brightness": "export the chip again in dataset.unit, or lower dataset.checks.min_chip_brightness",
    "constant": "export the chip again, set dataset.nodata if its only value means missing data, or set "
    "dataset.checks.allow_constant_bands: true",
    "equal_bands": "export the chips again with the right file or layer for each band, or set "
    "dataset.checks.allow_equal_bands: true if one band stands for another on purpose",
    "duplicate_content": "keep one file of each chip, and remove flipped or rotated copies "
    "(training.end_to_end.augmentation makes such copies of training chips alone); a copy among the test chips of a "
    "chip that is trained on makes every score too high",
    "conflicting_labels": "find out which label is right, and remove the other copies of the chip",
}


class ChipError(StudyError):
    """A chip that cannot be used.

    Args:
        kind: what is wrong: a key of `REMEDIES`, or a problem that only new chips can have.
        message: what was found and expected.
        advice: what in the configuration would make this chip usable, if it is known; it is added to the message.
        remedy: what the user can do; by default that of `REMEDIES`.
    """

    def __init__(self, kind: str, message: str, advice: str = "", remedy: str | None = None) -> None:
        super().__init__(f"{message}{advice}", remedy=remedy or REMEDIES[kind])
        self.kind, self.without_advice = kind, printable(message)

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, Python makes an error again from its text alone; a process that reads chips could not send it.
        return copyreg.__newobj__, (ChipError, *self.args), vars(self)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class ChipContent:
    """The content of a chip: its file, and what the files beside it add.

    Attributes:
        data: bytes of the GeoTIFF.
        mask: bytes of `<file>.msk`, a GeoTIFF that is 0 where pixels are missing; None without such a file.
        metadata: the part of `<file>.aux.xml` that GDAL reads and that matters; None without it.
        path: the GeoTIFF. Only for a chip that has a coordinate reference system and no place in it, the world file
            beside it is read: to look for eight more files beside each chip takes time. A world file changes no pixel
            and is no part of `sha256`.
    """

    data: bytes
    mask: bytes | None = None
    metadata: bytes | None = None
    path: Path | None = None

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the content: of the file's bytes if there is nothing beside it."""
        digest = hashlib.sha256(self.data).hexdigest()
        beside = [None if part is None else hashlib.sha256(part).hexdigest() for part in (self.mask, self.metadata)]
        return sha256_of_json([digest, *beside]) if any(beside) else digest


@dataclass(frozen=True)
class Chip:
    """A decoded chip; `make_chip` builds it.

    Attributes:
        values: (bands, height, width) float32 surface reflectance, nominally 0..1; NaN for missing pixels.
        dtype: type of the values in the file, such as `uint16`.
        descriptions: descriptions of the bands in the file; None for a band without one.
        scaling: scale and offset of each band in the file, which `values` contain already; (1, 0) without tags.
        fill_value: the commonest of the stored values that fill pixels: pixels have it in every band, and its
            reflectance is not above 0. It usually means missing data. None without such pixels.
        fill_fraction: share of the pixels with this value, missing ones not counted.
        impossible_value: the commonest of the stored values that no ground has; None without such a value.
        impossible_pixels: number of the pixels that have such a value in any band.
        patch_value: the commonest of the stored values that pixels have in every band and whose reflectance is above 0;
            None without such pixels, and in chips of fewer than 4 bands.
        patch_fraction: share of the pixels with this value.
        patch_may_be_cloud: whether it is so bright that it may be a saturated cloud.
        centre: where the file says that the centre of the chip is on Earth; None if it does not.
        simulated: whether the file says that this project simulated it.
        is_cropped: whether the file is larger, and only its middle was decoded.
    """

    values: np.ndarray
    dtype: str
    descriptions: tuple[str | None, ...]
    scaling: tuple[tuple[float, float], ...]
    fill_value: float | None
    fill_fraction: float
    centre: Centre | None
    impossible_value: float | None
    impossible_pixels: int
    patch_value: float | None
    patch_fraction: float
    patch_may_be_cloud: bool
    simulated: bool
    is_cropped: bool = False


def read_content(path: Path) -> ChipContent:
    """Read the file of a chip and the files beside it.

    Args:
        path: the file of the chip.

    Raises:
        OSError: a file cannot be read.
        ChipError: a file is too large for a chip, or the metadata beside it are no XML.
    """
    data = _read_file(path)
    assert data is not None
    # As GDAL does; old file systems write names in capitals.
    masks = (path.with_name(path.name + suffix) for suffix in (MASK_SUFFIX, MASK_SUFFIX.upper()))
    mask = next((mask for file in masks if (mask := _read_file(file, optional=True)) is not None), None)
    metadata = _read_file(path.with_name(path.name + METADATA_SUFFIX), optional=True)
    return ChipContent(data, mask, None if metadata is None else reduce_metadata(metadata), path)


def read_unchanged(path: Path, sha256: str) -> ChipContent:
    """Return the content of a chip, after checking that it is the indexed one.

    Raises:
        StudyError: the file no longer exists, or its content or the files beside it have changed.
    """
    if not path.is_file():
        raise StudyError(
            f"The chip {path} is gone: it no longer exists since the chips were indexed.",
            remedy="put the file back; if it was unpacked from an archive, snakemake --cores 1 --force -- "
            "results/<study>/data/retrieval.json unpacks it again, which repeats no run. (To index other chips, delete "
            "the folder data/ of the study: all features and runs are then made again)",
        )
    content = read_content(path)
    if content.sha256 != sha256:
        raise StudyError(
            f"The chip {path} changed since the chips were indexed.",
            found=f"another content of the file, or of {path.name}{MASK_SUFFIX} or {path.name}{METADATA_SUFFIX}",
            remedy="put the file back as it was, which repeats nothing; if it was unpacked from an archive, snakemake "
            "--cores 1 --force -- results/<study>/data/retrieval.json unpacks it again. If the new content is right, "
            "delete data/chips.parquet of the study: the chips are then checked and indexed again, and features and "
            "runs are made again",
        )
    return content


def _read_file(path: Path, optional: bool = False) -> bytes | None:
    """Return the bytes of a file; None if it does not exist and is optional.

    Raises:
        OSError: the file cannot be read.
        ChipError: it is too large for a chip, is no file, or is a link that leads nowhere.
    """
    try:
        # Opened, a FIFO would wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ChipError("unreadable", f"has an entry {path.name} that is no regular file; expected a file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                found = f"has a file of {size / 2**20:,.0f} MiB ({path.name})"
                raise ChipError("size", f"{found}; expected a chip, at most {MAX_FILE_BYTES / 2**20:.0f} MiB")
            return file.read()
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114 - false for names that are too long
            message = f"has a link {path.name} that cannot be followed ({error.strerror}); expected a file"
            raise ChipError("unreadable", message) from error
        # No file can have a name that is too long because of the ending of what lies beside a chip.
        if optional and error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return None
        raise


def reduce_metadata(text: bytes) -> bytes | None:
    """Return the elements of GDAL's metadata file that change pixels or their meaning, as XML; None if there are none.

    Raises:
        ChipError: the text is no XML.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        message = f"has a file {METADATA_SUFFIX} beside it that cannot be read ({error}); expected XML of GDAL"
        raise ChipError("unreadable", message) from error
    reduced = ElementTree.Element("PAMDataset")
    for item in sorted((item for item in root if item.tag in _PLACE_METADATA), key=lambda item: item.tag):
        ElementTree.SubElement(reduced, item.tag, item.attrib).text = item.text
    for item in root.findall("Metadata/MDI[@key='NODATA_VALUES']"):
        ElementTree.SubElement(ElementTree.SubElement(reduced, "Metadata"), "MDI", item.attrib).text = item.text
    for band in root.findall("PAMRasterBand"):
        kept = [item for item in band if item.tag in _BAND_METADATA or _is_alpha(item)]
        if kept:
            copy = ElementTree.SubElement(reduced, "PAMRasterBand", band.attrib)
            for item in sorted(kept, key=lambda item: item.tag):
                ElementTree.SubElement(copy, item.tag, item.attrib).text = item.text
    return ElementTree.tostring(reduced) if len(reduced) else None


def _is_alpha(item: ElementTree.Element) -> bool:
    """Return whether an element says that its band is a mask; other colours of bands are for display."""
    return item.tag == "ColorInterp" and (item.text or "").strip() == "Alpha"


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
            bands = _bands_to_read(source, spec, find_bands)
            window = None if side_px is None else _find_middle(source.shape, side_px)
            raw = source.read(bands, window=window)
            missing = read_masks(source, bands, window)
            nodata_values, descriptions, scales, offsets = (
                tuple(values[band - 1] for band in bands)
                for values in (source.nodatavals, source.descriptions, source.scales, source.offsets)
            )
            centre = None
            if is_asked:
                centre = find_centre(source, content.path, tags)
            elif tags is not None:
                centre = centre_of(tags, source.shape)
            count, shape = source.count, source.shape
            simulated = SIMULATED_TAG.items() <= source.tags().items()
    except (RasterioError, UnicodeDecodeError) as error:
        raise _unreadable(error, content.data) from error
    if content.mask is not None:
        masks = _decode_mask(content.mask, (count, *shape))[[band - 1 for band in bands]]
        missing |= masks if window is None else masks[:, *window.toslices()]
    scaling = tuple(zip(scales, offsets, strict=True))
    values = to_reflectance(raw, missing, nodata_values, scaling, spec)
    chip = make_chip(raw, values, descriptions, scaling, centre, simulated)
    return replace(chip, is_cropped=raw.shape[1:] != shape)


def make_chip(
    raw: np.ndarray,
    values: np.ndarray,
    descriptions: tuple[str | None, ...],
    scaling: tuple[tuple[float, float], ...],
    centre: Centre | None = None,
    simulated: bool = False,
) -> Chip:
    """Return a chip with what its stored values show of missing data, which the checks of chips need.

    Args:
        raw: (bands, height, width) values as stored.
        values: their reflectance, NaN where they are missing.
        descriptions: see `Chip`, as the arguments after it.
        scaling: see `Chip`.
        centre: see `Chip`.
        simulated: see `Chip`.
    """
    equal = _find_equal(raw, values)
    fill = _find_fill(equal, raw, values)
    patches = equal & ~fill if len(raw) >= _BANDS_OF_PATCHES else np.zeros_like(fill)
    fill_value, fill_fraction = _measure_commonest(raw[0], fill)
    patch_value, patch_fraction = _measure_commonest(raw[0], patches)
    impossible_value, impossible_pixels = _find_impossible(raw, values)
    return Chip(
        values=values,
        dtype=str(raw.dtype),
        descriptions=descriptions,
        scaling=scaling,
        fill_value=fill_value,
        fill_fraction=fill_fraction,
        centre=centre,
        impossible_value=impossible_value,
        impossible_pixels=impossible_pixels,
        patch_value=patch_value,
        patch_fraction=patch_fraction,
        patch_may_be_cloud=patch_value is not None
        and _may_be_cloud(values[:, patches & (raw[0] == patch_value)], values),
        simulated=simulated,
    )


def to_reflectance(
    raw: np.ndarray,
    missing: np.ndarray,
    nodata_values: Sequence[float | None],
    scaling: Sequence[tuple[float, float]],
    spec: DatasetSpec,
) -> np.ndarray:
    """Convert stored values to surface reflectance.

    Args:
        raw: (bands, height, width) values as stored.
        missing: booleans of the same shape, true outside the masks of the file.
        nodata_values: nodata value of each band in the file; None without one.
        scaling: scale and offset tag of each band.
        spec: description of the dataset: its unit and nodata value.

    Returns:
        (bands, height, width) float32 reflectance, nominally 0..1; NaN for missing pixels: also those that are NaN,
        infinite, or equal to a nodata value.

    Raises:
        ChipError: with the tags, the values are not in the unit of the dataset.
    """
    factors = [_reflectance_factors(scale, offset, spec.unit) for scale, offset in scaling]
    missing = missing.copy()
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and so missing
        for band, missing_in_band, nodata in zip(raw, missing, nodata_values, strict=True):
            for value in {nodata, spec.nodata} - {None}:
                missing_in_band |= band == value
        values = raw.astype(np.float32)
        for band, (factor, shift) in zip(values, factors, strict=True):
            if factor != 1:
                band *= np.float32(factor)
            if shift != 0:
                band += np.float32(shift)
    if spec.unit == "dn":
        values /= np.float32(DN_PER_REFLECTANCE)
    missing |= ~np.isfinite(values)
    np.copyto(values, np.nan, where=missing)
    return values


def _find_fill(equal: np.ndarray, raw: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return where pixels with one stored value in every band are dark, (height, width) booleans.

    Water can be 0 in some bands, and clouds can be saturated in every band, but no ground is 0 in every band.
    """
    fill = equal.copy()
    fill[equal] = np.all((raw[:, equal] == 0) | (values[:, equal] <= 0), axis=0)
    return fill


def _find_equal(raw: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return where pixels have one stored value in every band and none is missing, (height, width) booleans."""
    equal = np.isfinite(values[0])
    for stored, reflectance in zip(raw[1:], values[1:], strict=True):
        equal &= (stored == raw[0]) & np.isfinite(reflectance)
        if not equal.any():  # as in almost all chips after the second band
            break
    return equal


def _may_be_cloud(patch: np.ndarray, values: np.ndarray) -> bool:
    """Return whether the reflectance (bands, pixels) of a patch may be that of a saturated cloud in the chip."""
    return bool(patch.max() >= min(_CLOUD_REFLECTANCE, np.nanmax(values)))


def _find_impossible(raw: np.ndarray, values: np.ndarray) -> tuple[float | None, int]:
    """Return the commonest stored value that no ground has, and the number of pixels that have one in any band."""
    low, high = REFLECTANCE_RANGE
    if not (np.fmin.reduce(values, axis=None) < low or np.fmax.reduce(values, axis=None) > high):
        return None, 0
    is_outside = (values < low) | (values > high)
    low, high = _POSSIBLE_REFLECTANCE
    is_wrapped = raw >= FIRST_WRAPPED if raw.dtype == np.uint16 else False
    is_impossible = is_outside & (np.isin(raw, _MARKS_OF_MISSING) | (values < low) | (values > high) | is_wrapped)
    found, counts = np.unique(raw[is_impossible], return_counts=True)
    if not len(found):
        return None, 0
    return float(found[counts.argmax()]), int(is_impossible.any(axis=0).sum())


def _measure_commonest(raw: np.ndarray, chosen: np.ndarray) -> tuple[float | None, float]:
    """Return the commonest stored value of the chosen pixels of a band, and the share of all pixels that have it.

    Args:
        raw: (height, width) stored values.
        chosen: booleans of the same shape.
    """
    values, counts = np.unique(raw[chosen], return_counts=True)
    if not len(values):
        return None, 0.0
    return float(values[counts.argmax()]), float(counts.max() / chosen.size)


def _unreadable(error: Exception, data: bytes = b"") -> ChipError:
    """Return the problem of a file that GDAL cannot read; `data` are its bytes, if it may be another kind of file."""
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
        return [position + 1 for position in find_bands(source.descriptions)]
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
    texts = source.descriptions if alpha else ()
    named = [position + 1 for position in find_named(texts)]
    return [number for number in alpha if number not in named or _ALPHA.search(texts[number - 1] or "")]


def _decode_mask(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Decode the mask beside a chip: booleans of the chip's shape, true where pixels are missing.

    Args:
        data: bytes of a GeoTIFF with one band, or one for each band of the chip; 0 means missing. As for GDAL, its tags
            INTERNAL_MASK_FLAGS_<band> say which one is the mask of a band (2: the first, for all bands).
        shape: bands, height and width of the chip.

    Raises:
        ChipError: the mask cannot be decoded, is no mask of GDAL, or has another size than the chip.
    """
    try:
        with MemoryFile(data, filename="chip.tif.msk") as memory, memory.open(driver="GTiff") as source:
            if source.shape != shape[1:] or source.count not in (1, shape[0]):
                found = f"{source.count} band(s) of {source.height} x {source.width} px"
                expected = f"1 or {shape[0]} bands of {shape[1]} x {shape[2]} px"
                raise ChipError("unreadable", f"has a mask {MASK_SUFFIX} of {found}; expected {expected}")
            _check_tiles(source)
            flags = [source.tags().get(f"INTERNAL_MASK_FLAGS_{band + 1}", "") for band in range(shape[0])]
            if not all(re.fullmatch("[0-9]+", flag) for flag in flags):
                expected = "a mask of GDAL, with the tag INTERNAL_MASK_FLAGS_1, or no file of this name"
                raise ChipError(
                    "unreadable", f"has a file {MASK_SUFFIX} beside it that is no mask; expected {expected}"
                )
            masks = source.read() == 0
            return np.stack([
                masks[0 if int(flag) & MaskFlags.per_dataset or len(masks) == 1 else band]
                for band, flag in enumerate(flags)
            ])  # fmt: skip
    except (RasterioError, UnicodeDecodeError) as error:
        problem = _unreadable(error)
        raise ChipError("unreadable", f"has a mask {MASK_SUFFIX} that {problem.problem}") from error


def reflectance_of_zero(scaling: Sequence[tuple[float, float]], unit: str) -> list[float]:
    """Return the reflectance of a stored 0 in each band, which is not 0 with an offset tag."""
    shifts = [_reflectance_factors(scale, offset, unit)[1] for scale, offset in scaling]
    return [shift / DN_PER_REFLECTANCE if unit == "dn" else shift for shift in shifts]


def _reflectance_factors(scale: float, offset: float, unit: str) -> tuple[float, float]:
    """Return factor and shift that convert the stored values of a band to the configured unit.

    GDAL's tags say: value = stored × scale + offset. With `unit: reflectance`, the value is the reflectance. With
    `unit: dn`, the stored values are DN, and the tags convert them either to reflectance (scale 1/10,000; the offset of
    Sentinel-2 since baseline 04.00 is −0.1) or to other DN (scale 1, offset −1000).

    Raises:
        ChipError: with the tags, the values are not in the unit.
    """
    if unit == "reflectance" and math.isfinite(offset) and scale > 0 and math.isfinite(scale):
        return scale, offset
    if math.isclose(scale * DN_PER_REFLECTANCE, 1.0, rel_tol=1e-6) and abs(offset) <= 1:
        return 1.0, offset * DN_PER_REFLECTANCE
    if scale == 1 and (offset == 0 or 1 <= abs(offset) <= DN_PER_REFLECTANCE):
        return 1.0, offset
    expected = (
        "scale and offset that give reflectance (0..1)"
        if unit == "reflectance"
        else f"no tags, scale 1/{DN_PER_REFLECTANCE:,} with an offset in reflectance, or scale 1 with an offset in DN"
    )
    raise ChipError("scale_tags", f"has the scale tag {scale:g} and the offset tag {offset:g}; expected {expected}")
