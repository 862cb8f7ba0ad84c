"""What a file says of its bands: descriptions, wavelengths, and the colours in which they are to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from rasterio import DatasetReader
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from terralucas.data.rasters.band_names import BandNames
from terralucas.data.rasters.side_files import WAVELENGTH

# GDAL's names of colours that say which band it is; others, such as grey, do not.
_COLOURS = ("red", "green", "blue", "coastal", "rededge", "nir", "swir", "pan", "lwir", "tir")


def read_descriptions(source: DatasetReader) -> tuple[str | None, ...]:
    """Return the description of each band of a file, or else its central wavelength; None without both."""
    descriptions = find_descriptions(source)
    if all(descriptions):
        return descriptions
    return tuple(text or _wavelength(source, band) for band, text in zip(source.indexes, descriptions, strict=True))


def find_descriptions(source: DatasetReader) -> tuple[str | None, ...]:
    """Return the description of each band of a file; None without one."""
    try:
        return tuple(source.descriptions)
    except UnicodeDecodeError:
        return _find_texts(source, "Description")


def find_units(source: DatasetReader) -> tuple[str | None, ...]:
    """Return the unit of the values of each band of a file; None without one."""
    try:
        return tuple(source.units)
    except UnicodeDecodeError:
        return _find_texts(source, "UnitType")


def _find_texts(source: DatasetReader, element: str) -> tuple[str | None, ...]:
    """Return a text of each band that is not UTF-8, which rasterio refuses, but Latin-1, as of older programs."""
    # GDAL writes texts into a VRT as they are.
    with MemoryFile(ext=".vrt") as memory:
        copy(source, memory.name, driver="VRT")
        root = ElementTree.fromstring(memory.read().decode("latin-1"))
    return tuple(band.findtext(element) for band in root.findall("VRTRasterBand"))


def _wavelength(source: DatasetReader, band: int) -> str | None:
    domain, key = WAVELENGTH
    number = source.tags(band, ns=domain).get(key)
    return f"{number} um" if number else None


def find_wrong_colours(source: DatasetReader, places: Sequence[int], bands: tuple[str, ...]) -> str | None:
    """Return what the colours of a file's bands say, if they contradict the bands of a dataset; None if they do not.

    Programs that copy the profile of another file copy its colours too, so that they prove nothing. GDAL itself calls
    the bands of 8-bit files with three or four bands red, green and blue.

    Args:
        source: the file.
        places: the positions of the bands of the dataset in it, counted from 0.
        bands: the bands of the dataset.
    """
    if source.count in (3, 4) and source.dtypes[0] == "uint8":
        return None
    kinds = source.colorinterp
    colours = tuple(name if (name := kinds[place].name) in _COLOURS else None for place in places)
    return BandNames(colours).find_contradiction(bands, says="shows") if any(colours) else None
