"""Compare a VRT with the images that it names: GDAL reads their pixels without their masks and tags."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.reflectance import NO_TAGS, are_nodata, reflectance_factors
from terralucas.data.dataset import DatasetSpec
from terralucas.data.rasters.band_names import BandNames
from terralucas.data.rasters.masks import find_alpha
from terralucas.data.rasters.said_of_bands import read_descriptions
from terralucas.data.rasters.vrt_images import VrtSource, open_image, sources_of
from terralucas.errors import StudyError
from terralucas.mapping.vrt_places import require_place

# Rows and columns of a mask that are looked at, at most.
_MASK_PX = 2048


@dataclass(frozen=True)
class _Said:
    """What an image says of a band: scale and offset, and what its description says, without mere positions."""

    tags: tuple[float, float]
    description: str | None


class VrtImages:
    """The images of an open VRT; without any for another file.

    Args:
        path: of the file; for messages.
        vrt: the open file.
        bands: the bands of the study that the VRT has → their numbers in it.
        spec: description of the study's dataset; its nodata value is missing in all images.

    Raises:
        StudyError: an image lies elsewhere, or images of a band have different tags of scale and offset; or the VRT has
            lost these, a mask, or a nodata value; or an image cannot be opened.
    """

    def __init__(self, path: Path, vrt: DatasetReader, bands: Mapping[str, int], spec: DatasetSpec) -> None:
        self._path, self._bands = path, bands
        self._said: dict[VrtSource, _Said] = {}
        self._compare(vrt, set(bands.values()), spec, frozenset())

    def _compare(self, vrt: DatasetReader, bands: Collection[int], spec: DatasetSpec, above: frozenset[str]) -> None:
        if vrt.driver != "VRT":
            return
        by_image: dict[str, list[VrtSource]] = {}
        for source in sources_of(self._path, vrt):
            if source.band in bands:
                by_image.setdefault(source.image, []).append(source)
        said: dict[VrtSource, _Said] = {}
        for image, sources in by_image.items():
            with open_image(self._path, image) as opened:
                known = [source for source in sources if source.of_image <= opened.count]
                if image not in above:
                    self._compare(opened, {each.of_image for each in known}, spec, above | {vrt.name})
                # A warped image lies elsewhere in its own coordinates.
                for part, shown in {(each.part, each.shown): None for each in known if not each.is_warped}:
                    require_place(self._path, vrt, opened, part, shown)
                said |= _read(opened, known)
                _require_no_missing(self._path, vrt, opened, known, spec)
        for band in bands:
            own = (vrt.scales[band - 1], vrt.offsets[band - 1])
            tags = {each: said[each].tags for each in said if each.band == band and not each.is_changed}
            _require_same_tags(self._path, band, own, tags, spec.unit)
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


def _read(image: DatasetReader, sources: Iterable[VrtSource]) -> dict[VrtSource, _Said]:
    """Return what an image says of the bands that a VRT takes from it."""
    scales, offsets = image.scales, image.offsets
    texts = BandNames(read_descriptions(image)).without_positions()
    places = {source: source.of_image - 1 for source in sources}
    return {source: _Said((scales[place], offsets[place]), texts[place]) for source, place in places.items()}


def _require_same_tags(
    path: Path, band: int, own: tuple[float, float], tags: Mapping[VrtSource, tuple[float, float]], unit: str
) -> None:
    """Raise a StudyError if the images of a band have different tags, or the VRT others than its images.

    A VRT may give tags to images without tags.
    """
    different = {_meaning(read, unit): source for source, read in tags.items()}
    allowed = {_meaning(NO_TAGS, unit), _meaning(own, unit)}
    if len(different) < 2 and allowed.issuperset(different):
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
    path: Path, vrt: DatasetReader, image: DatasetReader, sources: Iterable[VrtSource], spec: DatasetSpec
) -> None:
    """Raise a StudyError if an image has missing pixels that its VRT does not leave out."""
    is_masked = any(not flags or MaskFlags.per_dataset in flags for flags in vrt.mask_flag_enums)
    flags_of, nodata_of, looked_at = image.mask_flag_enums, image.nodatavals, set()
    for source in sources:
        place = source.of_image - 1
        missing = _Missing(is_masked, vrt.nodatavals[source.band - 1], spec.nodata, flags_of[place], nodata_of[place])
        # A mask is the same for all bands. The missing pixels of large images mostly are.
        is_large = image.width * image.height > _MASK_PX**2 and not image.overviews(source.of_image)
        looked = (None if is_large else source.of_image, missing, replace(source, band=0, of_image=0))
        if looked in looked_at:
            continue
        looked_at.add(looked)
        if missing.can_be_lost(image, source) and missing.are_lost(image, source):
            lost = "a mask" if missing.has_mask(image) else f"the nodata value {missing.nodata:g}"
            raise StudyError(
                f"The VRT {path} reads missing pixels of its images as if they were data.",
                found=f"{lost} of {source.image}; band {source.band} of the VRT does not mark these pixels as missing",
                expected="a VRT with the masks and nodata values of its images",
                remedy="build the VRT so that it keeps them (gdal.BuildVRT without options for nodata), or name the "
                "images themselves",
            )


@dataclass(frozen=True)
class _Missing:
    """How a band of an image and that of its VRT mark missing pixels.

    Attributes:
        is_masked: whether the VRT has a mask.
        of_vrt: the nodata value of the VRT.
        of_study: that of the study.
        flags: kinds of masks of the image, as GDAL says it.
        nodata: the nodata value of the image.
    """

    is_masked: bool
    of_vrt: float | None
    of_study: float | None
    flags: Collection[MaskFlags]
    nodata: float | None

    def __hash__(self) -> int:
        return hash((self.is_masked, self.of_vrt, self.of_study, tuple(self.flags), self.nodata))

    def has_mask(self, image: DatasetReader) -> bool:
        """Return whether pixels are missing in the image for another reason than their value."""
        if MaskFlags.alpha in self.flags:
            return bool(find_alpha(image))
        return MaskFlags.all_valid not in self.flags and (self.nodata is None or MaskFlags.nodata not in self.flags)

    def can_be_lost(self, image: DatasetReader, source: VrtSource) -> bool:
        """Return whether pixels must be read to know it."""
        if self.has_mask(image):
            return not self.is_masked or self.nodata is not None
        # NaN is missing without any tag.
        if self.nodata is None or math.isnan(self.nodata):
            return False
        stands = source.replacement if self._is_replaced(source) else self.nodata
        return not self._is_known(stands)

    def are_lost(self, image: DatasetReader, source: VrtSource) -> bool:
        """Return whether missing pixels of the image are data in the VRT."""
        window = None if source.part is None else _window_in(image, source.part)
        height, width = image.shape if window is None else (window.height, window.width)
        if height < 1 or width < 1:
            return False
        shape = (min(round(height), _MASK_PX), min(round(width), _MASK_PX))
        values = image.read(source.of_image, window=window, out_shape=shape)
        by_mask = np.zeros(shape, bool)
        if self.has_mask(image):
            by_mask = image.read_masks(source.of_image, window=window, out_shape=shape) == 0
        by_value = np.zeros(shape, bool) if self.nodata is None else are_nodata(values, self.nodata)
        is_replaced = by_value if self._is_replaced(source) else np.zeros(shape, bool)
        if not source.replaced_masks.isdisjoint(self.flags):
            is_replaced = is_replaced | by_mask
        told = np.isnan(values) | (by_mask if self.is_masked else False)
        for value in self._known():
            told |= are_nodata(values, value) & ~is_replaced
        if self._is_known(source.replacement):
            told |= is_replaced
        return bool(((by_mask | by_value) & ~told).any())

    def _known(self) -> list[float]:
        return [value for value in (self.of_vrt, self.of_study) if value is not None]

    def _is_known(self, nodata: float) -> bool:
        return any(_are_same(value, nodata) for value in self._known())

    def _is_replaced(self, source: VrtSource) -> bool:
        """Return whether the VRT replaces pixels of the image's nodata value."""
        is_named = source.replaced is not None and _are_same(source.replaced, self.nodata)
        return is_named or MaskFlags.nodata in source.replaced_masks


def _window_in(image: DatasetReader, part: tuple[float, float, float, float]) -> Window:
    """Return a part of an image as a window of whole pixels that lies in it."""
    column, row, width, height = part
    left, top = max(0, math.floor(column)), max(0, math.floor(row))
    right, bottom = min(image.width, math.ceil(column + width)), min(image.height, math.ceil(row + height))
    return Window(left, top, right - left, bottom - top)


def _are_same(nodata: float, other: float | None) -> bool:
    """Return whether two nodata values mean the same pixels, as `are_nodata`."""
    return other is not None and bool(are_nodata(np.array(other), nodata))
