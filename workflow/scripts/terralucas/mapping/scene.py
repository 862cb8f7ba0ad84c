"""The scene of a map: its files, bands, unit and size on the ground, and its pixels as reflectance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import Affine, Env
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from terralucas.commands import REWRITE
from terralucas.contents import identities_of, recorded_of, states_of
from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.reflectance import to_reflectance
from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.places import is_local
from terralucas.data.indexing.pixel_sizes import PIXEL_TOLERANCE
from terralucas.data.rasters.band_names import BandNames
from terralucas.data.rasters.georeference import Centre, describe_system
from terralucas.data.rasters.image_files import (
    changed_scene,
    files_of_raster,
    not_utf8,
    require_undamaged,
    require_whole_envi,
)
from terralucas.data.rasters.masks import find_alpha, read_masks
from terralucas.data.rasters.said_of_bands import find_wrong_colours, read_descriptions
from terralucas.data.rasters.side_files import GDAL_OPTIONS
from terralucas.data.rasters.vrt_images import names_of_band_files
from terralucas.errors import StudyError
from terralucas.file_kinds import FileKind, kind_of_file
from terralucas.geography import utm_code
from terralucas.mapping.band_files import require_one_scene
from terralucas.mapping.offset_tags import require_same_tags
from terralucas.mapping.vrt_sources import VrtImages
from terralucas.predict.bands import find_bands
from terralucas.predict.pixel_size import IF_SIZE_IS_WRONG, measure_ground

# GDAL keeps decoded tiles up to this size; its default is a share of the memory of the machine.
_CACHE_BYTES = 256 * 2**20
# In several threads, GDAL loses the errors of tiles of JPEG 2000 that cannot be decoded.
_OPTIONS = GDAL_OPTIONS | {"GDAL_NUM_THREADS": "1"}
# A tile is decoded whole, whatever the window.
_MAX_TILE_PX = 64 * 2**20
# Share by which sizes in the coordinates and on the ground may differ: UTM has up to 0.1 %.
SAME_SIZE = 0.01
# How far, in pixels, a corner of an image may be from that of another one at the same place: programs round.
_SAME_PLACE_PX = 0.01


@dataclass(frozen=True)
class Scene:
    """A scene whose bands were found.

    Attributes:
        bands: path and band number (from 1) of each band of the study, in the study's order.
        descriptions: what the file says of each of these bands: its description, or the name of a band file.
        is_named: whether descriptions or names tell the order of the bands, so that pixels need not confirm it.
        wrong_colours: what a file that does not name its bands says of their colours, if that contradicts the study.
        width: columns in pixels.
        height: rows in pixels.
        crs: coordinate reference system as WKT.
        transform: the six coefficients of the affine transform.
        pixel_m: nominal side of a pixel in metres, in the scene's coordinate reference system.
        ground_m: side of a pixel on the ground in metres, at the centre of the scene; the nominal one where they differ
            by no more than 1 %.
        states: size and times of each file of the scene, which tell another scene of the same name.
    """

    bands: tuple[tuple[str, int], ...]
    descriptions: tuple[str | None, ...]
    is_named: bool
    wrong_colours: str | None
    width: int
    height: int
    crs: str
    transform: tuple[float, ...]
    pixel_m: float
    ground_m: float
    states: Mapping[str, Sequence[int]]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Scene:
        """Build a scene from the JSON of `dataclasses.asdict`."""
        tuples = {name: tuple(content[name]) for name in ("descriptions", "transform")}
        return cls(**{**content, **tuples, "bands": tuple((path, band) for path, band in content["bands"])})

    @property
    def affine(self) -> Affine:
        """Transform from column and row of a pixel's corner to coordinates."""
        return Affine(*self.transform)


@dataclass(frozen=True)
class Pixels:
    """Pixels of a scene in the bands of the study.

    Attributes:
        values: (bands, height, width) float32 reflectance, NaN for missing pixels.
        stored: (bands, height, width) values as stored, in a type that holds those of all bands.
        dtypes: type of the stored values of each band.
        scaling: scale and offset tag of each band.
    """

    values: np.ndarray
    stored: np.ndarray
    dtypes: tuple[str, ...]
    scaling: tuple[tuple[float, float], ...]


def find_scene(paths: Sequence[Path], spec: DatasetSpec, pixel_size_m: float) -> Scene:
    """Find the bands of a study in the files of a scene, and check that the files are one scene of the right size.

    Args:
        paths: one file with all bands (GeoTIFF, VRT and whatever else GDAL reads), or several files with some of them.
        spec: description of the study's dataset.
        pixel_size_m: side of a pixel of the training chips in metres.

    Raises:
        StudyError: a file cannot be read or has two masks, the files differ in place, size, date or tile, a band is
            missing, the coordinates are not metres, or the pixels have another size than those of the training chips.
    """
    require_one_scene(paths)
    with ExitStack() as stack:
        stack.enter_context(Env(**_OPTIONS))
        sources = [_open(path, stack) for path in paths]
        first = sources[0]
        for path, source in zip(paths, sources, strict=True):
            _require_readable(path, source)
        for path, source in zip(paths[1:], sources[1:], strict=True):
            _require_same_grid(path, source, paths[0], first)
        # GDAL looks for masks and metadata beside a link, and not beside the file to which it leads.
        files = {str(file): file for path in paths for file in files_of_raster(path.absolute())}
        require_undamaged(files.values())
        places = [
            (str(path.absolute()), band)
            for path, source in zip(paths, sources, strict=True)
            for band in _bands_of(source)
        ]
        positions, descriptions = _find_in_files(paths, sources, spec)
        by_path = {str(path.absolute()): source for path, source in zip(paths, sources, strict=True)}
        found = [(by_path[path], band - 1) for path, band in (places[position] for position in positions)]
        for path, source in zip(paths, sources, strict=True):
            own = {band: place + 1 for band, (file, place) in zip(spec.bands, found, strict=True) if file is source}
            images = VrtImages(path, source, own, spec)
            if spec.checks.band_descriptions:
                images.require_bands()
        scaling = [(source.scales[place], source.offsets[place]) for source, place in found]
        require_same_tags(paths, scaling, [source.dtypes[place] for source, place in found], spec)
        pixel_m, ground_m = _pixel_sizes(paths[0], first, pixel_size_m)
        names = BandNames(descriptions, spec.may_be_landsat, of_one_file=len(paths) == 1)
        is_named = spec.checks.band_descriptions and names.name_each(spec.bands)
        wrong_colours = None
        if len(paths) == 1 and not is_named and spec.checks.band_descriptions:
            wrong_colours = find_wrong_colours(first, [places[position][1] - 1 for position in positions], spec.bands)
        return Scene(
            bands=tuple(places[position] for position in positions),
            descriptions=tuple(descriptions[position] for position in positions),
            is_named=is_named,
            wrong_colours=wrong_colours,
            width=first.width,
            height=first.height,
            crs=first.crs.to_wkt() if first.crs else "",
            transform=tuple(first.transform)[:6],
            pixel_m=pixel_m,
            ground_m=ground_m,
            states=recorded_of(states_of(files)),
        )


class SceneReader:
    """Reads pixels of a scene; one thread at a time may use it.

    Args:
        scene: the scene.
        spec: description of the study's dataset; its unit and nodata value hold for the scene too.
    """

    def __init__(self, scene: Scene, spec: DatasetSpec) -> None:
        self.scene, self.spec = scene, spec
        self._stack = ExitStack()
        self._sources: dict[str, DatasetReader] = {}
        self._identities: dict[str, tuple[int, int, int]] = {}

    def __enter__(self) -> SceneReader:
        self._stack.enter_context(Env(GDAL_CACHEMAX=_CACHE_BYTES, **_OPTIONS))
        for path, _ in self.scene.bands:
            if path not in self._sources:
                self._sources[path] = _open(Path(path), self._stack)
        self._identities = self._identities_now()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def require_unchanged(self) -> None:
        """Raise a StudyError if a file of the scene is not the one that was opened, so that two would be mixed."""
        if self._identities_now() != self._identities:
            raise changed_scene(self.scene.bands[0][0])

    def _identities_now(self) -> dict[str, tuple[int, int, int]]:
        return identities_of(states_of({name: Path(name) for name in self.scene.states}))

    @property
    def scaling(self) -> tuple[tuple[float, float], ...]:
        """Scale and offset tag of each band."""
        return tuple((source.scales[band - 1], source.offsets[band - 1]) for source, band in self._bands())

    def _bands(self) -> list[tuple[DatasetReader, int]]:
        return [(self._sources[path], band) for path, band in self.scene.bands]

    def read(self, first_row: int, first_column: int, height: int, width: int) -> Pixels:
        """Read pixels of a rectangle that lies in the scene.

        Raises:
            ChipError: with the tags of the file, the values are not in the unit of the study.
            StudyError: the file cannot be decoded.
        """
        window = Window(first_column, first_row, width, height)
        bands = self._bands()
        try:
            # Options hold for a thread, and GDAL opens masks and the images of a VRT when they are first read.
            with Env(**_OPTIONS):
                raw = np.stack([source.read(band, window=window) for source, band in bands])
                missing = self._read_masks(window)
        except RasterioError as error:
            raise _unreadable(Path(bands[0][0].name), error) from None
        nodata_values = [source.nodatavals[band - 1] for source, band in bands]
        values = to_reflectance(raw, missing, nodata_values, self.scaling, self.spec)
        return Pixels(values, raw, tuple(source.dtypes[band - 1] for source, band in bands), self.scaling)

    def _read_masks(self, window: Window) -> np.ndarray:
        """Return where pixels are outside the masks of their files, (bands, height, width) booleans."""
        used: dict[str, list[int]] = {}
        for path, band in self.scene.bands:
            used.setdefault(path, []).append(band)
        masks = {
            (path, band): mask
            for path, bands in used.items()
            for band, mask in zip(bands, read_masks(self._sources[path], bands, window), strict=True)
        }
        return np.stack([masks[place] for place in self.scene.bands])


def _kind_of(path: Path) -> str:
    """Return what is at a path where no file is."""
    if path.is_dir():
        return "a folder"
    return "neither a file nor a folder" if path.exists() else "nothing"


def _open(path: Path, stack: ExitStack) -> DatasetReader:
    if not path.is_file():
        raise StudyError(
            f"There is no scene at {path}.",
            found=_kind_of(path),
            expected="a GeoTIFF, a VRT, or a list of files with some bands each",
            remedy="correct the path; of a folder, name its band files",
        )
    try:
        return stack.enter_context(rasterio.open(path))
    except RasterioError as error:
        raise _unreadable(path, error) from None
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None


def _unreadable(path: Path, error: RasterioError) -> StudyError:
    kind = kind_of_file(path)
    # Of an image, the cause says more than its kind.
    if kind is None or kind.remedy is None:
        kind = FileKind(str(error.__cause__ or error), "fetch the file again, or convert it to a GeoTIFF")
    return StudyError(
        f"The scene {path} cannot be read.",
        found=kind.name,
        expected="a whole raster file that GDAL can read",
        remedy=kind.remedy,
    )


def _require_readable(path: Path, source: DatasetReader) -> None:
    """Raise a StudyError if a file is no image of real numbers, or if one of its tiles would fill the memory."""
    require_whole_envi(source)
    problem = None
    if source.subdatasets or not source.count:
        problem = (
            f"{len(source.subdatasets)} images in one file",
            "one image",
            "name the file of one image, or convert it to a GeoTIFF with all bands",
        )
    elif any("complex" in dtype for dtype in source.dtypes):
        problem = (f"{source.dtypes[0]} values", "real numbers", "convert the scene to reflectance")
    elif max(height * width for height, width in source.block_shapes) > _MAX_TILE_PX:
        tile = " x ".join(map(str, source.block_shapes[0]))
        problem = (f"tiles of {tile} px", "small tiles, which are read one by one", f"{REWRITE} scene.tif tiled.tif")
    if problem is not None:
        found, expected, remedy = problem
        raise StudyError(f"The scene {path} cannot be mapped.", found=found, expected=expected, remedy=remedy)


def _require_same_grid(path: Path, source: DatasetReader, first_path: Path, first: DatasetReader) -> None:
    """Raise a StudyError unless the pixels of two files lie at the same places."""
    if source.shape == first.shape and source.crs == first.crs:
        # A small difference of their sizes adds up over many pixels.
        corners = zip(_corners(source.transform, source), _corners(first.transform, first), strict=True)
        if max(math.dist(corner, other) for corner, other in corners) < _SAME_PLACE_PX * _step(first):
            return
    remedy = f"resample all bands to one grid, for example with {REWRITE} B11.tif B11_10m.tif --like B02.tif"
    if min(len(_bands_of(first)), len(_bands_of(source))) > 1:
        remedy = f"map each file by itself, if these are pieces of a scene; otherwise {remedy}"
    raise StudyError(
        f"The files {first_path} and {path} are not one scene.",
        found=f"{_describe_grid(first)}, and {_describe_grid(source)}",
        expected="files with the same size, place and coordinate reference system",
        remedy=remedy,
    )


def _corners(transform: Affine, source: DatasetReader) -> list[tuple[float, float]]:
    """Return x and y of the four corners of an image with a transform."""
    corners = [transform @ (column, row) for column in (0, source.width) for row in (0, source.height)]
    return [(float(x), float(y)) for x, y in corners]


def _step(source: DatasetReader) -> float:
    """Return how far the next column of an image is, in the unit of its coordinates; images may be rotated."""
    return math.hypot(source.transform.a, source.transform.d)


def _describe_grid(source: DatasetReader) -> str:
    left, top = source.transform.c, source.transform.f
    crs = describe_system(source.crs) if source.crs else "no coordinate reference system"
    return f"{source.height} x {source.width} px of {_step(source):g} at {left:g}, {top:g} with {crs}"


def _bands_of(source: DatasetReader) -> list[int]:
    """Return the numbers of the bands of a file, without the alpha band of a file that has one other band."""
    alpha = find_alpha(source)
    image = [band for band in source.indexes if band not in alpha]
    return image if len(image) == 1 else list(source.indexes)


def _find_in_files(
    paths: Sequence[Path], sources: Sequence[DatasetReader], spec: DatasetSpec
) -> tuple[tuple[int, ...], tuple[str | None, ...]]:
    """Return the positions of the study's bands among all bands of the files, and what is said of each of these.

    Bands are found by their descriptions. If these do not name all bands, the name of a file with one band counts
    instead of its description, also behind a VRT; and if names do not either, the bands must be those of the study in
    their order.
    """
    bands = [_bands_of(source) for source in sources]
    of_one_file = len(paths) == 1
    # Of several files, each counts its own bands.
    descriptions = map(read_descriptions, sources)
    texts_of = [each if of_one_file else BandNames(each).without_positions() for each in descriptions]
    described = tuple(texts[band - 1] for texts, of_file in zip(texts_of, bands, strict=True) for band in of_file)
    named = tuple(
        path.stem if len(of_file) == 1 else texts[band - 1]
        for path, texts, of_file in zip(paths, texts_of, bands, strict=True)
        for band in of_file
    )
    names = BandNames(described, spec.may_be_landsat, of_one_file)
    are_found = spec.checks.band_descriptions and names.find_positions(spec.bands) is not None
    if not are_found and not of_one_file:
        names = BandNames(named, spec.may_be_landsat, of_one_file)
    if not are_found and of_one_file and spec.checks.band_descriptions:
        # A VRT of band files is read as a list of them, if the names of these tell all bands.
        in_vrt = names_of_band_files(paths[0], sources[0])
        if in_vrt:
            of_files = BandNames(tuple(in_vrt[band - 1] for band in bands[0]), spec.may_be_landsat, of_one_file=False)
            names = of_files if any(of_files.find_by_satellite(spec.bands).values()) else names
    try:
        positions = find_bands(names, spec.bands, spec.checks.band_descriptions, spec.satellites_of_numbers)
        if spec.checks.band_descriptions and not of_one_file:
            # Of names and descriptions, those that were not used may contradict the others.
            for said in (named, described):
                of_bands = BandNames(tuple(said[place] for place in positions), spec.may_be_landsat, of_one_file)
                if contradiction := of_bands.find_contradiction(spec.bands):
                    raise ChipError("band_descriptions", contradiction)
        return positions, names.descriptions
    except ChipError as error:
        raise StudyError(
            f"The scene {', '.join(map(str, paths))} {error.problem}.",
            remedy=f"map a scene with the bands {', '.join(spec.bands)}; if it has them, correct the descriptions of "
            "its bands or the names of its files",
        ) from None


def _pixel_sizes(path: Path, source: DatasetReader, expected_m: float) -> tuple[float, float]:
    """Return the side of a pixel in metres, nominal and on the ground, which Web Mercator stretches (`Scene`).

    Raises:
        StudyError: the scene has no projected coordinates, its rows or columns do not run along the axes, or its pixels
            are no squares of the expected size on the ground.
    """
    crs, affine = source.crs, source.transform
    x, y = affine @ (source.width / 2, source.height / 2)
    steps = (affine.a, affine.d), (affine.b, affine.e)
    centre = None if crs is None or affine.is_identity else Centre(crs, x, y, *steps)
    ground = None if centre is None else measure_ground(centre)
    zone = "EPSG:326xx" if ground is None else utm_code(ground.longitude, ground.latitude)
    warp = f"{REWRITE} scene.tif utm.tif --crs {zone} --pixel-m {expected_m:g}"
    warp += ", with the UTM zone of the scene (327xx in the south)" if ground is None else ""
    if centre is not None and ground is None and not is_local(centre):
        raise StudyError(
            f"The scene {path} is at no place on Earth.",
            found=f"the transform {', '.join(f'{value:g}' for value in tuple(affine)[:6])} in {centre.crs.to_string()}",
            expected="coordinates where the coordinate reference system is defined",
            remedy="correct the georeference of the scene",
        )
    if crs is None or ground is None or not crs.is_projected:
        tag = "write its right place into a copy of the file (rio edit-info --crs EPSG:… --transform …)"
        raise StudyError(
            f"The scene {path} has no coordinates in metres.",
            found="no georeference" if centre is None else describe_system(centre.crs),
            expected="a projected coordinate reference system and a transform",
            remedy=f"project the scene: {warp}"
            if ground is not None
            else f"{tag}; if this place is in degrees, project the scene then: {warp}",
        )
    # A rotation that moves no corner is rounding.
    upright = Affine(affine.a, 0, affine.c, 0, affine.e, affine.f)
    corners = zip(_corners(affine, source), _corners(upright, source), strict=True)
    is_turned = max(math.dist(corner, other) for corner, other in corners) > _SAME_PLACE_PX * _step(source)
    # Programs that write a scene to a given extent fit the sides of its pixels to it.
    if is_turned or affine.a <= 0 or affine.e >= 0 or abs(affine.a / -affine.e - 1) > SAME_SIZE:
        raise StudyError(
            f"The pixels of the scene {path} are no squares with north up.",
            found=f"the transform {', '.join(f'{value:g}' for value in tuple(affine)[:6])}",
            expected="square pixels, columns from west to east, rows from north to south",
            remedy=f"resample the scene: {warp}",
        )
    if max(abs(side / expected_m - 1) for side in (ground.width_m, ground.height_m)) > PIXEL_TOLERANCE:
        raise StudyError(
            f"The pixels of the scene {path} have another size on the ground than those of the training chips.",
            found=f"{ground.width_m:.4g} x {ground.height_m:.4g} m at the centre of the scene",
            expected=f"{expected_m:g} m (dataset.pixel_size_m of the study), {100 * PIXEL_TOLERANCE:g} % more or less",
            remedy=f"resample the scene: {warp}; {IF_SIZE_IS_WRONG}",
        )
    side = affine.a if math.isclose(affine.a, -affine.e, rel_tol=1e-6) else math.sqrt(affine.a * -affine.e)
    nominal_m, ground_m = float(side * crs.linear_units_factor[1]), math.sqrt(ground.width_m * ground.height_m)
    # It changes within the scene, so that more digits would say nothing.
    return nominal_m, nominal_m if abs(ground_m / nominal_m - 1) <= SAME_SIZE else float(f"{ground_m:.4g}")
