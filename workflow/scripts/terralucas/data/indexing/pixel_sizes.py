"""Compare the size of pixels on the ground, by the georeference of chips, with `dataset.pixel_size_m`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from terralucas.commands import REMOVE_PLACE, REWRITE
from terralucas.errors import StudyError

if TYPE_CHECKING:
    from terralucas.data.discovery.places import Ground

# Degrees, and the projection of web maps, stretch lengths: pixels that are exported with 10 m have 8.4 or 7 m at 45°.
# Another resolution of Sentinel-2 or Landsat is a factor of 1.5 or more.
MAX_PIXEL_RATIO = 1.25
# As for the scene of a map (docs/using-the-winner.md).
PIXEL_TOLERANCE = 0.05
# Sizes in metres that are advised as dataset.pixel_size_m, which may be at most 10,000; a smaller one is an error in a
# georeference.
_SIZES_M = (0.1, 10_000.0)


def is_pixel_size(pixel_m: float, nominal_m: float, expected_m: float, elongation: float = 1.0) -> bool:
    """Return whether pixels can be squares of a size.

    Args:
        pixel_m: side on the ground of a square of the same area, in metres.
        nominal_m: the same in the units of the coordinates.
        expected_m: the size.
        elongation: how many times longer one side is than the other.
    """
    return elongation <= MAX_PIXEL_RATIO and any(
        1 / MAX_PIXEL_RATIO <= side / expected_m <= MAX_PIXEL_RATIO for side in (pixel_m, nominal_m)
    )


def size_text(ground: Ground) -> str:
    """Return the size of a pixel in words: one side of a square, or both sides."""
    if ground.elongation <= MAX_PIXEL_RATIO:
        return f"{ground.pixel_m:.3g} m"
    short = ground.pixel_m / math.sqrt(ground.elongation)
    return f"{short:.3g} x {short * ground.elongation:.3g} m"


def describe_pixel_sizes(grounds: Sequence[Ground | None]) -> dict[str, float] | None:
    """Return the sides of pixels on the ground by the georeference of the chips, in metres; None without any.

    Returns:
        `chips`: number of chips with a georeference; `smallest_m`, `median_m` and `largest_m` of the sides on the
        ground; `nominal_m`, the median of the nominal sides; `largest_elongation`, how many times longer one side is.
    """
    known = [ground for ground in grounds if ground is not None]
    if not known:
        return None
    sides = [ground.pixel_m for ground in known]
    return {
        "chips": len(known),
        "smallest_m": min(sides),
        "median_m": float(np.median(sides)),
        "largest_m": max(sides),
        "largest_elongation": max(ground.elongation for ground in known),
        "nominal_m": float(np.median([ground.nominal_m for ground in known])),
    }


def check_pixel_size(record: Mapping[str, float] | None, expected_m: float) -> str | None:
    """Compare `dataset.pixel_size_m` with the georeference of the chips.

    Args:
        record: the result of `describe_pixel_sizes`.
        expected_m: `dataset.pixel_size_m`.

    Returns:
        A sentence if pixels differ from it by more than projections usually do; otherwise None.

    Raises:
        StudyError: the pixels must have another size.
    """
    if record is None:
        return None
    if not is_pixel_size(record["median_m"], record["nominal_m"], expected_m):
        refuse_pixel_size(record, expected_m)
    if all(abs(record[side] / expected_m - 1) <= PIXEL_TOLERANCE for side in ("smallest_m", "largest_m")):
        return None
    return (
        f"the pixels of the chips have {_range_m(record)} on the ground by their georeference, and "
        f"dataset.pixel_size_m is {expected_m:g}"
    )


def refuse_pixel_size(record: Mapping[str, float], expected_m: float) -> NoReturn:
    """Raise the error for chips whose pixels have another size than `dataset.pixel_size_m`."""
    longer = record["largest_elongation"]
    wanted = float(f"{record['nominal_m']:.3g}")
    remedies = []
    if is_pixel_size(record["median_m"], record["nominal_m"], wanted, longer) and _SIZES_M[0] <= wanted <= _SIZES_M[1]:
        remedies.append(f"set dataset.pixel_size_m: {wanted:g}")
    elif longer > MAX_PIXEL_RATIO:
        remedies.append(
            f"resample the chips to squares ({REWRITE} chips resampled --pixel-m {expected_m:g} --side-px …, with the "
            "pixels of a side, and --crs of a projection if their coordinates are degrees)"
        )
    remedies.append(f"correct the georeference of the files ({REMOVE_PLACE} removes it)")
    raise StudyError(
        "The pixels of the chips have another size on the ground than dataset.pixel_size_m says.",
        found=f"{_range_m(record)} by the georeference of {record['chips']} chips"
        + (f", and sides of which one is up to {longer:.3g} times longer" if longer > MAX_PIXEL_RATIO else ""),
        expected=f"squares of {expected_m:g} m (dataset.pixel_size_m), at most {MAX_PIXEL_RATIO:g} times more or less",
        remedy=", or ".join(remedies),
    )


def _range_m(record: Mapping[str, float]) -> str:
    low, high = f"{record['smallest_m']:.3g}", f"{record['largest_m']:.3g}"
    return f"{low} m" if low == high else f"{low} to {high} m (median {record['median_m']:.3g} m)"
