"""Write a raster file again as a GeoTIFF, with other bands or on another grid."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from rasterio import Env
from rasterio._err import CPLE_BaseError  # errors of `transform`, for which rasterio has no public class
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from terralucas.data.rasters.image_files import (
    files_of_raster,
    gdal_writes,
    not_utf8,
    require_undamaged,
    require_whole,
    require_whole_envi,
)
from terralucas.data.rasters.masks import find_alpha
from terralucas.data.rasters.said_of_bands import find_descriptions, find_units
from terralucas.data.rasters.side_files import GDAL_OPTIONS, WAVELENGTH, mask_files, metadata_file, reduce_metadata
from terralucas.data.rasters.vrt_images import names_of_band_files
from terralucas.data.rewrite.grids import grid_of, not_convertible, other_grid, part_on, smoothing_of
from terralucas.data.rewrite.missing_pixels import Layers
from terralucas.errors import StudyError
from terralucas.files import atomic_path

# Larger files are written in tiles, which maps read one by one.
_TILE_PX = 512
# How far, in pixels of the source, places may be from those of the coordinate transformation; GDAL's default is 1/8.
_TOLERANCE_PX = 0.001
# The share of a pixel's ground that is known is resampled as a whole number; this is all of it.
_KNOWN = 255


class Change(NamedTuple):
    """What became of the pixels of a file.

    Attributes:
        is_resampled: whether they were resampled.
        is_off_centre: whether their centre moved.
        mask_bands: numbers of the bands that were not written, because they seem to be masks of the others.
    """

    is_resampled: bool
    is_off_centre: bool
    mask_bands: tuple[int, ...]


class _Cut:
    """A part of the pixels of an image, read as `Layers` are."""

    def __init__(self, layers: Layers, column: int, row: int) -> None:
        self.dtype, self.nodata = layers.dtype, layers.nodata
        self._layers, self._column, self._row = layers, column, row

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Read a part of the bands, as `Layers.read` does."""
        column, row = self._column + window.col_off, self._row + window.row_off
        return self._layers.read(Window(column, row, window.width, window.height))


class _Resampled:
    """Bands on another grid, read as `Layers` are, in which pixels are missing if less than half of their ground is
    known: a bilinear filter reaches beyond them, and would fill gaps from their edges.

    Args:
        layers: the resampled bands.
        known: on the same grid, for each band, the share of the ground that is known, from 0 to `_KNOWN`.
    """

    def __init__(self, layers: Layers, known: WarpedVRT) -> None:
        self.dtype, self.nodata = layers.dtype, layers.nodata
        self._layers, self._known = layers, known

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Read a part of the bands, as `Layers.read` does."""
        values, mask, missing = self._layers.read(window)
        is_unknown = self._known.read(window=window) < _KNOWN / 2
        if self.nodata is not None:
            values[is_unknown] = self.nodata
        # A mask is that of all bands (`Layers`).
        return values, mask if mask is None else mask & ~is_unknown.all(axis=0), missing | is_unknown


def rewrite(
    source: Path,
    target: Path,
    bands: Sequence[int] | None = None,
    crs: CRS | None = None,
    pixel_m: float | None = None,
    like: Path | None = None,
    side_px: int | None = None,
    keep_scale: bool = True,
    nodata: float | None = None,
) -> Change:
    """Write a raster file again as a GeoTIFF.

    Args:
        source: file that GDAL can read.
        target: GeoTIFF to write.
        bands: numbers of the bands to write, from 1, in their new order; None for all but an alpha band.
        crs: new coordinate reference system; None for that of the file.
        pixel_m: new side of a pixel in metres of the projection, also where its unit is feet; None for about the same.
        like: file whose grid is taken; `crs`, `pixel_m` and `side_px` do not count then.
        side_px: new rows and columns around the centre of the file; None for all that the file shows. Alone, it cuts
            whole pixels out of the file, whose values stay as they are; of a file with an odd number of rows or columns
            more, the centre moves by half a pixel.
        keep_scale: whether tags of scale and offset are kept.
        nodata: value of missing pixels beside those that the file states (`dataset.nodata`): without it, they would be
            mixed with the pixels beside them when they are resampled.

    Pixels that are missing stay missing, in every band: see `Layers`. Resampled pixels are missing if less than half of
    their ground is known, and in files with a mask also if GDAL's mask of them says so, which is stricter.

    Returns:
        What became of the pixels.

    Raises:
        StudyError: the file cannot be read, has no such band, is smaller than what is to be cut out of it, has no place
            on Earth to resample from, its missing pixels cannot be written, the target is a folder, or the new
            coordinates are degrees, in which `pixel_m` has no meaning.
    """
    if source.resolve() == target.resolve():
        raise StudyError("A file cannot be written over itself.", found=str(source), remedy="name another target")
    _require_free(target)
    try:
        with ExitStack() as stack:
            # In several threads, GDAL loses the errors of tiles of JPEG 2000 that cannot be decoded.
            stack.enter_context(Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_NUM_THREADS=1, **GDAL_OPTIONS))
            image = stack.enter_context(rasterio.open(source))
            require_undamaged(files_of_raster(source))
            require_whole_envi(image)
            alpha = () if bands else tuple(find_alpha(image))
            numbers = list(bands or [number for number in image.indexes if number not in alpha])
            if not set(numbers) <= set(image.indexes):
                raise StudyError(
                    f"The file {source} has no such bands.",
                    found=f"{image.count} band(s); asked for {', '.join(map(str, numbers))}",
                    expected="numbers of bands from 1",
                    remedy="correct --bands",
                )
            is_resampled = bool(crs or pixel_m or like)
            is_odd = False
            other = None if like is None else stack.enter_context(_open(like))
            grid = other_grid(image, crs, pixel_m, other, side_px) if is_resampled else grid_of(image)
            # GDAL spreads NaN to all pixels near it, unless it is a nodata value.
            others = (*(() if nodata is None else (nodata,)), *((np.nan,) if is_resampled else ()))
            whole = Layers(image, numbers, others)
            layers: Layers | _Cut | _Resampled = whole
            temporary = stack.enter_context(atomic_path(target))
            if is_resampled:
                layers = stack.enter_context(_on_another_grid(image, numbers, whole, grid, target))
            elif side_px:
                grid, layers, is_odd = _cut(image, whole, side_px)
            with gdal_writes(target):
                sums = _write(image, numbers, layers, grid, temporary, keep_scale)
                require_whole(target, sums == _sums_of_blocks(temporary))
            return Change(is_resampled, is_odd, alpha)
    except CRSError as error:
        raise not_convertible(image, str(error)) from None
    except RasterioError as error:
        raise _unreadable(source, error) from None
    except UnicodeDecodeError as error:
        raise not_utf8(source, error) from None


def _require_free(target: Path) -> None:
    """Raise a StudyError if a file cannot have this path, because of a folder or file that is there."""
    blocking = next((path for path in target.parents if path.exists() and not path.is_dir()), None)
    if target.is_dir():
        raise StudyError(
            f"The target {target} is a folder.",
            found="a file to write again, and a folder as target",
            expected="the path of a file to write",
            remedy="name a file in this folder",
        )
    if blocking is not None:
        raise StudyError(
            f"The target {blocking} is a file.",
            found=f"a file where a folder for {target.name} is needed",
            expected="a folder, or a path at which nothing is yet",
            remedy="name another target",
        )
    metadata = metadata_file(target)
    beside = [mask for mask in mask_files(target) if mask.exists()]
    # Statistics that viewers write change nothing.
    if metadata.exists() and reduce_metadata(metadata.read_bytes()) is not None:
        beside.append(metadata)
    if beside:
        raise StudyError(
            f"The target {target} would be read with what lies beside it.",
            found=f"{beside[0].name}, of another file of this name",
            expected="a target without a mask and metadata beside it",
            remedy="remove what lies beside the target, or name another one",
        )


def _unreadable(source: Path | str, error: RasterioError) -> StudyError:
    if not Path(source).is_file():
        found = "a folder" if Path(source).is_dir() else "nothing"
        return StudyError(
            f"There is no file {source}.", found=f"{found} at this path", expected="a file", remedy="correct the path"
        )
    return StudyError(
        f"The file {source} cannot be written again.",
        found=str(error.__cause__ or error),
        expected="a raster file that GDAL can read",
        remedy="fetch the file again",
    )


def _cut(image: DatasetReader, layers: Layers, side_px: int) -> tuple[dict[str, Any], _Cut, bool]:
    """Return the grid and the pixels in the middle of an image, and whether their centre is half a pixel from its own.

    Raises:
        StudyError: the image is smaller.
    """
    rows, columns = (length - side_px for length in image.shape)
    if rows < 0 or columns < 0:
        raise StudyError(
            f"The file {image.name} cannot be cut to {side_px:,} x {side_px:,} px.",
            found=f"{image.height:,} x {image.width:,} px",
            expected="at least as many rows and columns",
            remedy="give a smaller --side-px, or leave the file out; with --pixel-m, it is resampled to other pixels",
        )
    column, row = columns // 2, rows // 2
    # A file without a georeference has the identity, which must stay.
    place = image.transform if image.transform.is_identity else image.transform @ Affine.translation(column, row)
    grid = {"crs": image.crs, "transform": place, "width": side_px, "height": side_px}
    return grid, _Cut(layers, column, row), bool(rows % 2 or columns % 2)


@contextmanager
def _on_another_grid(
    image: DatasetReader, numbers: list[int], layers: Layers, grid: Mapping[str, Any], target: Path
) -> Iterator[Layers | _Resampled]:
    """Open bands of an image on another grid, resampled bilinearly."""
    with ExitStack() as stack:
        source = image
        window = part_on(image, grid)
        part = _Cut(layers, window.col_off, window.row_off)
        place = image.transform @ Affine.translation(window.col_off, window.row_off)
        grid_of_part = {"crs": image.crs, "transform": place, "width": window.width, "height": window.height}
        folder = stack.enter_context(TemporaryDirectory(prefix=".", dir=target.parent))
        if not layers.are_kept or not Layers(image, image.indexes).are_kept:
            # GDAL resamples with one kind of missing pixels.
            plain = Path(folder) / "plain.tif"
            with gdal_writes(target):
                sums = _write(image, numbers, part, grid_of_part, plain, keep_scale=True)
                require_whole(target, sums == _sums_of_blocks(plain))
            source, numbers = stack.enter_context(rasterio.open(plain)), list(range(1, len(numbers) + 1))
        # Without a nodata value, pixels from outside of the image would have the value 0.
        options: dict[str, Any] = {"add_alpha": True} if source.nodata is None else {"nodata": source.nodata}
        # Pixels can be missing in some bands only.
        options |= {"UNIFIED_SRC_NODATA": "NO", **smoothing_of(image, grid)}
        try:
            view = WarpedVRT(source, resampling=Resampling.bilinear, tolerance=_TOLERANCE_PX, **grid, **options)
            resampled = Layers(stack.enter_context(view), numbers)
            known = _write_known(image.name, part, len(numbers), grid_of_part, Path(folder) / "known.tif", target)
            if known is not None:
                shares = stack.enter_context(rasterio.open(known))
                share = WarpedVRT(shares, resampling=Resampling.average, tolerance=_TOLERANCE_PX, **grid)
                stack.enter_context(share)
        except CPLE_BaseError as error:
            raise not_convertible(image, str(error)) from None
        yield resampled if known is None else _Resampled(resampled, share)


def _write_known(source: str, part: _Cut, count: int, grid: Mapping[str, Any], path: Path, target: Path) -> Path | None:
    """Write a raster file that is `_KNOWN` where pixels of bands are known, and 0 where they are missing.

    Args:
        source: path of the image, for messages.
        part: its pixels.
        count: number of bands.
        grid: size and place of the pixels.
        path: the file to write.
        target: the file for which it is written, for messages.

    Returns:
        The path of the file, or None if no pixel is missing.
    """
    has_gaps = False
    sums = []
    with gdal_writes(target):
        with rasterio.open(path, "w", **_profile(grid, count, "uint8", None)) as written:
            for _, window in written.block_windows(1):
                try:
                    _, _, missing = part.read(window)
                except RasterioError as error:
                    raise _unreadable(source, error) from None
                has_gaps |= bool(missing.any())
                shares = np.where(missing, 0, _KNOWN).astype(np.uint8)
                written.write(shares, window=window)
                sums.append(zlib.crc32(shares.tobytes()))
        with rasterio.open(path) as written:
            found = [zlib.crc32(written.read(window=window).tobytes()) for _, window in written.block_windows(1)]
        require_whole(target, found == sums)
    return path if has_gaps else None


def _profile(grid: Mapping[str, Any], count: int, dtype: Any, nodata: float | None) -> dict[str, Any]:
    """Return rasterio's description of a GeoTIFF to write: its grid, number of bands, their type and nodata value."""
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": count,
        "dtype": dtype,
        "nodata": nodata,
        "compress": "deflate",
        "bigtiff": "if_safer",
        # GDAL would take the last of four bands of 8 bits for an alpha band.
        "alpha": "no",
        **grid,
    }
    if max(grid["width"], grid["height"]) > _TILE_PX:
        profile |= {"tiled": True, "blockxsize": _TILE_PX, "blockysize": _TILE_PX}
    return profile


def _open(path: Path) -> DatasetReader:
    try:
        return rasterio.open(path)
    except RasterioError as error:
        raise _unreadable(path, error) from None
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None


def _write(
    image: DatasetReader,
    numbers: list[int],
    layers: Layers | _Cut | _Resampled,
    grid: Mapping[str, Any],
    target: Path,
    keep_scale: bool,
) -> list[int]:
    """Write a file, and return the checksum of each of its blocks: on a full disk, GDAL leaves out blocks without an
    error.

    Args:
        image: the file that is written again, whose tags are kept.
        numbers: of its bands.
        layers: the pixels of these bands.
        grid: their size and place.
        target: GeoTIFF to write.
        keep_scale: whether tags of scale and offset are kept.
    """
    sums = []
    with rasterio.open(target, "w", **_profile(grid, len(numbers), layers.dtype, layers.nodata)) as written:
        for _, window in written.block_windows(1):
            try:
                values, mask, missing = layers.read(window)
            except RasterioError as error:
                raise _unreadable(image.name, error) from None
            written.write(values, window=window)
            if mask is not None:
                written.write_mask(mask, window=window)
            sums.append(_checksum(values, missing))
        _copy_model(image, written, grid)
        written.update_tags(**image.tags())
        for place, number in enumerate(numbers, 1):
            written.update_tags(place, **image.tags(number))
            # Central wavelengths, which count as descriptions.
            written.update_tags(place, ns=WAVELENGTH[0], **image.tags(number, ns=WAVELENGTH[0]))
        chosen = [number - 1 for number in numbers]
        descriptions, units = find_descriptions(image), find_units(image)
        if not any(descriptions):
            # As a scene, a VRT of band files has the names of these.
            descriptions = names_of_band_files(Path(image.name), image) or descriptions
        written.descriptions = [descriptions[place] for place in chosen]
        written.units = [units[place] or "" for place in chosen]
        if keep_scale:
            written.scales = [image.scales[place] for place in chosen]
            written.offsets = [image.offsets[place] for place in chosen]
    return sums


def _copy_model(image: DatasetReader, written: DatasetWriter, grid: Mapping[str, Any]) -> None:
    """Copy control points or rational polynomials of an image without another place, whose middle may be cut out."""
    if not grid["transform"].is_identity:
        return
    row, column = ((whole - grid[side]) // 2 for whole, side in zip(image.shape, ("height", "width"), strict=True))
    points, system = image.gcps
    if points:
        moved = [GroundControlPoint(each.row - row, each.col - column, each.x, each.y, each.z) for each in points]
        written.gcps = (moved, system)
    if polynomials := image.rpcs:
        polynomials.line_off -= row
        polynomials.samp_off -= column
        written.rpcs = polynomials


def _sums_of_blocks(path: Path) -> list[int]:
    with rasterio.open(path) as source:
        layers = Layers(source, source.indexes)
        parts = (layers.read(window) for _, window in source.block_windows(1))
        return [_checksum(values, missing) for values, _, missing in parts]


def _checksum(values: np.ndarray, missing: np.ndarray) -> int:
    return zlib.crc32(missing.tobytes(), zlib.crc32(values.tobytes()))
