"""Compare a VRT with the images that it names: GDAL reads their pixels without their masks and tags."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio import Env
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.reflectance import NO_TAGS, are_nodata, reflectance_factors
from terralucas.data.dataset import DatasetSpec
from terralucas.data.rasters.band_names import BandNames
from terralucas.data.rasters.masks import find_alpha
from terralucas.data.rasters.said_of_bands import read_descriptions
from terralucas.data.rasters.side_files import GDAL_OPTIONS
from terralucas.errors import StudyError

# Elements of a source that change its values, so that its tags need not be those of the VRT, but for these texts.
_CHANGES = {"ScaleRatio": "1", "ScaleOffset": "0", "LUT": "", "Exponent": "", "ColorTableComponent": ""}
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
        replaced: its nodata value that the VRT replaces by its own, or by 0 if it has none; NaN for all missing pixels,
            None for none.
    """

    band: int
    image: str
    of_image: int
    is_changed: bool
    replaced: float | None


@dataclass(frozen=True)
class _Said:
    """What an image says of a band: scale and offset, and what its description says, without mere positions."""

    tags: tuple[float, float]
    description: str | None


class VrtImages:
    """The images of an open VRT; without any for another file.

    Args:
        path: of the file.
        vrt: the open file.
        bands: the bands of the study that the VRT has → their numbers in it.
        spec: description of the study's dataset; its nodata value is missing in all images.

    Raises:
        StudyError: images of a band have different tags of scale and offset, or the VRT has lost them, a mask, or a
            nodata value; or it cannot be compared, because it is no XML.
    """

    def __init__(self, path: Path, vrt: DatasetReader, bands: Mapping[str, int], spec: DatasetSpec) -> None:
        self._path, self._bands = path, bands
        self._said: dict[_Source, _Said] = {}
        self._compare(path, vrt, set(bands.values()), spec, frozenset())

    def _compare(
        self, path: Path, vrt: DatasetReader, bands: Collection[int], spec: DatasetSpec, above: frozenset[str]
    ) -> None:
        if vrt.driver != "VRT":
            return
        by_image: dict[str, list[_Source]] = {}
        for source in _sources_of(path):
            if source.band in bands:
                by_image.setdefault(source.image, []).append(source)
        is_masked = any(not flags or MaskFlags.per_dataset in flags for flags in vrt.mask_flag_enums)
        said: dict[_Source, _Said] = {}
        for image, sources in by_image.items():
            # What is no raster, or cannot be read, is told where the pixels are read.
            with suppress(RasterioError, UnicodeDecodeError), Env(**GDAL_OPTIONS), rasterio.open(image) as opened:
                if image not in above:
                    self._compare(Path(image), opened, {each.of_image for each in sources}, spec, above | {str(path)})
                known = [source for source in sources if source.of_image <= opened.count]
                said |= _read(opened, known)
                if not is_masked:
                    _require_no_missing(path, vrt, opened, known, spec)
        for band in bands:
            own = (vrt.scales[band - 1], vrt.offsets[band - 1])
            tags = {each: said[each].tags for each in said if each.band == band and not each.is_changed}
            _require_same_tags(path, band, own, tags, spec.unit)
        if not above:
            self._said = said

    def require_bands(self) -> None:
        """Raise a StudyError if an image says that a band of the study is another one."""
        by_image: dict[str, dict[int, str | None]] = {}
        for source, own in self._said.items():
            by_image.setdefault(source.image, {})[source.band] = own.description
        for image, texts in by_image.items():
            names = BandNames(tuple(texts.get(number) for number in self._bands.values()), of_one_file=False)
            if contradiction := names.find_contradiction(tuple(self._bands)):
                raise StudyError(
                    f"The VRT {self._path} has the bands of an image in another order than the image.",
                    found=f"{image} {contradiction}",
                    expected="images with the same bands in each band of the VRT",
                    remedy="build the VRT from images whose bands have one order, or choose their bands (SourceBand)",
                )


def _sources_of(path: Path) -> Iterator[_Source]:
    """Yield the sources of a VRT, also of one that warps; not those of bands that are computed by a function."""
    root = _parse(path)
    for number, band in enumerate(root.findall("VRTRasterBand"), 1):
        if band.get("subClass") == "VRTDerivedRasterBand":
            continue
        for source in band:
            name = source.find("SourceFilename")
            of_image = source.findtext("SourceBand", "1")
            if name is not None and of_image.isdigit():
                is_changed = any(source.findtext(change, no).strip() != no for change, no in _CHANGES.items())
                replaced = math.nan if source.find("UseMaskBand") is not None else _to_number(source.findtext("NODATA"))
                yield _Source(number, _name_of(path, name), int(of_image), is_changed, replaced)
    warp = root.find("GDALWarpOptions")
    name = None if warp is None else warp.find("SourceDataset")
    if warp is not None and name is not None:
        for mapping in warp.iterfind("BandList/BandMapping"):
            yield _Source(int(mapping.get("dst", 1)), _name_of(path, name), int(mapping.get("src", 1)), False, math.nan)


def _to_number(text: str | None) -> float | None:
    with suppress(ValueError, TypeError):
        return float(text)  # type: ignore[arg-type]  # None has no number
    return None


def _parse(path: Path) -> ElementTree.Element:
    """Return the content of a VRT; GDAL also reads bytes that are no UTF-8, and `&` as it is.

    Raises:
        StudyError: it is no XML.
    """
    try:
        content = path.read_bytes()
        with suppress(ElementTree.ParseError):
            return ElementTree.fromstring(content)
        text = re.sub(r"&(?!#?\w+;)", "&amp;", content.decode("latin-1"))
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except (OSError, ElementTree.ParseError) as error:
        raise StudyError(
            f"The VRT {path} cannot be compared with its images.",
            found=str(error),
            expected="XML",
            remedy="build the VRT again, or name the images themselves",
        ) from None


def _name_of(vrt: Path, name: ElementTree.Element) -> str:
    text = name.text or ""
    # As GDAL, which takes the folder of the file to which a link leads.
    return str(vrt.resolve().parent / text) if name.get("relativeToVRT", "0") in ("1", "true") else text


def _read(image: DatasetReader, sources: Iterable[_Source]) -> dict[_Source, _Said]:
    """Return what an image says of the bands that a VRT takes from it."""
    scales, offsets = image.scales, image.offsets
    texts = BandNames(read_descriptions(image)).without_positions()
    places = {source: source.of_image - 1 for source in sources}
    return {source: _Said((scales[place], offsets[place]), texts[place]) for source, place in places.items()}


def _require_same_tags(
    path: Path, band: int, own: tuple[float, float], tags: Mapping[_Source, tuple[float, float]], unit: str
) -> None:
    """Raise a StudyError if the images of a band have different tags, or the VRT has lost them.

    A VRT may give tags to images without tags.
    """
    different = {_meaning(read, unit): source for source, read in tags.items()}
    has_none = _meaning(own, unit) == _meaning(NO_TAGS, unit)
    is_lost = has_none and any(meaning != _meaning(NO_TAGS, unit) for meaning in different)
    if len(different) < 2 and not is_lost:
        return
    said = [f"{tags[source][0]:g} and {tags[source][1]:g} in {source.image}" for source in different.values()]
    raise StudyError(
        f"The VRT {path} has other tags of scale and offset than its images.",
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


def _require_no_missing(
    path: Path, vrt: DatasetReader, image: DatasetReader, sources: Iterable[_Source], spec: DatasetSpec
) -> None:
    """Raise a StudyError if an image of a VRT without a mask has missing pixels that the VRT does not leave out."""
    flags_of, nodata_of, looked_at = image.mask_flag_enums, image.nodatavals, set()
    for source in sources:
        of_vrt, nodata = vrt.nodatavals[source.band - 1], nodata_of[source.of_image - 1]
        is_replaced = source.replaced is not None and (
            math.isnan(source.replaced) or _are_same(source.replaced, nodata)
        )
        if is_replaced and of_vrt is not None:
            continue
        flags = flags_of[source.of_image - 1]
        # A mask is the same for all bands. The missing pixels of large images mostly are.
        is_large = image.width * image.height > _MASK_PX**2 and not image.overviews(source.of_image)
        looked = "mask" if MaskFlags.per_dataset in flags else "nodata" if is_large else source.of_image
        if looked in looked_at:
            continue
        looked_at.add(looked)
        known = [] if is_replaced else [value for value in (of_vrt, spec.nodata) if value is not None]
        if _hides_pixels(image, source.of_image, flags, nodata, known):
            lost = f"the nodata value {nodata:g}" if MaskFlags.nodata in flags else "a mask"
            raise StudyError(
                f"The VRT {path} reads missing pixels of its images as if they were data.",
                found=f"{lost} of {source.image}, which means no missing data in band {source.band} of the VRT",
                expected="a VRT with the masks and nodata values of its images",
                remedy="build the VRT with a program that keeps them (gdal.BuildVRT), or name the images themselves",
            )


def _are_same(nodata: float, other: float | None) -> bool:
    """Return whether two nodata values mean the same pixels, as `are_nodata`."""
    return other is not None and bool(are_nodata(np.array(other), nodata))


def _hides_pixels(
    image: DatasetReader, band: int, flags: Collection[MaskFlags], nodata: float | None, known: Iterable[float]
) -> bool:
    """Return whether pixels of a band are missing in an image, and have no nodata value of `known`."""
    if MaskFlags.all_valid in flags or (MaskFlags.alpha in flags and not find_alpha(image)):
        return False
    # NaN is missing without any tag.
    if nodata is not None and (math.isnan(nodata) or any(_are_same(value, nodata) for value in known)):
        return False
    shape = tuple(min(side, _MASK_PX) for side in image.shape)
    return not image.read_masks(band, out_shape=shape).all()
