"""Find chips that are copies of others, as they are, flipped or rotated, and chips that overlap almost wholly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.discover import Problem
from terralucas.data.indexing.checked_chip import CheckedChip
from terralucas.data.indexing.near_copies import find_near_copies
from terralucas.geography import ground_offset


def find_copies(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip of which another chip has the pixels, or most of them.

    Of copies with one label, one has no problem; of copies with several labels, none.
    """
    problems = find_duplicates(chips)
    # A contradiction between the labels of equal chips holds for their near copies, too: one of each label is compared.
    left: dict[tuple[bytes, int], int] = {}
    for number, (chip, problem) in enumerate(zip(chips, problems, strict=True)):
        if problem is None or problem.kind == "conflicting_labels":
            left.setdefault((chip.pixels, chip.row["label"]), number)
    near = find_near_duplicates([chips[number] for number in left.values()], spec)
    for number, problem in zip(left.values(), near, strict=True):
        problems[number] = problems[number] or problem
    return problems


def find_duplicates(chips: Sequence[CheckedChip]) -> list[Problem | None]:
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
            message = f"has the same pixels as {other.name}{_turned(chip, other)}, which has the label"
            message += f" {other.row['class_code']!r} and not {chip.row['class_code']!r}; expected one label"
            problems.append(chip.problem("conflicting_labels", message))
        elif chip is not first:
            message = f"has the same pixels as {first.name}{_turned(chip, first)}; expected one file of each chip"
            problems.append(chip.problem("duplicate_content", message))
        else:
            problems.append(None)
    return problems


def find_near_duplicates(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[Problem | None]:
    """Return the problem of each chip that shares most of its pixels with another chip, as `find_duplicates` does.

    Chips that overlap by their places are no copies.
    """
    pairs = [(first, second) for first, second, is_overlap in _pair_near_copies(chips, spec) if not is_overlap]
    problems: list[Problem | None] = [None] * len(chips)
    for every in _groups_of(pairs):
        kept = min(every, key=lambda number: (chips[number].ground is None, len(chips[number].row["point_id"])))
        for number in every:
            chip = chips[number]
            other = next((chips[n] for n in every if chips[n].row["label"] != chip.row["label"]), None)
            if other is not None:
                message = f"has almost the same pixels as {other.name}, which has the label"
                message += f" {other.row['class_code']!r} and not {chip.row['class_code']!r}; expected one label"
                problems[number] = chip.problem("conflicting_labels", message)
            elif number != kept:
                message = f"has almost the same pixels as {chips[kept].name}; expected one file of each chip"
                problems[number] = chip.problem("duplicate_content", message)
    return problems


def describe_overlaps(chips: Sequence[CheckedChip], spec: DatasetSpec) -> str | None:
    """Return a sentence about chips that overlap almost wholly by their places and pixels; None without any."""
    pairs = _pair_near_copies(chips, spec)
    found = [(first, second) for first, second, is_overlap in pairs if is_overlap]
    if not found:
        return None
    overlapping = {number for pair in found for number in pair}
    differ = {number for pair in found for number in pair if len({chips[each].row["label"] for each in pair}) > 1}
    first, second = (chips[number].name for number in found[0])
    return (
        f"{len(overlapping)} chips have most of their pixels in common with another chip, because their places are so "
        f"near ({first} and {second}); {len(differ)} of them overlap with a chip of another label. Scores are too high "
        "where one is trained on and the other tested: set split.block_km"
    )


def _groups_of(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the positions of the chips that pairs join, directly or through others, in order."""
    # The smallest chip of a group stands for it (disjoint sets; Galler & Fischer 1964).
    parent: dict[int, int] = {}

    def find(number: int) -> int:
        while parent.setdefault(number, number) != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for first, second in pairs:
        one, other = sorted((find(first), find(second)))
        parent[other] = one
    groups: dict[int, list[int]] = {}
    for number in sorted(parent):
        groups.setdefault(find(number), []).append(number)
    return list(groups.values())


def _pair_near_copies(chips: Sequence[CheckedChip], spec: DatasetSpec) -> list[tuple[int, int, bool]]:
    """Return the positions of each two chips that share most pixels, and whether their places say that they overlap."""
    empty = np.empty(0, dtype=np.uint64)
    found = []
    for number, other in find_near_copies([empty if chip.squares is None else chip.squares for chip in chips]):
        place, place_of_other = (
            (chips[each].row["easting_m"], chips[each].row["northing_m"]) for each in (number, other)
        )
        distance = math.hypot(*ground_offset(place, place_of_other))
        is_overlap = spec.pixel_size_m / 2 < distance < chips[number].row["height"] * spec.pixel_size_m
        found.append((number, other, is_overlap))
    return found


def _turned(chip: CheckedChip, other: CheckedChip) -> str:
    return "" if chip.orientation == other.orientation else ", flipped or rotated"
