"""Read the files of a chip, without decoding them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from terralucas.data.chip_problems import ChipError
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json

# More than the uncompressed values of any chip: 12 bands of 8 bytes, with overviews and masks.
MAX_FILE_BYTES = 256 * 2**20
# Files beside a chip that belong to it. GDAL writes masks and metadata there if it cannot write them into the chip.
MASK_SUFFIX, METADATA_SUFFIX = ".msk", ".aux.xml"
# GDAL reads them unless variables of the user's shell forbid it.
GDAL_OPTIONS = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE", "GDAL_PAM_ENABLED": "YES"}
# What GDAL reads from the metadata file of a chip and what changes pixels or their meaning. All else there (statistics
# and histograms that viewers add) must not change the identity of a chip.
_BAND_METADATA = ("Description", "NoDataValue", "Offset", "Scale")
# The georeference in this file, which counts for GDAL before that of the chip.
_PLACE_METADATA = ("SRS", "GeoTransform")


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


def read_content(path: Path) -> ChipContent:
    """Read the file of a chip and the files beside it.

    Args:
        path: the file of the chip.

    Raises:
        OSError: a file cannot be read.
        ChipError: a file is too large for a chip, the metadata beside it are no XML, or it is a link, and its mask or
            its metadata lie beside the file to which it leads.
    """
    data = _read_file(path)
    assert data is not None
    # As GDAL does; old file systems write names in capitals.
    masks = (path.with_name(path.name + suffix) for suffix in (MASK_SUFFIX, MASK_SUFFIX.upper()))
    mask = next((mask for file in masks if (mask := _read_file(file, optional=True)) is not None), None)
    metadata = _read_file(path.with_name(path.name + METADATA_SUFFIX), optional=True)
    if (lost := find_lost_by_link(path)) is not None:
        raise ChipError(
            "lost_by_link", f"is a link, beside which the file {lost} is missing; expected a link to it, too"
        )
    return ChipContent(data, mask, None if metadata is None else reduce_metadata(metadata), path)


def find_lost_by_link(path: Path) -> Path | None:
    """Return the mask or the metadata beside the file to which a link leads, if the link has none beside it.

    GDAL looks beside the link. None where `path` is no link.
    """
    if not os.path.islink(path):  # noqa: PTH114 - false for names that are too long
        return None
    target = path.resolve()
    for suffix in (MASK_SUFFIX, METADATA_SUFFIX):
        lost = target.with_name(target.name + suffix)
        # No file can have a name that is too long because of the ending.
        with contextlib.suppress(OSError):
            if lost.is_file() and not path.with_name(path.name + suffix).exists() and _matters(lost):
                return lost
    return None


def _matters(beside: Path) -> bool:
    """Return whether a file beside an image changes pixels or their meaning."""
    try:
        return not beside.name.endswith(METADATA_SUFFIX) or reduce_metadata(beside.read_bytes()) is not None
    except ChipError:
        return True


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
        found = f"has a file {METADATA_SUFFIX} beside it that cannot be read ({error})"
        raise ChipError("unreadable", f"{found}; expected XML of GDAL, or no such file") from error
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
