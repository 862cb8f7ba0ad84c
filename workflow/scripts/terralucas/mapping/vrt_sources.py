"""Compare a VRT with the images that it names: GDAL reads their pixels without their masks and tags."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import rasterio
from rasterio import Env
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.reflectance import NO_TAGS, reflectance_factors
from terralucas.data.dataset import DatasetSpec
from terralucas.data.rasters.band_names import BandNames
from terralucas.data.rasters.masks import find_alpha
from terralucas.data.rasters.said_of_bands import read_descriptions
from terralucas.data.rasters.side_files import GDAL_OPTIONS
from terralucas.errors import StudyError

# Elements of a source that change its values, so that its tags need not be those of the VRT.
_CHANGES = ("ScaleRatio", "ScaleOffset", "LUT", "Exponent", "ColorTableComponent")
# Rows and columns of a mask that are looked at, at most.
_MASK_PX = 2048


@dataclass(frozen=True)
class _Source:
    """A band of an image from which a band of a VRT takes pixels.

    Attributes:
        band: number of the band of the VRT.
        image: name of the image for GDAL, such as its path.
        of_image: number of the band of the image.
        is_changed: whether the VRT computes other values from it.
        is_masked: whether the VRT leaves out its missing pixels.
    """

    band: int
    image: str
    of_image: int
    is_changed: bool
    is_masked: bool


def require_as_images(path: Path, vrt: DatasetReader, spec: DatasetSpec, seen: frozenset[str] = frozenset()) -> None:
    """Raise a StudyError if a VRT has lost what its images say of their pixels; other files are not looked at.

    A VRT may give tags to images without tags.

    Args:
        path: of the file.
        vrt: the open file.
        spec: description of the study's dataset; its nodata value is missing in all images.
        seen: VRTs that name this one, and were looked at.

    Raises:
        StudyError: images of a band have different tags of scale and offset, or the VRT has lost them, a mask, or a
            nodata value.
    """
    if vrt.driver != "VRT":
        return
    sources = list(_sources_of(path))
    seen |= {str(path)}
    for image in dict.fromkeys(source.image for source in sources if source.image.lower().endswith(".vrt")):
        if image not in seen:
            with suppress(RasterioError), Env(**GDAL_OPTIONS), rasterio.open(image) as named:
                require_as_images(Path(image), named, spec, seen)
    # What is no raster, or cannot be read, is told where the pixels are read.
    with Env(**GDAL_OPTIONS):
        tags = {source: read for source in sources if (read := _tags_of(source)) is not None}
        for band in vrt.indexes:
            own = (vrt.scales[band - 1], vrt.offsets[band - 1])
            of_images = {source: read for source, read in tags.items() if source.band == band and not source.is_changed}
            _require_same_tags(path, band, own, of_images, spec.unit)
        if not any(not flags or MaskFlags.per_dataset in flags for flags in vrt.mask_flag_enums):
            for source in sources:
                if not source.is_masked:
                    _require_no_missing(path, source, {vrt.nodatavals[source.band - 1], spec.nodata})


def require_bands_of_images(path: Path, vrt: DatasetReader, bands: Mapping[str, int]) -> None:
    """Raise a StudyError if an image of a VRT says that a band is another one; other files are not looked at.

    Args:
        path: of the file.
        vrt: the open file.
        bands: the bands of the study that the VRT has → their numbers in it.
    """
    if vrt.driver != "VRT":
        return
    said: dict[str, dict[int, str | None]] = {}
    for source in _sources_of(path):
        with suppress(RasterioError, UnicodeDecodeError, IndexError), rasterio.open(source.image) as image:
            descriptions = BandNames(read_descriptions(image)).without_positions()
            said.setdefault(source.image, {})[source.band] = descriptions[source.of_image - 1]
    for image, texts in said.items():
        names = BandNames(tuple(texts.get(number) for number in bands.values()), of_one_file=False)
        if contradiction := names.find_contradiction(tuple(bands)):
            raise StudyError(
                f"The VRT {path} reads bands of its images as other ones.",
                found=f"{image} {contradiction}",
                expected="images with the same bands in each band of the VRT",
                remedy="build the VRT from images whose bands have one order, or choose their bands (SourceBand)",
            )


def _sources_of(path: Path) -> Iterator[_Source]:
    """Yield the sources of a VRT, also of one that warps; not those of bands that are computed by a function."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (OSError, ElementTree.ParseError):
        return
    for number, band in enumerate(root.findall("VRTRasterBand"), 1):
        if band.get("subClass") == "VRTDerivedRasterBand":
            continue
        for source in band:
            name = source.find("SourceFilename")
            of_image = source.findtext("SourceBand", "1")
            if name is not None and of_image.isdigit():
                is_changed = any(source.find(change) is not None for change in _CHANGES)
                is_masked = any(source.find(element) is not None for element in ("NODATA", "UseMaskBand"))
                yield _Source(number, _name_of(path, name), int(of_image), is_changed, is_masked)
    warp = root.find("GDALWarpOptions")
    name = None if warp is None else warp.find("SourceDataset")
    if warp is not None and name is not None:
        for mapping in warp.iterfind("BandList/BandMapping"):
            yield _Source(int(mapping.get("dst", 1)), _name_of(path, name), int(mapping.get("src", 1)), False, True)


def _name_of(vrt: Path, name: ElementTree.Element) -> str:
    text = name.text or ""
    return str(vrt.parent / text) if name.get("relativeToVRT", "0") in ("1", "true") else text


def _tags_of(source: _Source) -> tuple[float, float] | None:
    """Return scale and offset of a source; None if it cannot be read."""
    with suppress(RasterioError, IndexError, UnicodeDecodeError), rasterio.open(source.image) as image:
        return image.scales[source.of_image - 1], image.offsets[source.of_image - 1]
    return None


def _require_same_tags(
    path: Path, band: int, own: tuple[float, float], tags: dict[_Source, tuple[float, float]], unit: str
) -> None:
    """Raise a StudyError if the images of a band have different tags, or the VRT has lost them."""
    meanings = {source: _meaning(read, unit) for source, read in tags.items()}
    different = {meaning: source for source, meaning in meanings.items()}
    is_lost = own == NO_TAGS and any(meaning != _meaning(own, unit) for meaning in different)
    if len(different) < 2 and not is_lost:
        return
    said = [f"{tags[source][0]:g} and {tags[source][1]:g} in {source.image}" for source in different.values()]
    raise StudyError(
        f"The VRT {path} reads its images without their tags of scale and offset.",
        found=f"{own[0]:g} and {own[1]:g} in band {band} of the VRT; {'; '.join(said[:3])}",
        expected="images of the same tags, and a VRT with these tags",
        remedy="build the VRT with a program that keeps the tags (gdal.BuildVRT), from images that all have the same",
    )


def _meaning(tags: tuple[float, float], unit: str) -> tuple[float, float]:
    """Return what tags do to values in a unit; the tags themselves if they are not of this unit."""
    with suppress(ChipError):
        factor, shift = reflectance_factors(*tags, unit)
        return round(factor, 12), round(shift, 9)
    return tags


def _require_no_missing(path: Path, source: _Source, known: Collection[float | None]) -> None:
    """Raise a StudyError if an image of a VRT has missing pixels that the VRT does not leave out.

    Args:
        path: the VRT, without a mask.
        source: an image and a band of it.
        known: nodata values that count in the VRT.
    """
    with suppress(RasterioError, UnicodeDecodeError, IndexError), rasterio.open(source.image) as image:
        nodata, flags = image.nodatavals[source.of_image - 1], image.mask_flag_enums[source.of_image - 1]
        if MaskFlags.all_valid in flags or (MaskFlags.nodata in flags and (nodata in known or nodata != nodata)):
            return
        if MaskFlags.alpha in flags and not find_alpha(image):
            return
        # A larger one without overviews would be read whole, which takes as long as a map.
        is_quick = image.overviews(source.of_image) or image.width * image.height <= _MASK_PX**2
        shape = tuple(min(side, _MASK_PX) for side in image.shape)
        if is_quick and image.read_masks(source.of_image, out_shape=shape).all():
            return
        lost = f"the nodata value {nodata:g}" if MaskFlags.nodata in flags else "a mask"
        raise StudyError(
            f"The VRT {path} reads missing pixels of its images as if they were data.",
            found=f"{lost} of {source.image}, and none in band {source.band} of the VRT",
            expected="a VRT with the masks and nodata values of its images",
            remedy="build the VRT with a program that keeps them (gdal.BuildVRT), or name the images themselves",
        )
