"""The files beside an image that belong to it: its mask, its metadata and its world file."""

from __future__ import annotations

import codecs
import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from terralucas.data.chip_problems import ChipError

# GDAL writes masks and metadata beside an image if it cannot write them into it.
MASK_SUFFIX, METADATA_SUFFIX = ".msk", ".aux.xml"
# Endings of world files, which have the place of the pixels; a file `chip.tfw` belongs to `chip.tif`.
WORLD_SUFFIXES = (".tfw", ".tifw", ".tiffw", ".wld")
# Linux follows no more links one after the other.
_MOST_LINKS = 40
# GDAL reads them unless variables of the user's shell forbid it.
GDAL_OPTIONS = {"GDAL_DISABLE_READDIR_ON_OPEN": "FALSE", "GDAL_PAM_ENABLED": "YES"}
_ROOT, _BAND = "PAMDataset", "PAMRasterBand"
# What GDAL reads from the metadata file of a chip and what changes pixels or their meaning. All else there (statistics
# and histograms that viewers add) must not change the identity of a chip.
_BAND_METADATA = ("Description", "NoDataValue", "Offset", "Scale")
# Domain and key of the central wavelength of a band, in µm (GDAL raster data model, "IMAGERY domain").
WAVELENGTH = ("IMAGERY", "CENTRAL_WAVELENGTH_UM")
# Colours that do not say what a band is. `Alpha` says that it is a mask.
_NO_COLOURS = ("", "Undefined", "Gray", "Palette")
# The georeference in this file, which counts for GDAL before that of the chip.
_PLACE_METADATA = ("SRS", "GeoTransform")
# Names of all that is kept of the file, by their small letters.
_ELEMENTS = {
    name.lower(): name for name in (_ROOT, _BAND, "Metadata", "MDI", "ColorInterp", *_BAND_METADATA, *_PLACE_METADATA)
}


def mask_files(path: Path) -> list[Path]:
    """Return the files beside an image that GDAL would take for its mask, whether they exist or not.

    Old file systems write names in capitals.
    """
    return [path.with_name(path.name + suffix) for suffix in (MASK_SUFFIX, MASK_SUFFIX.upper())]


def metadata_file(path: Path) -> Path:
    """Return the file beside an image that GDAL would take for its metadata, whether it exists or not."""
    return path.with_name(path.name + METADATA_SUFFIX)


def metadata_files(path: Path) -> list[Path]:
    """Return the same as a list, as `mask_files` and `world_files`."""
    return [metadata_file(path)]


def world_files(path: Path) -> list[Path]:
    """Return the files beside a chip that GDAL would take for its world file, in its order, whether they exist or not.

    Their endings are in small letters, in capitals, or begin with one. GDAL reads other mixtures too, but not where a
    folder has more than a thousand files.
    """
    own = path.suffix.lower()
    # Of `.tiff`: `.tfw`, `.tiffw`, and not `.tifw`.
    endings = [f"{own[1]}{own[-1]}w", f"{own[1:]}w"] if own else []
    endings = [end for name in (*endings, "wld") for end in (name, name.upper(), name.capitalize())]
    return [path.with_suffix(f".{end}") for end in endings]


def refuse_lost_by_link(path: Path, *kinds: Callable[[Path], list[Path]]) -> None:
    """Raise an error if an image is a link, and files that belong to it lie only beside the file to which it leads.

    Args:
        path: the image; nothing is refused where it is no link.
        kinds: of `find_lost_by_link`.

    Raises:
        ChipError: there is such a file.
    """
    if (lost := find_lost_by_link(path, *kinds)) is not None:
        raise ChipError(
            "lost_by_link",
            f"is a link, beside which a link to {lost} is missing; expected such a link",
        )


def find_lost_by_link(path: Path, *kinds: Callable[[Path], list[Path]]) -> Path | None:
    """Return a file beside a file to which a link leads, if the link has none of its kind beside it.

    GDAL looks beside the link alone. A link may lead to another link, which has files beside it too.

    Args:
        path: the image.
        kinds: functions that return the files of a kind, such as `mask_files`.

    Returns:
        The file; None without one, and where `path` is no link.
    """
    for target, files_of in itertools.product(targets_of(path), kinds):
        # No file can have a name that is too long because of the ending.
        with contextlib.suppress(OSError):
            lost = next((file for file in files_of(target) if file.is_file() and _matters(file)), None)
            if lost is not None and not any(file.exists() and _matters(file) for file in files_of(path)):
                return lost
    return None


def targets_of(path: Path) -> list[Path]:
    """Return the files to which a link leads, one after the other; none for a file that is no link."""
    targets: list[Path] = []
    # A circle of links ends in an error when the file is read.
    while len(targets) < _MOST_LINKS and os.path.islink(path):  # noqa: PTH114 - false for names that are too long
        path = path.parent / path.readlink()
        targets.append(path)
    return targets


def _matters(beside: Path) -> bool:
    """Return whether a file beside an image changes pixels or their meaning."""
    try:
        return not beside.name.endswith(METADATA_SUFFIX) or reduce_metadata(beside.read_bytes()) is not None
    # It may be closed to this user.
    except (ChipError, OSError):
        return True


def reduce_metadata(text: bytes) -> bytes | None:
    """Return the elements of GDAL's metadata file that change pixels or their meaning, as XML; None if there are none.

    Raises:
        ChipError: the text is no XML, or GDAL would not read it.
    """
    try:
        root = ElementTree.fromstring(_decode(text))
        if root.tag != _ROOT:
            raise ElementTree.ParseError(f"it begins with <{root.tag}>")
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise _unreadable(str(error)) from error
    reduced = ElementTree.Element(_ROOT)
    for item in sorted((item for item in root if item.tag in _PLACE_METADATA), key=lambda item: item.tag):
        ElementTree.SubElement(reduced, item.tag, item.attrib).text = item.text
    # Of the default domain alone.
    for metadata in (item for item in root.findall("Metadata") if not item.get("domain")):
        for item in metadata.findall("MDI[@key='NODATA_VALUES']"):
            ElementTree.SubElement(ElementTree.SubElement(reduced, "Metadata"), "MDI", item.attrib).text = item.text
    for band in root.findall(_BAND):
        kept = [item for item in band if item.tag in _BAND_METADATA or _is_colour(item)]
        domain, key = WAVELENGTH
        wavelengths = band.findall(f"Metadata[@domain='{domain}']/MDI[@key='{key}']")
        if kept or wavelengths:
            copy = ElementTree.SubElement(reduced, _BAND, band.attrib)
            for item in sorted(kept, key=lambda item: item.tag):
                ElementTree.SubElement(copy, item.tag, item.attrib).text = item.text
            for item in wavelengths:
                metadata = ElementTree.SubElement(copy, "Metadata", domain=domain)
                ElementTree.SubElement(metadata, "MDI", item.attrib).text = item.text
    # Not in the metadata of other programs that it may contain.
    for item in (root, *root, *(child for band in root.findall(_BAND) for child in band)):
        # GDAL reads these names in any capitals, and as attributes; here they are read as GDAL writes them.
        odd = [name for name in (item.tag, *item.attrib) if _ELEMENTS.get(name.lower(), name) != name]
        odd += [name for name in item.attrib if name in _ELEMENTS.values()]
        if odd:
            raise _unreadable(f"it has {odd[0]}, which GDAL writes as an element {_ELEMENTS[odd[0].lower()]}")
    if not len(reduced):
        return None
    if not text.removeprefix(codecs.BOM_UTF8).lstrip().startswith(f"<{_ROOT}".encode()):
        # An XML declaration, a comment or another coding: GDAL leaves out the whole file.
        raise _unreadable(f"GDAL reads it only if it begins with <{_ROOT}>")
    return ElementTree.tostring(reduced)


def _decode(text: bytes) -> bytes | str:
    """Return XML as text if it is in Latin-1: GDAL writes descriptions as they are in a file."""
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        if text.startswith(f"<{_ROOT}".encode()):
            return text.decode("latin-1")
    return text


def _unreadable(reason: str) -> ChipError:
    found = f"has a file {METADATA_SUFFIX} beside it that cannot be read ({reason})"
    return ChipError("unreadable", f"{found}; expected XML of GDAL, or no such file")


def _is_colour(item: ElementTree.Element) -> bool:
    """Return whether an element says what its band is, such as a mask or red."""
    return item.tag == "ColorInterp" and (item.text or "").strip() not in _NO_COLOURS
