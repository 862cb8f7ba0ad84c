"""Check decoded chips: each alone, and each against the other chips of its dataset."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from terralucas.data.band_levels import find_impossible_level
from terralucas.data.band_names import find_contradiction
from terralucas.data.band_order import VISIBLE, Spectrum
from terralucas.data.chip_problems import REMEDIES, ChipError
from terralucas.data.class_traits import Traits
from terralucas.data.dataset import DN_PER_REFLECTANCE, PATCH_PX, DatasetSpec
from terralucas.data.decoded_chip import FIRST_WRAPPED, Chip
from terralucas.data.discovery import Problem
from terralucas.data.gaps import (
    find_almost_constant,
    find_zeros,
    measure_flat_edge,
    measure_nothing,
    measure_padding,
    measure_repeated_edge,
)
from terralucas.data.near_copies import find_near_copies
from terralucas.data.pixel_sizes import describe_pixel_sizes, is_pixel_size, refuse_pixel_size, size_text
from terralucas.data.places import Ground, find_exchanged
from terralucas.data.reflectance import REFLECTANCE_RANGE, reflectance_of_zero
from terralucas.data.sampling import find_quantiles
from terralucas.errors import StudyError
from terralucas.geography import ground_offset

MAX_SHARE_OUTSIDE = 0.01


@dataclass(frozen=True)
class CheckedChip:
    """A chip that passed its own checks.

    Attributes:
        row: the row of the chip in the index.
        dtype: type of the values in the file.
        scaling: scale and offset of each band in the file.
        pixels: digest of the decoded values, equal for chips with the same pixels in other files, also if they are
            flipped or rotated by quarter turns.
        orientation: number, 0 to 7, of the flip and rotation that `pixels` is of; it tells flipped copies from others.
        ground: what the georeference of the file says; None without one.
        saturated: share of the pixels that have one and the same value in every band, as in saturated clouds.
        darkest: reflectance below which the darkest band of a pixel is in 1 % of the pixels.
        equal_bands: positions of each two bands that are equal in every pixel.
        spectrum: what the chip shows of its bands; None if its file names all of them, or if it has too few pixels.
        other_level: result of `find_other_level`.
        traits: what the chip shows of its processing.
        squares: result of `terralucas.data.near_copies.sketch_squares`.
        pattern: result of `terralucas.data.patterns.measure_pattern`.
        simulated: whether the file says that this project simulated it.
    """

    row: dict[str, Any]
    dtype: str
    scaling: tuple[tuple[float, float], ...]
    pixels: bytes
    orientation: int
    ground: Ground | None
    saturated: float
    darkest: float
    equal_bands: tuple[tuple[int, int], ...]
    spectrum: Spectrum | None = None
    other_level: str | None = None
    traits: Traits | None = None
    squares: np.ndarray | None = None
    pattern: np.ndarray | None = None
    simulated: bool = False


def check_chip(chip: Chip, valid: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if a chip cannot be used, whatever the other chips are.

    Args:
        chip: the decoded chip.
        valid: (bands, height, width) booleans, false for missing pixels.
        spec: description of the dataset.
    """
    if spec.checks.band_descriptions:
        contradiction = find_contradiction(chip.descriptions, spec.bands)
        if contradiction is not None:
            raise ChipError("band_descriptions", contradiction, ", as in dataset.bands")
    if spec.unit == "dn" and np.dtype(chip.dtype).itemsize == 1:
        message = f"holds {chip.dtype} values, at most {np.iinfo(chip.dtype).max}"
        raise ChipError("dtype", f"{message}; expected DN (reflectance x {DN_PER_REFLECTANCE:,}), which need 16 bits")
    _check_missing(chip, valid, spec)
    _check_range(chip, valid, spec)
    _check_impossible(chip)
    _check_variation(chip, valid, spec)


def find_other_level(values: np.ndarray, spec: DatasetSpec) -> str | None:
    """Return what is wrong with a band that seems to have another unit or scale than the other bands; None if nothing.

    Bands in a wrong order look alike, so that the order is to be checked first.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
        spec: description of the dataset.
    """
    return find_impossible_level(values, spec.bands, spec.unit) if spec.checks.band_levels else None


def _check_missing(chip: Chip, valid: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if a chip, or a band of it, has no data or too few."""
    missing = np.array([1.0 - np.count_nonzero(band) / band.size for band in valid])
    empty = [band for band, share in zip(spec.bands, missing, strict=True) if share == 1.0]
    if empty:
        where = "any band" if len(empty) == len(spec.bands) else f"band {', '.join(empty)}"
        raise ChipError("missing_values", f"has no valid value in {where}; expected data in every band")
    worst, limit = int(missing.argmax()), spec.checks.max_nodata_fraction
    if missing[worst] > limit:
        found = f"lacks {percent_text(missing[worst])} of the values of band {spec.bands[worst]}"
        raise ChipError("missing_values", f"{found}; expected at most {percent_text(limit)}")


def _check_range(chip: Chip, valid: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if the values of a chip seem to have another unit than configured."""
    present = chip.values.ravel() if valid.all() else chip.values[valid]
    low, high = REFLECTANCE_RANGE
    is_within = low <= present.min() and present.max() <= high
    outside = present[:0] if is_within else present[(present < low) | (present > high)]
    scale = DN_PER_REFLECTANCE if spec.unit == "dn" else 1
    if outside.size > MAX_SHARE_OUTSIDE * present.size:
        cause, advice = _likely_cause(present, outside, scale)
        raise ChipError(
            "value_range",
            f"has {outside.size / present.size:.0%} of its values outside {low * scale:g}..{high * scale:g} "
            f"(median {np.median(present) * scale:g}); {cause}",
            advice,
        )
    # Reflectance read as DN would be 0..2 of 10,000: inside the range, but darker than any surface. So would
    # reflectance that a scale tag scales a second time.
    magnitude = np.abs(present)
    is_scaled = any(factors != (1.0, 0.0) for factors in chip.scaling)
    is_dark = np.mean(magnitude > high / DN_PER_REFLECTANCE) < MAX_SHARE_OUTSIDE
    if (spec.unit == "dn" or is_scaled) and is_dark and magnitude.max() > 0:
        if spec.unit == "dn":
            most = f"{float(magnitude.max()) * DN_PER_REFLECTANCE:g}"
            message = f"has values of {most} at most; expected DN (reflectance x {DN_PER_REFLECTANCE:,})"
            raise ChipError("value_range", f"{message}; they look like reflectance", ": set dataset.unit: reflectance")
        message = f"has reflectance of {magnitude.max():.2g} at most after its scale tag {chip.scaling[0][0]:g}"
        raise ChipError("value_range", f"{message}; its values look scaled already: remove the tag")
    if spec.unit == "reflectance" and not is_scaled and np.dtype(chip.dtype).kind in "iu" and present.max() != 0:
        message = f"holds {chip.dtype} whole numbers without a scale tag"
        raise ChipError(
            "dtype", f"{message}; expected reflectance (0..1) as fractions", ", or DN with dataset.unit: dn"
        )


def _likely_cause(present: np.ndarray, outside: np.ndarray, scale: int) -> tuple[str, str]:
    """Return the likely reason for values outside the range of the configured unit, and the advice that it gives."""
    values, counts = np.unique(outside, return_counts=True)
    commonest = values[counts.argmax()] * scale
    if counts.max() > outside.size / 2 and (commonest < 0 or commonest >= np.iinfo(np.int16).max):
        value = f"{commonest:.9g}" if scale == 1 else f"{commonest:.0f}"  # nine digits identify any float32
        return f"{value} seems to mean missing data", f": set dataset.nodata: {value}"
    if scale == DN_PER_REFLECTANCE:
        return f"expected DN (reflectance x {DN_PER_REFLECTANCE:,})", ""
    if outside.size < present.size / 2:
        return "expected reflectance (0..1): the file may be damaged", ""
    if np.percentile(present, 99) > np.iinfo(np.uint8).max:
        return f"they look like DN (reflectance x {DN_PER_REFLECTANCE:,})", ": set dataset.unit: dn"
    return "they look like percent or 8-bit values; expected reflectance (0..1)", ""


def _check_impossible(chip: Chip) -> None:
    """Raise a ChipError if any pixel has a value that no ground has: a few such pixels shift all statistics."""
    value = chip.impossible_value
    if value is not None and chip.dtype == "uint16" and value >= FIRST_WRAPPED and value != np.iinfo(np.uint16).max:
        raise ChipError(
            "impossible_values",
            f"has the value {value:.0f}, which no ground has, in {chip.impossible_pixels} of its pixels; it seems to "
            f"be {value - 2**16:.0f} in 16 bits without a sign: write the chip again as int16 or float32",
        )
    if chip.impossible_value is not None:
        raise ChipError(
            "impossible_values",
            f"has the value {chip.impossible_value:.9g}, which no ground has, in {chip.impossible_pixels} of its "
            "pixels; it seems to mean missing data",
            f": set dataset.nodata: {chip.impossible_value:.9g}",
        )


def _check_variation(chip: Chip, valid: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if a chip or a band has only one value, or if one value fills many pixels."""
    scale = DN_PER_REFLECTANCE if spec.unit == "dn" else 1
    pixels = chip.values.reshape(len(chip.values), -1)
    lowest, highest = np.fmin.reduce(pixels, axis=1), np.fmax.reduce(pixels, axis=1)  # of the values that are not NaN
    if lowest.min() == highest.max():
        raise ChipError("constant", f"has the value {lowest[0] * scale:g} everywhere; expected values that vary")
    constant = lowest == highest
    if constant.any() and not spec.checks.allow_constant_bands:
        values = ", ".join(f"{spec.bands[i]} ({lowest[i] * scale:g})" for i in np.flatnonzero(constant))
        raise ChipError("constant", f"has one value everywhere in band {values}; expected values that vary")
    limit = spec.checks.max_fill_fraction
    if chip.fill_fraction > limit:
        raise _fill_error(chip.fill_value, chip.fill_fraction, limit)
    if chip.patch_fraction > limit and not chip.patch_may_be_cloud:
        raise _fill_error(chip.patch_value, chip.patch_fraction, limit)
    _check_gaps(chip, spec)


def _check_gaps(chip: Chip, spec: DatasetSpec) -> None:
    """Raise a ChipError if pixels seem to have no data in some bands, or to be padding."""
    limit = spec.checks.max_fill_fraction
    usually = f"expected at most {percent_text(limit)}, because this usually means missing data"
    band, share = find_zeros(chip.values, reflectance_of_zero(chip.scaling, spec.unit), spec.bands)
    if share > limit:
        raise ChipError("fill", f"has the value 0 in band {band} in {percent_text(share)} of its pixels; {usually}")
    what, share = max(
        measure_padding(chip.values),
        measure_flat_edge(chip.values, spec.bands),
        measure_repeated_edge(chip.values),
        measure_nothing(chip.values),
        key=lambda found: found[1],
    )
    if share > limit:
        raise ChipError("fill", f"has {what} in {percent_text(share)} of its pixels; {usually}")
    number = None if spec.checks.allow_constant_bands else find_almost_constant(chip.values)
    if number is not None:
        message = f"has one value almost everywhere in band {spec.bands[number]}"
        raise ChipError("constant", f"{message}; expected values that vary")


def _fill_error(value: float | None, share: float, limit: float) -> ChipError:
    found = f"has the value {value:g} in every band in {percent_text(share)} of its pixels"
    return ChipError(
        "fill", f"{found}; expected at most {percent_text(limit)}, because this usually means missing data"
    )


def percent_text(share: float) -> str:
    """Write a share so that 4,095 of 4,096 are not 100 %."""
    return f"{100 * share:.4g} %"


def find_equal_bands(values: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the positions of each two bands that vary and are equal wherever both have a value.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
    """
    return tuple(
        (first, second)
        for first, second in itertools.combinations(range(len(values)), 2)
        if _are_equal(values[first], values[second])
    )


def _are_equal(first: np.ndarray, second: np.ndarray) -> bool:
    # Most bands differ in their first rows already.
    for rows in (slice(0, 4), slice(None)):
        a, b = first[rows], second[rows]
        both = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[both], b[both]):
            return False
    return both.any() and bool(np.ptp(a[both]) > 0)


def measure_darkest(values: np.ndarray) -> float:
    """Return the reflectance below which the darkest band of a pixel is in 1 % of the pixels.

    Args:
        values: (bands, height, width) reflectance, NaN for missing pixels.
    """
    darkest = np.fmin.reduce(values, axis=0)
    return float(find_quantiles(darkest[np.isfinite(darkest)], [0.01])[0])


def hash_pixels(spectra: np.ndarray) -> tuple[bytes, int]:
    """Return a digest of a decoded chip that is the same for its eight orientations, and the number of the hashed one.

    The orientations are those of a square: four quarter turns, each flipped or not. The one with the smallest first
    row is hashed, so that mostly a single one is. Missing pixels are alike, however the file writes them.

    Args:
        spectra: (height, width) result of `terralucas.data.near_copies.hash_spectra`.
    """
    orientations = [np.rot90(side, turns) for side in (spectra, spectra[:, ::-1]) for turns in range(4)]
    first_rows = [orientation[0].tobytes() for orientation in orientations]
    smallest = min(first_rows)
    return min(
        (hashlib.sha256(repr(orientation.shape).encode() + orientation.tobytes()).digest(), number)
        for number, (orientation, first_row) in enumerate(zip(orientations, first_rows, strict=True))
        if first_row == smallest
    )


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
        _check_equal_bands,
        _check_brightness,
        _find_duplicates,
        _find_near_duplicates,
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
    return _problem(chip, "size", f"is {height} x {width} px; expected {expected}")


def _check_levels(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip in which a band has another unit or scale than the others, or None."""
    return [None if chip.other_level is None else _problem(chip, "band_levels", chip.other_level) for chip in chips]


def _check_dtypes(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip whose values have another type than those of most chips, or None."""
    if spec.checks.allow_mixed_dtypes:
        return [None] * len(chips)
    most = Counter(chip.dtype for chip in chips).most_common(1)
    return [
        _problem(chip, "dtype", f"holds {chip.dtype} values; expected {most[0][0]}, as in most chips")
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
        _problem(chip, "pixel_size", f"has pixels of {size_text(chip.ground)} on the ground; {expected}")
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
        _problem(chip, "bad_coordinates", message.format(exchanged[chip.row["point_id"]]))
        if chip.row["point_id"] in exchanged
        else None
        for chip in chips
    ]


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
        problems.append(_problem(chip, "equal_bands", message) if pairs else None)
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
        _problem(
            chip, "brightness", f"has {ratio:.2g} times the mean of the median chip in its brightest band; {message}"
        )
        if ratio < limit
        else None
        for chip, ratio in zip(chips, brightness, strict=True)
    ]


def _find_duplicates(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip whose pixels another chip has, in the same orientation or flipped or rotated.

    If the labels of the copies differ, none of them can be used, because nothing says which label is right. Otherwise
    one copy has no problem: one whose file says where it lies, and of these the one with the shortest id, because
    programs make longer names for copies, such as "4 (1)".
    """
    groups: dict[bytes, list[CheckedChip]] = {}
    for chip in chips:
        groups.setdefault(chip.pixels, []).append(chip)
    # The first copy with each label, so that time does not grow with the square of the number of copies.
    by_label = {
        pixels: list({chip.row["label"]: chip for chip in reversed(group)}.values()) for pixels, group in groups.items()
    }
    kept = {
        pixels: min(group, key=lambda chip: (chip.ground is None, len(chip.row["point_id"])))
        for pixels, group in groups.items()
    }
    problems: list[Problem | None] = []
    for chip in chips:
        first, others = kept[chip.pixels], by_label[chip.pixels]
        if len(others) > 1:
            other = next(other for other in others if other.row["label"] != chip.row["label"])
            message = f"has the same pixels as {_name(other)}{_turned(chip, other)}, which has the label"
            message += f" {other.row['class_code']!r} and not {chip.row['class_code']!r}; expected one label"
            problems.append(_problem(chip, "conflicting_labels", message))
        elif chip is not first:
            message = f"has the same pixels as {_name(first)}{_turned(chip, first)}; expected one file of each chip"
            problems.append(_problem(chip, "duplicate_content", message))
        else:
            problems.append(None)
    return problems


def _find_near_duplicates(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip that shares most of its pixels with another chip, as `_find_duplicates` does.

    Chips that overlap by their places are no copies.
    """
    partner = {number: other for number, other, is_overlap in _pair_near_copies(chips, spec) if not is_overlap}
    groups: dict[int, set[int]] = {}
    for pair in partner.items():
        merged = set[int]().union(pair, *(groups.get(number, ()) for number in pair))
        groups |= dict.fromkeys(merged, merged)
    problems: list[Problem | None] = [None] * len(chips)
    for members in {id(group): group for group in groups.values()}.values():
        every = sorted(members)
        kept = min(every, key=lambda number: (chips[number].ground is None, len(chips[number].row["point_id"])))
        for number in every:
            chip = chips[number]
            other = next((chips[n] for n in every if chips[n].row["label"] != chip.row["label"]), None)
            if other is not None:
                message = f"has almost the same pixels as {_name(other)}, which has the label"
                message += f" {other.row['class_code']!r} and not {chip.row['class_code']!r}; expected one label"
                problems[number] = _problem(chip, "conflicting_labels", message)
            elif number != kept:
                message = f"has almost the same pixels as {_name(chips[kept])}; expected one file of each chip"
                problems[number] = _problem(chip, "duplicate_content", message)
    return problems


def describe_overlaps(chips: Sequence[CheckedChip], spec: DatasetSpec) -> str | None:
    """Return a sentence about chips that overlap almost wholly by their places and pixels; None without any."""
    pairs = _pair_near_copies(chips, spec)
    found = [(chips[number], chips[other]) for number, other, is_overlap in pairs if is_overlap]
    if not found:
        return None
    differ = sum(chip.row["label"] != other.row["label"] for chip, other in found)
    return (
        f"{len(found)} chips have most of their pixels in common with another chip, because their places are so near "
        f"({_name(found[0][0])} and {_name(found[0][1])}); {differ} of them have another label than that one. Scores "
        "are too high where one is trained on and the other tested: set split.block_km"
    )


def _pair_near_copies(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[tuple[int, int, bool]]:
    """Return the positions of chips that share most pixels, and whether their places say that they overlap."""
    empty = np.empty(0, dtype=np.uint64)
    partners = find_near_copies([empty if chip.squares is None else chip.squares for chip in chips])
    found = []
    for number, other in enumerate(partners):
        if other is None:
            continue
        place, place_of_other = (
            (chips[each].row["easting_m"], chips[each].row["northing_m"]) for each in (number, other)
        )
        distance = math.hypot(*ground_offset(place, place_of_other))
        is_overlap = spec.pixel_size_m / 2 < distance < chips[number].row["height"] * spec.pixel_size_m
        found.append((number, other, is_overlap))
    return found


def _turned(chip: CheckedChip, other: CheckedChip) -> str:
    return "" if chip.orientation == other.orientation else ", flipped or rotated"


def _name(chip: CheckedChip) -> str:
    return f"{chip.row['point_id']} ({chip.row['file']})"


def _problem(chip: CheckedChip, kind: str, message: str) -> Problem:
    return Problem(chip.row["point_id"], chip.row["file"], kind, message)


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
        f"their pixels ({percent_text(worst.saturated)} in {_name(worst)}): saturated clouds, or "
        "missing data that dataset.nodata does not name"
    )
