"""Write GeoTIFFs again with other bands, or on another grid, and keep what says the meaning of their values.

The commands `rio stack`, `rio warp` and `rio convert` drop descriptions, scale and offset of bands.

    PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite b13 b12 --bands 1,2,3,4,5,6,7,8,9,10,12,13
    PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite scene.tif utm.tif --crs EPSG:32632 --pixel-m 10
    PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite chips cut --side-px 32
    PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite chips squares --pixel-m 10 --side-px 32
    PYTHONPATH=workflow/scripts python -m terralucas.data.rewrite B11.tif B11_10m.tif --like B02.tif
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rasterio.crs import CRS
from rasterio.errors import CRSError
from tqdm import tqdm

from terralucas.commands import a_path
from terralucas.data.discovery.folders import CHIP_SUFFIXES, walk
from terralucas.data.rewrite.grids import MAX_SIDE_PX
from terralucas.data.rewrite.rewrite import rewrite
from terralucas.disk import explain
from terralucas.errors import StudyError


def main(arguments: list[str] | None = None) -> int:
    """Write a file, or all GeoTIFFs of a folder and its subfolders, again; return 1 after an error."""
    options = _parse(arguments)
    source: Path = options.source
    try:
        pairs = _pairs_of_folder(source, options.target) if source.is_dir() else [(source, options.target)]
        others = _other_chips(options.target, pairs) if source.is_dir() else []
        if not source.is_dir():
            _require_geotiff(options.target)
        changes = [
            rewrite(
                path,
                target,
                bands=options.bands,
                crs=options.crs,
                pixel_m=options.pixel_m,
                like=options.like,
                side_px=options.side_px,
                keep_scale=not options.without_scale,
                nodata=options.nodata,
            )
            for path, target in tqdm(pairs, unit="file", desc="Writing", disable=len(pairs) == 1)
        ]
    except (StudyError, OSError) as error:
        print((explain(error) if isinstance(error, OSError) else None) or error, file=sys.stderr)
        return 1
    resampled = ", resampled to other pixels (bilinear)" if any(change.is_resampled for change in changes) else ""
    print(f"{len(pairs)} file(s) written to {options.target}{resampled}")
    if moved := sum(change.is_off_centre for change in changes):
        print(f"The centre of {moved} of them moved by half a pixel: an odd number of rows or columns was cut off.")
    masks = [(path, change.mask_bands) for (path, _), change in zip(pairs, changes, strict=True) if change.mask_bands]
    if masks:
        path, numbers = masks[0]
        print(
            f"In {len(masks)} file(s), a band was taken for the mask of the other bands and not written, such as band "
            f"{numbers[0]} of {path}. If it holds data, name all bands with --bands."
        )
    if others:
        print(f"{options.target} has {len(others)} other GeoTIFF(s), such as {others[0]}: a study reads them too.")
    return 0


def _require_geotiff(target: Path) -> None:
    """Raise a StudyError if a file to write would not have the suffix by which studies find GeoTIFFs."""
    if target.suffix.lower() not in CHIP_SUFFIXES and not target.is_dir():
        raise StudyError(
            f"The target {target} is not named as a GeoTIFF.",
            found=f"the suffix {target.suffix}" if target.suffix else "no suffix",
            expected="a name that ends with .tif",
            remedy="name a file that ends with .tif; if a folder is meant, make it first and name a file in it",
        )


def _pairs_of_folder(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return the GeoTIFFs of a folder, each with the file to write.

    Raises:
        StudyError: there are none, or the target is in the source, so that a second call would write it again.
    """
    if target.resolve().is_relative_to(source.resolve()):
        raise StudyError(
            f"The target {target} is in the source {source}.",
            found=str(target.resolve()),
            expected="a folder outside the source, which is read whole",
            remedy="name another target",
        )
    pairs = [(source / path, target / path) for path in _chips_in(source)]
    if not pairs:
        raise StudyError(f"There are no GeoTIFFs in {source}.", remedy="correct the path")
    return pairs


def _other_chips(target: Path, pairs: Sequence[tuple[Path, Path]]) -> list[PurePosixPath]:
    """Return the GeoTIFFs in the target that are not written again."""
    written = {path for _, path in pairs}
    return [path for path in _chips_in(target) if target / path not in written] if target.is_dir() else []


def _chips_in(folder: Path) -> list[PurePosixPath]:
    """Return the GeoTIFFs that training would find in a folder."""
    tree = walk(folder)
    tree.require_readable(folder)
    paths = sorted(path for path in (*tree.files, *tree.others) if path.suffix.lower() in CHIP_SUFFIXES)
    for path in tree.others.keys() & set(paths):
        raise StudyError(
            f"{folder / path} {tree.others[path]}.",
            expected="a GeoTIFF",
            remedy="restore what the link leads to, or remove the entry",
        )
    return paths


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m terralucas.data.rewrite", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("source", type=a_path, help="GeoTIFF, or folder of GeoTIFFs")
    add("target", type=a_path, help="file or folder to write")
    add("--bands", type=_numbers, help="numbers of the bands to write, from 1, in their new order: 1,2,3")
    add("--crs", type=_crs, help="new coordinate reference system, such as EPSG:32632")
    add("--pixel-m", type=_length, help="new side of a pixel in metres of a projection")
    add(
        "--side-px",
        type=_side,
        help="new rows and columns, around the centre of each file; alone, it cuts whole pixels",
    )
    add("--like", type=a_path, help="file whose grid is taken")
    add("--nodata", type=float, help="value of missing pixels (dataset.nodata) beside those that the files state")
    add("--without-scale", action="store_true", help="leave out the tags of scale and offset")
    return parser.parse_args(arguments)


def _length(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no length; expected a number above 0")
    return float(text)


def _side(text: str) -> int:
    if not 0 < int(text) <= MAX_SIDE_PX:
        raise argparse.ArgumentTypeError(f"{text} is no number of pixels; expected a whole number above 0")
    return int(text)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
