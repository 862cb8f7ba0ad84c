"""Write the rasters of a map as cloud-optimised GeoTIFFs, and the style that shows its classes in QGIS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from rasterio import Env
from rasterio.io import DatasetWriter
from rasterio.shutil import copy
from rasterio.windows import Window

from terralucas.data.dataset import ClassSpec
from terralucas.data.rasters.image_files import gdal_writes, require_whole
from terralucas.data.rasters.side_files import MASK_SUFFIX, METADATA_SUFFIX
from terralucas.files import atomic_path, write_text
from terralucas.mapping.colours import Colour, as_hex
from terralucas.mapping.plan import Plan
from terralucas.mapping.strip_files import NO_CLASS, PROBABILITY_STEPS, Strip

CLASSES, PROBABILITIES, UNCERTAINTY, STYLE = "classes.tif", "probabilities.tif", "uncertainty.tif", "classes.qml"
_PUBLISHED = (CLASSES, PROBABILITIES, UNCERTAINTY)
# The scene in the cells of the map, for the page alone.
PICTURE = "picture.tif"
# Viewers write statistics and overviews beside a raster, which would be those of an earlier map.
_OF_VIEWERS = (METADATA_SUFFIX, MASK_SUFFIX, ".ovr")
# Side of the tiles of a cloud-optimised GeoTIFF in pixels.
_TILE_PX = 512
_CACHE_BYTES = 256 * 2**20
UNCERTAINTY_BANDS = (
    "entropy of the mean probabilities in nats",
    "dissimilarity to the training chips, in their mean distance",
    "unlike all training chips: 1 yes, 0 no",
    "number of classes in the conformal set",
)


@dataclass(frozen=True)
class Described:
    """What the rasters say of themselves.

    Attributes:
        classes: code and name of each class.
        colours: colour of each class.
        threshold: dissimilarity above which a cell is unlike the training chips.
        tags: tags of each file.
    """

    classes: Sequence[ClassSpec]
    colours: Sequence[Colour]
    threshold: float
    tags: Mapping[str, str]


class StripRasters:
    """Writes strips into plain GeoTIFFs, from which the final files are made.

    Args:
        plan: the plan of the map.
        described: what the rasters say of themselves.
        n_picture: number of bands of the picture of the scene.
        folder: for the files.
    """

    def __init__(self, plan: Plan, described: Described, n_picture: int, folder: Path) -> None:
        self.plan, self.described, self.folder = plan, described, folder
        self._stack = ExitStack()
        self._bands = {
            CLASSES: (1, "uint8", NO_CLASS),
            PROBABILITIES: (len(described.classes), "uint8", NO_CLASS),
            UNCERTAINTY: (len(UNCERTAINTY_BANDS), "float32", np.nan),
            PICTURE: (n_picture, "uint16", 0),
        }
        self._targets: dict[str, DatasetWriter] = {}

    def __enter__(self) -> StripRasters:
        self._stack.enter_context(Env(GDAL_CACHEMAX=_CACHE_BYTES))
        grid, scene = self.plan.grid, self.plan.scene
        for name, (count, dtype, nodata) in self._bands.items():
            profile = {
                "count": count,
                "dtype": dtype,
                "nodata": nodata,
                "height": grid.rows,
                "width": grid.columns,
                "crs": scene.crs,
                "transform": grid.transform(scene.affine),
                "driver": "GTiff",
                "BIGTIFF": "IF_SAFER",
                "INTERLEAVE": "BAND",
            }
            self._targets[name] = self._stack.enter_context(rasterio.open(self.folder / name, "w", **profile))
            self._targets[name].update_tags(**self.described.tags)
        self._describe()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _describe(self) -> None:
        classes, probabilities, uncertainty = (self._targets[name] for name in (CLASSES, PROBABILITIES, UNCERTAINTY))
        specs = self.described.classes
        classes.set_band_description(1, "class of the centre of a window")
        classes.write_colormap(1, {value: (*rgb, 255) for value, rgb in enumerate(self.described.colours)})
        classes.update_tags(1, **{f"class_{value}": f"{spec.code}: {spec.name}" for value, spec in enumerate(specs)})
        for band, spec in enumerate(specs, 1):
            probabilities.set_band_description(band, f"probability of {spec.name} (value / {PROBABILITY_STEPS})")
        probabilities.scales = [1 / PROBABILITY_STEPS] * len(specs)
        for band, text in enumerate(UNCERTAINTY_BANDS, 1):
            uncertainty.set_band_description(band, text)
        uncertainty.update_tags(3, dissimilarity_threshold=str(self.described.threshold))

    def write(self, rows: range, strip: Strip) -> None:
        """Write the cells of a strip."""
        window = _window_of(rows, strip)
        for name, array in _bands_of(strip, self.described).items():
            self._targets[name].write(array, window=window)


def _bands_of(strip: Strip, described: Described) -> dict[str, np.ndarray]:
    """Return the bands (bands, rows, columns) of each raster in a strip."""
    unlike = np.where(np.isnan(strip.dissimilarity), np.nan, strip.dissimilarity > described.threshold)
    return {
        CLASSES: strip.label[None],
        PROBABILITIES: strip.probabilities,
        UNCERTAINTY: np.stack([strip.entropy, strip.dissimilarity, unlike, strip.set_size]).astype(np.float32),
        PICTURE: strip.picture,
    }


def _window_of(rows: range, strip: Strip) -> Window:
    return Window(0, rows.start, strip.label.shape[1], len(rows))


def publish(folder: Path, described: Described, target: Path, strips: Iterable[tuple[range, Strip]]) -> None:
    """Make the cloud-optimised GeoTIFFs and the style of a map from the files of `StripRasters`.

    Args:
        folder: folder of these files.
        described: what the rasters say of themselves.
        target: folder of the map.
        strips: rows and content of each strip again, with which the files are compared before they get their names: on
            a full disk, GDAL leaves out pixels without an error.

    Raises:
        StudyError: there is no space for the files.
    """
    names = [f"{spec.code}: {spec.name}" for spec in described.classes]
    with TemporaryDirectory(dir=folder) as built, Env(GDAL_CACHEMAX=_CACHE_BYTES):
        for name, resampling in ((CLASSES, "mode"), (PROBABILITIES, "average"), (UNCERTAINTY, "nearest")):
            # The compression is without loss; the predictor of floats halves their size.
            predictor = "YES" if name == UNCERTAINTY else "NO"
            with gdal_writes(target / name):
                copy(
                    folder / name,
                    Path(built, name),
                    driver="COG",
                    compress="DEFLATE",
                    predictor=predictor,
                    blocksize=_TILE_PX,
                    overview_resampling=resampling,
                    bigtiff="IF_SAFER",
                )
        files = {name: Path(built, name) for name in _PUBLISHED} | {PICTURE: folder / PICTURE}
        _require_whole(files, described, target, strips)
        for name in _PUBLISHED:
            with atomic_path(target / name) as temporary:
                Path(built, name).replace(temporary)
            for suffix in _OF_VIEWERS:
                (target / f"{name}{suffix}").unlink(missing_ok=True)
    write_text(target / f"{CLASSES}{METADATA_SUFFIX}", _category_names(names))
    write_text(target / STYLE, _style(names, described.colours))


def _require_whole(
    files: Mapping[str, Path], described: Described, target: Path, strips: Iterable[tuple[range, Strip]]
) -> None:
    """Raise a StudyError if files do not hold the cells of all strips, or if their overviews cannot be read."""
    with ExitStack() as stack:
        sources = {}
        for name, path in files.items():
            with gdal_writes(target / name):
                sources[name] = stack.enter_context(rasterio.open(path))
        for rows, strip in strips:
            expected = _bands_of(strip, described)
            for name, source in sources.items():
                with gdal_writes(target / name):
                    found = source.read(window=_window_of(rows, strip))
                require_whole(target / name, np.array_equal(found, expected[name], equal_nan=name == UNCERTAINTY))
        for name, source in sources.items():
            with gdal_writes(target / name):
                for level in range(len(source.overviews(1))):
                    with rasterio.open(files[name], overview_level=level) as overview:
                        for _, window in overview.block_windows(1):
                            overview.read(window=window)


def read_small(folder: Path, name: str, longest_side: int) -> np.ndarray:
    """Read a raster of `StripRasters`, with cells left out if it has more rows or columns; (bands, rows, columns)."""
    with rasterio.open(folder / name) as source:
        factor = max(1.0, max(source.shape) / longest_side)
        rows, columns = (max(1, round(side / factor)) for side in source.shape)
        return source.read(out_shape=(source.count, rows, columns))


def _category_names(names: Sequence[str]) -> str:
    """Return GDAL's metadata file with the names of values, which a GeoTIFF itself has no place for."""
    root = ElementTree.Element("PAMDataset")
    categories = ElementTree.SubElement(ElementTree.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for name in names:
        ElementTree.SubElement(categories, "Category").text = name
    return _to_text(root)


def _style(names: Sequence[str], colours: Sequence[Colour]) -> str:
    """Return a style of QGIS that shows each value in its colour with its name."""
    root = ElementTree.Element("qgis", version="3.22", styleCategories="Symbology")
    options: dict[str, Any] = {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1"}
    renderer = ElementTree.SubElement(ElementTree.SubElement(root, "pipe"), "rasterrenderer", options)
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for value, (name, colour) in enumerate(zip(names, colours, strict=True)):
        ElementTree.SubElement(palette, "paletteEntry", value=str(value), color=as_hex(colour), label=name, alpha="255")
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + _to_text(root)


def _to_text(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
