"""Write GeoTIFFs again with other bands, or on another grid, and keep what says the meaning of their values.

The commands `rio stack`, `rio warp` and `rio convert` drop descriptions, scale and offset of bands.

    PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite b13 b12 --bands 1,2,3,4,5,6,7,8,9,10,12,13
    PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite scene.tif utm.tif --crs EPSG:32632 --pixel-m 10
    PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite B11.tif B11_10m.tif --like B02.tif
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio import Env
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform

from terralucas.data.georeference import describe_system
from terralucas.data.raster_files import gdal_writes, require_whole
from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.files import atomic_path

_SUFFIXES = (".tif", ".tiff")
# Larger files are written in tiles, which maps read one by one.
_TILE_PX = 512


def rewrite(
    source: Path,
    target: Path,
    bands: Sequence[int] | None = None,
    crs: CRS | None = None,
    pixel_m: float | None = None,
    like: Path | None = None,
    keep_scale: bool = True,
) -> None:
    """Write a raster file again as a GeoTIFF.

    Args:
        source: file that GDAL can read.
        target: GeoTIFF to write.
        bands: numbers of the bands to write, from 1, in their new order; None for all but an alpha band.
        crs: new coordinate reference system; None for that of the file.
        pixel_m: new side of a pixel, in units of the coordinate reference system; None for about the same.
        like: file whose grid is taken; `crs` and `pixel_m` do not count then.
        keep_scale: whether tags of scale and offset are kept.

    Raises:
        StudyError: the file cannot be read, has no such band, or has no place to start from.
    """
    if source.resolve() == target.resolve():
        raise StudyError("A file cannot be written over itself.", found=str(source), remedy="name another target")
    try:
        with ExitStack() as stack:
            stack.enter_context(Env(GDAL_TIFF_INTERNAL_MASK=True))
            image = stack.enter_context(rasterio.open(source))
            numbers = list(bands or [n for n, kind in enumerate(image.colorinterp, 1) if kind != ColorInterp.alpha])
            if not set(numbers) <= set(image.indexes):
                raise StudyError(
                    f"The file {source} has no such bands.",
                    found=f"{image.count} band(s); asked for {', '.join(map(str, numbers))}",
                    expected="numbers of bands from 1",
                    remedy="correct --bands",
                )
            view = image
            if crs or pixel_m or like:
                view = stack.enter_context(_on_another_grid(image, crs, pixel_m, like))
            temporary = stack.enter_context(atomic_path(target))
            with gdal_writes(target):
                sums = _write(image, view, numbers, temporary, keep_scale)
                require_whole(target, sums == _sums_of_blocks(temporary))
    except CRSError as error:
        raise StudyError(
            f"The coordinates of {source} cannot be converted.",
            found=f"{error}; the file has {describe_system(image.crs)}",
            expected="a coordinate reference system on Earth, and one that coordinates can be converted to",
            remedy="correct --crs; or write the right system into a copy of the file (rio edit-info --crs EPSG:…)",
        ) from None
    except RasterioError as error:
        raise _unreadable(source, error) from None


def _unreadable(source: Path | str, error: RasterioError) -> StudyError:
    return StudyError(
        f"The file {source} cannot be written again.",
        found=str(error.__cause__ or error),
        expected="a raster file that GDAL can read",
        remedy="fetch the file again",
    )


@contextmanager
def _on_another_grid(
    image: DatasetReader, crs: CRS | None, pixel_m: float | None, like: Path | None
) -> Iterator[WarpedVRT]:
    """Open an image on another grid, resampled bilinearly."""
    if image.crs is None:
        raise StudyError(
            f"The file {image.name} has no coordinate reference system.",
            expected="a georeference to resample from",
            remedy="write it first: rio edit-info --crs and --transform",
        )
    if like is not None:
        with rasterio.open(like) as grid:
            place = {"crs": grid.crs, "transform": grid.transform, "width": grid.width, "height": grid.height}
    else:
        target = crs or image.crs
        transform, width, height = calculate_default_transform(
            image.crs, target, image.width, image.height, *image.bounds, resolution=pixel_m
        )
        place = {"crs": target, "transform": transform, "width": width, "height": height}
    # Without a nodata value, pixels from outside of the image would have the value 0.
    options: dict[str, Any] = {"add_alpha": True} if image.nodata is None else {"nodata": image.nodata}
    with WarpedVRT(image, resampling=Resampling.bilinear, **place, **options) as view:
        yield view


def _write(image: DatasetReader, view: DatasetReader, numbers: list[int], target: Path, keep_scale: bool) -> list[int]:
    """Write a file, and return the checksum of each of its blocks: on a full disk, GDAL leaves out blocks without an
    error.
    """
    flags = image.mask_flag_enums[0]
    has_mask = view.nodata is None and (view is not image or MaskFlags.per_dataset in flags)
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": len(numbers),
        "dtype": image.dtypes[numbers[0] - 1],
        "nodata": view.nodata,
        "compress": "deflate",
        "bigtiff": "if_safer",
        **{name: getattr(view, name) for name in ("width", "height", "crs", "transform")},
    }
    if max(view.shape) > _TILE_PX:
        profile |= {"tiled": True, "blockxsize": _TILE_PX, "blockysize": _TILE_PX}
    sums = []
    with rasterio.open(target, "w", **profile) as written:
        for _, window in written.block_windows(1):
            try:
                values = view.read(numbers, window=window).astype(written.dtypes[0])
                # The alpha band that a grid adds has the mask of the image too, and comes last.
                shown = view.dataset_mask(window=window) if view is image else view.read(view.count, window=window)
            except RasterioError as error:
                raise _unreadable(image.name, error) from None
            written.write(values, window=window)
            if has_mask:
                written.write_mask(shown > 0, window=window)
            sums.append(_checksum(values, shown > 0 if has_mask else None))
        written.update_tags(**image.tags())
        for place, number in enumerate(numbers, 1):
            written.update_tags(place, **image.tags(number))
        chosen = [number - 1 for number in numbers]
        written.descriptions = [image.descriptions[place] for place in chosen]
        written.units = [image.units[place] or "" for place in chosen]
        if keep_scale:
            written.scales = [image.scales[place] for place in chosen]
            written.offsets = [image.offsets[place] for place in chosen]
    return sums


def _sums_of_blocks(path: Path) -> list[int]:
    with rasterio.open(path) as source:
        has_mask = MaskFlags.per_dataset in source.mask_flag_enums[0]
        return [
            _checksum(source.read(window=window), source.dataset_mask(window=window) > 0 if has_mask else None)
            for _, window in source.block_windows(1)
        ]


def _checksum(values: np.ndarray, mask: np.ndarray | None) -> int:
    sum_of_values = zlib.crc32(values.tobytes())
    return sum_of_values if mask is None else zlib.crc32(mask.tobytes(), sum_of_values)


def main(arguments: list[str] | None = None) -> int:
    """Write a file, or all GeoTIFFs of a folder and its subfolders, again; return 1 after an error."""
    options = _parse(arguments)
    source: Path = options.source
    try:
        if source.is_dir():
            files = sorted(path for path in source.rglob("*") if path.suffix.lower() in _SUFFIXES)
            pairs = [(path, options.target / path.relative_to(source)) for path in files]
        else:
            pairs = [(source, options.target)]
        if not pairs:
            raise StudyError(f"There are no GeoTIFFs in {source}.", remedy="correct the path")
        for path, target in pairs:
            rewrite(path, target, options.bands, options.crs, options.pixel_m, options.like, not options.without_scale)
    except (StudyError, OSError) as error:
        print((explain(error) if isinstance(error, OSError) else None) or error, file=sys.stderr)
        return 1
    print(f"{len(pairs)} file(s) written to {options.target}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m terralucas.data.rewrite", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("source", type=Path, help="GeoTIFF, or folder of GeoTIFFs")
    add("target", type=Path, help="file or folder to write")
    add("--bands", type=_numbers, help="numbers of the bands to write, from 1, in their new order: 1,2,3")
    add("--crs", type=_crs, help="new coordinate reference system, such as EPSG:32632")
    add("--pixel-m", type=float, help="new side of a pixel in metres")
    add("--like", type=Path, help="file whose grid is taken")
    add("--without-scale", action="store_true", help="leave out the tags of scale and offset")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
