"""Compare each chip with the other chips of its dataset."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np

from terralucas.data.chip_problems import REMEDIES
from terralucas.data.chips.chip_checks import percent_text
from terralucas.data.dataset import PATCH_PX, DatasetSpec
from terralucas.data.discovery.discover import Problem
from terralucas.data.discovery.places import find_exchanged, has_columns
from terralucas.data.indexing.band_order import VISIBLE
from terralucas.data.indexing.checked_chip import CheckedChip
from terralucas.data.indexing.chip_copies import find_copies
from terralucas.data.indexing.pixel_sizes import describe_pixel_sizes, is_pixel_size, refuse_pixel_size, size_text
from terralucas.errors import StudyError
from terralucas.geography import ground_offset

# Single places may be rounded, or lie beside their chip.
_FEW_OUTSIDE = 3


def compare_chips(
    chips: Sequence[CheckedChip], spec: DatasetSpec
) -> tuple[list[CheckedChip], list[Problem], int | None]:
    """Compare size, size on the ground, type, brightness and pixels of each chip with those of the other chips.

    Args:
        chips: the chips that passed their own checks, in the order of the index.
        spec: description of the dataset.

    Returns:
        The valid chips in their order, the problems of the others, and the side of a chip in pixels (None without
        chips).
    """
    size = _chip_size(chips, spec)
    left, problems = list(chips), list[Problem]()
    for check in (
        partial(_check_sizes, size=size),
        _check_levels,
        _check_dtypes,
        _check_pixel_sizes,
        _check_names,
        _check_places,
        _check_equal_bands,
        _check_brightness,
        find_copies,
    ):
        outcomes = check(left, spec)
        problems += [problem for problem in outcomes if problem is not None]
        left = [chip for chip, problem in zip(left, outcomes, strict=True) if problem is None]
    return left, problems, size


def _chip_size(chips: Sequence[CheckedChip], spec: DatasetSpec) -> int | None:
    """Return the side that all chips must have: the configured one, or the most frequent side of square chips."""
    if spec.chip_size_px is not None:
        return spec.chip_size_px
    sides = Counter(chip.row["height"] for chip in chips if chip.row["height"] == chip.row["width"])
    return sides.most_common(1)[0][0] if sides else None


def _check_sizes(chips: Sequence[CheckedChip], spec: DatasetSpec, size: int | None) -> list[Problem | None]:
    """Return the problem with the size of each chip, or None."""
    return [_check_size(chip, size) for chip in chips]


def _check_size(chip: CheckedChip, size: int | None) -> Problem | None:
    height, width = chip.row["height"], chip.row["width"]
    if height != width:
        expected = f"a square of {size} px" if size else "a square"
    elif height != size:
        expected = f"{size} x {size} px"
    elif height % PATCH_PX:
        expected = f"sides that are multiples of {PATCH_PX} px, the patch size of the backbone"
    else:
        return None
    return chip.problem("size", f"is {height} x {width} px; expected {expected}")


def _check_levels(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip in which a band has another unit or scale than the others, or None."""
    return [None if chip.other_level is None else chip.problem("band_levels", chip.other_level) for chip in chips]


def _check_dtypes(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip whose values have another type than those of most chips, or None."""
    if spec.checks.allow_mixed_dtypes:
        return [None] * len(chips)
    most = Counter(chip.dtype for chip in chips).most_common(1)
    return [
        chip.problem("dtype", f"holds {chip.dtype} values; expected {most[0][0]}, as in most chips")
        if chip.dtype != most[0][0]
        else None
        for chip in chips
    ]


def _check_pixel_sizes(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip whose pixels have another size than `dataset.pixel_size_m`, or None.

    Raises:
        StudyError: more than half of the chips with a georeference have another size.
    """
    is_wrong = [
        chip.ground is not None
        and not is_pixel_size(chip.ground.pixel_m, chip.ground.nominal_m, spec.pixel_size_m, chip.ground.elongation)
        for chip in chips
    ]
    record = describe_pixel_sizes([chip.ground for chip in chips])
    if record is not None and sum(is_wrong) > record["chips"] / 2:
        refuse_pixel_size(record, spec.pixel_size_m)
    expected = f"expected {spec.pixel_size_m:g} m (dataset.pixel_size_m)"
    return [
        chip.problem("pixel_size", f"has pixels of {size_text(chip.ground)} on the ground; {expected}")
        if wrong and chip.ground is not None
        else None
        for chip, wrong in zip(chips, is_wrong, strict=True)
    ]


def _check_names(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip that lies at the point of another LUCAS id, or None."""
    if spec.point_ids != "lucas":
        return [None] * len(chips)
    exchanged = find_exchanged({chip.row["point_id"]: chip.ground.place for chip in chips if chip.ground is not None})
    message = "lies by its georeference at the point of {}, whose own file lies elsewhere; expected the point of its id"
    return [
        chip.problem("bad_coordinates", message.format(exchanged[chip.row["point_id"]]))
        if chip.row["point_id"] in exchanged
        else None
        for chip in chips
    ]


def _check_places(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[None]:
    """Check that most chips have their place of the labels table inside them; of one chip, it may be rounded.

    Raises:
        StudyError: more than half of the places are outside of their chips, as where the rows of a table are shifted.
    """
    if spec.point_ids != "lucas" and has_columns(spec):
        located = [(chip.ground, (chip.row["easting_m"], chip.row["northing_m"])) for chip in chips]
        distances = [
            math.hypot(*ground_offset(ground.place, place)) - ground.side_m / math.sqrt(2) - ground.pixel_m
            for ground, place in located
            if ground is not None and all(map(math.isfinite, place))
        ]
        # From the circle around a chip, because its sides are turned against the axes of the places.
        outside = [distance for distance in distances if distance > 0]
        if len(outside) > max(len(distances) / 2, _FEW_OUTSIDE):
            raise StudyError(
                f"The coordinates of most chips of dataset {spec.name!r} lie outside the chips.",
                found=f"{len(outside)} of {len(distances)} places of the labels table outside of their chip, as its "
                f"file says where it is; half of them by more than {float(np.median(outside)):,.0f} m",
                expected="places inside the chips",
                remedy="correct the labels table: if its rows are shifted, the labels are too; if the coordinates are "
                "only rounded, set x_column and y_column of dataset.layout to null, because the files know their place",
            )
    return [None] * len(chips)


def _check_equal_bands(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip in which one band is a copy of another, or None.

    Raises:
        StudyError: the same two bands are equal in more than half of the chips.
    """
    if spec.checks.allow_equal_bands:
        return [None] * len(chips)
    for (first, second), count in Counter(pair for chip in chips for pair in chip.equal_bands).most_common(1):
        if count > len(chips) / 2:
            raise StudyError(
                f"The bands {spec.bands[first]} and {spec.bands[second]} of dataset {spec.name!r} are copies.",
                found=f"equal values in every pixel of these two bands in {count} of {len(chips)} chips",
                expected="bands that differ",
                remedy=REMEDIES["equal_bands"],
            )
    problems: list[Problem | None] = []
    for chip in chips:
        pairs = ", ".join(f"{spec.bands[first]} and {spec.bands[second]}" for first, second in chip.equal_bands)
        message = f"has equal values in every pixel of the bands {pairs}; expected bands that differ"
        problems.append(chip.problem("equal_bands", message) if pairs else None)
    return problems


def _check_brightness(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip that is so dark in every band that its values must have another scale.

    The brightness of a chip is the largest ratio over the bands of its mean to the median of the chips' means. Water
    is dark in the infrared but not in blue, so that it is well above the limit; without a visible band, nothing is
    compared.
    """
    limit = spec.checks.min_chip_brightness
    if not chips or limit == 0 or set(spec.bands).isdisjoint(VISIBLE):
        return [None] * len(chips)
    means = np.array([chip.row["band_mean"] for chip in chips])
    median = np.median(means, axis=0)
    usable = median > 0
    if not usable.any():
        return [None] * len(chips)
    brightness = (means[:, usable] / median[usable]).max(axis=1)
    message = f"expected at least {limit:g}: its values seem to have another scale than those of the other chips"
    return [
        chip.problem(
            "brightness", f"has {ratio:.2g} times the mean of the median chip in its brightest band; {message}"
        )
        if ratio < limit
        else None
        for chip, ratio in zip(chips, brightness, strict=True)
    ]


def describe_nodata(chips: Sequence[CheckedChip], spec: DatasetSpec) -> str | None:
    """Return a sentence if `dataset.nodata` is no value that the type of some chips can hold; None otherwise."""
    value = spec.nodata
    if value is None:
        return None
    types = Counter(chip.dtype for chip in chips)
    wrong = [
        name
        for name in types
        if np.dtype(name).kind in "iu"
        and not (float(value).is_integer() and np.iinfo(name).min <= value <= np.iinfo(name).max)
    ]
    if not wrong:
        return None
    return (
        f"dataset.nodata is {value:.9g}, which no {' or '.join(wrong)} value can be, so that it marks nothing in "
        f"{sum(types[name] for name in wrong)} chips"
    )


def describe_saturated(chips: Sequence[CheckedChip], spec: DatasetSpec) -> str | None:
    """Return a sentence about chips with patches that are saturated clouds or missing data; None without any."""
    limit = spec.checks.max_fill_fraction
    found = [chip for chip in chips if chip.saturated > limit]
    if not found:
        return None
    worst = max(found, key=lambda chip: chip.saturated)
    return (
        f"{len(found)} chips have one and the same bright value in every band in more than {percent_text(limit)} of "
        f"their pixels ({percent_text(worst.saturated)} in {worst.name}): saturated clouds, or "
        "missing data that dataset.nodata does not name"
    )
