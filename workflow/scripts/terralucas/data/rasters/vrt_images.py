"""Read from a VRT which bands of which images it shows, and what it does with them."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import rasterio
from rasterio import Env
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from terralucas.data.rasters.side_files import GDAL_OPTIONS
from terralucas.errors import StudyError

# First column, first row, columns, rows.
Rectangle: TypeAlias = tuple[float, float, float, float]
# GDAL's own writing of an open VRT: well-formed, in UTF-8, and of what it has understood alone.
_DOMAIN = "xml:VRT"
# Name of a way to decode bytes that are no UTF-8.
_LATIN_1_ELSE = "terralucas-latin-1"
# Elements of a source that change its values, so that its tags need not be those of the VRT, but for these texts.
_CHANGES = {"ScaleRatio": "1", "ScaleOffset": "0", "LUT": "", "Exponent": "", "ColorTableComponent": ""}
# Masks that a source leaves out with UseMaskBand, and those that GDAL's warper looks at by itself.
_ALL_MASKS = frozenset({MaskFlags.per_dataset, MaskFlags.alpha, MaskFlags.nodata})
_MASKS_OF_WARPER = _ALL_MASKS - {MaskFlags.nodata}
# VRTs in VRTs, at most.
_DEPTH = 4


@dataclass(frozen=True)
class VrtSource:
    """A band of an image from which a band of a VRT takes pixels.

    Attributes:
        band: number of the band of the VRT.
        image: name of the image for GDAL, such as its path.
        of_image: number of the band of the image.
        is_changed: whether the VRT computes other values from it.
        part: what of the image the VRT shows; None for all.
        shown: where in the VRT it shows this; None for everywhere.
        replaced: the nodata value whose pixels get another value in the VRT; None for none.
        replaced_masks: kinds of masks whose missing pixels get it, too.
        replacement: the value that they get.
        is_warped: whether the VRT resamples the image.
    """

    band: int
    image: str
    of_image: int
    is_changed: bool
    part: Rectangle | None
    shown: Rectangle | None
    replaced: float | None
    replaced_masks: frozenset[MaskFlags]
    replacement: float
    is_warped: bool = False


def names_of_band_files(path: Path, vrt: DatasetReader, depth: int = 0) -> tuple[str, ...]:
    """Return the names, without suffix, of the images of a VRT that has one with one band behind each of its bands.

    gdal.BuildVRT with the option `separate` writes such ones, without descriptions of the bands. They may be behind
    other VRTs.

    Args:
        path: of the file; for messages.
        vrt: the open file.
        depth: number of the VRTs in which it is.

    Returns:
        A name for each band; none for other files.

    Raises:
        StudyError: it, or an image of it, cannot be read.
    """
    if vrt.driver != "VRT" or depth > _DEPTH:
        return ()
    sources = list(sources_of(path, vrt))
    if vrt.count < 2 or sorted(source.band for source in sources) != list(vrt.indexes):
        return ()
    names: dict[int, str] = {}
    for image in dict.fromkeys(source.image for source in sources):
        of_image = [source for source in sources if source.image == image]
        with open_image(path, image) as opened:
            if opened.driver == "VRT":
                inner = names_of_band_files(path, opened, depth + 1)
            else:
                inner = (Path(image).stem,) if opened.count == 1 else ()
        names |= {source.band: inner[source.of_image - 1] for source in of_image if source.of_image <= len(inner)}
    is_whole = len(set(names.values())) == vrt.count
    return tuple(names[band] for band in vrt.indexes) if is_whole else ()


def sources_of(path: Path, vrt: DatasetReader) -> Iterator[VrtSource]:
    """Yield the sources of an open VRT, also of one that warps; not those of bands that a function computes."""
    try:
        root = _parse(vrt)
    except (KeyError, OSError, ElementTree.ParseError) as error:
        raise _error(path, vrt.name, str(error), "a VRT") from None
    for number, band in enumerate(root.findall("VRTRasterBand"), 1):
        if band.get("subClass") == "VRTDerivedRasterBand":
            continue
        # Also the value that HideNoDataValue hides.
        replacement = float(band.findtext("NoDataValue", "0"))
        for element in band:
            name = element.find("SourceFilename")
            # The mask of an image has no number.
            if name is not None and element.findtext("SourceBand", "1").isdigit():
                yield _to_source(element, number, _name_of(vrt.name, name), replacement)
    warp = root.find("GDALWarpOptions")
    name = None if warp is None else warp.find("SourceDataset")
    if warp is not None and name is not None:
        for mapping in warp.iterfind("BandList/BandMapping"):
            yield _to_warped_source(mapping, _name_of(vrt.name, name))


@contextmanager
def open_image(path: Path, image: str) -> Iterator[DatasetReader]:
    """Open an image that a VRT names.

    Args:
        path: of the VRT; for messages.
        image: name of the image for GDAL.

    Raises:
        StudyError: it cannot be opened.
    """
    try:
        with Env(**GDAL_OPTIONS):
            opened = rasterio.open(image)
    except (RasterioError, UnicodeError) as error:
        raise _error(path, image, str(error), "an image that can be opened by this name") from None
    with opened:
        yield opened


def _error(path: Path, image: str, found: str, expected: str) -> StudyError:
    return StudyError(
        f"The VRT {path} cannot be compared with its images: {image} cannot be read.",
        found=found,
        expected=expected,
        remedy="build the VRT again, or name the images themselves",
    )


def _parse(vrt: DatasetReader) -> Element:
    """Return the content of an open VRT."""
    try:
        return ElementTree.fromstring(vrt.tags(ns=_DOMAIN)[_DOMAIN])
    except UnicodeDecodeError:
        # Rasterio reads no texts in Latin-1, such as those of metadata; GDAL hands them on.
        content = Path(vrt.name).read_bytes()
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", content.decode("utf-8", _LATIN_1_ELSE))
    return ElementTree.fromstring(re.sub(r"&(?!#?\w+;)", "&amp;", text))


def _read_latin_1(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_LATIN_1_ELSE, _read_latin_1)


def _to_source(element: Element, band: int, image: str, replacement: float) -> VrtSource:
    is_changed = any(element.findtext(change, no).strip() != no for change, no in _CHANGES.items())
    masks = frozenset[MaskFlags]() if element.find("UseMaskBand") is None else _ALL_MASKS
    of_image = int(element.findtext("SourceBand", "1"))
    part, shown = _to_rectangle(element.find("SrcRect")), _to_rectangle(element.find("DstRect"))
    replaced = _to_number(element.findtext("NODATA"))
    return VrtSource(band, image, of_image, is_changed, part, shown, replaced, masks, replacement)


def _to_rectangle(element: Element | None) -> Rectangle | None:
    if element is None:
        return None
    column, row, width, height = (float(element.get(name, "nan")) for name in ("xOff", "yOff", "xSize", "ySize"))
    return column, row, width, height


def _to_warped_source(mapping: Element, image: str) -> VrtSource:
    band, of_image = int(mapping.get("dst", 1)), int(mapping.get("src", 1))
    replaced = _to_number(mapping.findtext("SrcNoDataReal"))
    replacement = float(mapping.findtext("DstNoDataReal", "0"))
    return VrtSource(band, image, of_image, False, None, None, replaced, _MASKS_OF_WARPER, replacement, True)


def _to_number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _name_of(vrt: str, name: Element) -> str:
    text = name.text or ""
    # As GDAL, which takes the folder of the file to which a link leads.
    if name.get("relativeToVRT") != "1":
        return text
    # Such as /vsizip/…, a path in an archive.
    return f"{vrt.rpartition('/')[0]}/{text}" if vrt.startswith("/vsi") else str(Path(vrt).resolve().parent / text)
