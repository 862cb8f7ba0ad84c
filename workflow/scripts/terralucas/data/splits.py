"""Split chips into training, validation and test parts so that each part contains every class.

Rare classes need most care: if a class has 20 chips, one chip more or less in the test part changes its recall by
several percentage points. Chips are therefore assigned class by class, starting with the rarest class, and a part
without a class is an error. The stratified splitters of scikit-learn do not guarantee this for small classes. Where
groups of chips stay together and the classes lie in few groups, an integer program finds groups with which each part
has each class (`terralucas.data.group_covers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from terralucas.data.group_covers import SearchLimitError, find_cover
from terralucas.data.split_files import PARTS
from terralucas.errors import StudyError

# Independent random streams of one `random_state`, so that the draws of one stream do not change those of another.
_FOLD_STREAM, _VALIDATION_STREAM, _HOLDOUT_STREAM = 0, 1, 2
_ATTEMPTS = 50


def spatial_blocks(easting_m: np.ndarray, northing_m: np.ndarray, block_km: float) -> np.ndarray:
    """Return the block number of each chip; blocks are squares along the axes of the coordinates.

    Args:
        easting_m: (n,) metres, of `terralucas.geography.ground_places`.
        northing_m: (n,) metres.
        block_km: side of a block in km.

    Returns:
        (n,) integers, equal for chips in the same block.

    Raises:
        StudyError: a chip has no coordinates.
    """
    missing = int(np.sum(~(np.isfinite(easting_m) & np.isfinite(northing_m))))
    if missing:
        raise StudyError(
            "Spatial blocks need the coordinates of every chip.",
            found=f"{missing} of {len(easting_m)} chips without coordinates",
            expected="LUCAS point ids, coordinate columns or a georeference for all chips",
            remedy="give dataset.layout.x_column and y_column, write a georeference into the files, or set "
            "split.block_km to null",
        )
    side = block_km * 1000.0
    cells = np.stack([np.floor(easting_m / side), np.floor(northing_m / side)], axis=1)
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)


def assign_parts(
    labels: np.ndarray,
    groups: np.ndarray,
    shares: Sequence[float],
    random: np.random.Generator,
    given: Mapping[int, int] | None = None,
) -> np.ndarray:
    """Assign groups of chips to parts so that the chips of each class are divided by the shares as closely as possible.

    The algorithm is greedy. Groups with a large part of a rare class come first. Each group goes to the part that
    lacks most of the classes in the group, relative to the size of each class and part. If a class has at least as many
    chips as there are parts, its target is at least one chip in each part. If each chip is its own group, the number of
    chips of a class in a part differs from the target by less than one.

    Args:
        labels: (n,) class indices.
        groups: (n,) group numbers; a group is never divided.
        shares: shares of the parts, with sum 1.
        random: generator that chooses among equally good parts.
        given: place of a group in the sorted group numbers → its part; all others are assigned.

    Returns:
        (n,) part numbers.
    """
    counts, group_index = _count_classes(labels, groups)
    totals = counts.sum(axis=0)
    relative = counts / totals

    target = np.outer(np.asarray(shares), totals)
    enough = totals >= len(shares)
    target[:, enough] = np.maximum(target[:, enough], 1.0)
    # What the minimum adds to small parts is subtracted from the largest part; so the targets still sum to the class.
    largest = int(np.argmax(shares))
    target[largest] -= target.sum(axis=0) - totals
    fraction = target / totals
    lack = fraction.copy()

    shuffled = random.permutation(len(counts))
    order = shuffled[np.argsort(-relative[shuffled].max(axis=1), kind="stable")]
    part_of_group = np.empty(len(counts), dtype=np.int64)
    given = given or {}
    for group, part in given.items():
        part_of_group[group] = part
        lack[part] -= relative[group]
    for group in order:
        if group in given:
            continue
        # Decrease of the sum of lack² / fraction if the part takes the group: a least-squares criterion relative to the
        # target of each part, so that small parts are filled as fast as large ones.
        gain = ((2.0 * lack - relative[group]) * relative[group] / fraction).sum(axis=1)
        best = np.flatnonzero(gain >= gain.max() - 1e-12)
        part = int(best[random.integers(len(best))]) if len(best) > 1 else int(best[0])
        part_of_group[group] = part
        lack[part] -= relative[group]
    return part_of_group[group_index]


def _count_classes(labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the chips of each class in each group, (groups, classes) in sorted order, and the row of each chip."""
    classes, label_index = np.unique(labels, return_inverse=True)
    group_ids, group_index = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(group_ids), len(classes)))
    np.add.at(counts, (group_index, label_index), 1.0)
    return counts, group_index


def make_split(
    labels: np.ndarray, groups: np.ndarray | None, split: Mapping[str, Any], seed: int, class_names: Sequence[str]
) -> np.ndarray:
    """Return the part ("train", "validation" or "test") of every chip for one seed.

    `kfold`: seed s tests fold s mod K of repetition s div K. So K consecutive seeds test each chip exactly once.
    `holdout`: all seeds have the same test chips; without blocks, they are those of scikit-learn's `train_test_split`.

    Args:
        labels: (n,) class indices.
        groups: (n,) group numbers, or None; all chips of a group are in the same part.
        split: the section `split` of a resolved configuration.
        seed: seed of the run.
        class_names: names by class index, for the error message.

    Returns:
        (n,) strings.

    Raises:
        StudyError: a class is missing from a part; the message names each such class and its number of chips. Or no
            split by blocks was found, though there may be one.
    """
    if split["strategy"] == "kfold":
        repetition, fold = divmod(seed, split["folds"])
        test = _draw_folds(labels, groups, split, repetition) == fold
    else:
        # With a holdout, the seed changes only initialisation and batch order, and no test or validation chips.
        seed = 0
        test = _draw_holdout(labels, groups, split)
    return _make_parts(labels, groups, split, seed, test, class_names)


def _draw_folds(labels: np.ndarray, groups: np.ndarray | None, split: Mapping[str, Any], repetition: int) -> np.ndarray:
    """Return the fold of each chip in one repetition of the folds."""
    stream, folds = (split["random_state"], _FOLD_STREAM, repetition), split["folds"]
    if groups is None or folds > 2 or split["validation_is_test"]:
        return _assign_with_all_classes(labels, groups, [1.0 / folds] * folds, stream)
    # Of two folds, one alone is divided into training and validation.
    drawn = _assign_with_all_classes(labels, groups, [0.5, 0.5], stream, [_groups_of_rest(split)] * folds)
    if all(_can_be_divided(labels[drawn == fold], groups[drawn == fold], split) for fold in range(folds)):
        return drawn
    # Two groups of each class need not be such that both parts have every class: draw the parts of both folds at once.
    share = split["validation_share"] / folds
    shares = [1.0 / folds - share, share] * folds
    parts = _assign_with_all_classes(labels, groups, shares, (*stream, _ATTEMPTS), is_last=False)
    # Where that is impossible, the study may test the one fold that leaves enough.
    return drawn if _find_lacking(*_count_classes(labels, groups), parts, [1] * len(shares)) else parts // 2


def _can_be_divided(labels: np.ndarray, groups: np.ndarray, split: Mapping[str, Any]) -> bool:
    """Return whether chips can be divided into training and validation with each of their classes in both."""
    if not len(labels):
        return False
    shares, stream = (1.0 - split["validation_share"], split["validation_share"]), (split["random_state"],)
    drawn = _assign_with_all_classes(labels, groups, shares, (*stream, _VALIDATION_STREAM), is_last=False)
    return not _find_lacking(*_count_classes(labels, groups), drawn, [1, 1])


def _groups_of_rest(split: Mapping[str, Any]) -> int:
    """Return how many groups of a class chips that are not tested must have."""
    return 1 if split["validation_is_test"] else 2


def _make_parts(
    labels: np.ndarray,
    groups: np.ndarray | None,
    split: Mapping[str, Any],
    seed: int,
    test: np.ndarray,
    class_names: Sequence[str],
) -> np.ndarray:
    """Return the part of every chip, where `test` says which are test chips; otherwise as `make_split`."""
    parts = np.where(test, "test", "train").astype("<U10")
    rest = np.flatnonzero(~test)
    # Few blocks may all be in the test part; the check below says so.
    if len(rest) and not split["validation_is_test"]:
        share = split["validation_share"]
        rest_groups = None if groups is None else groups[rest]
        stream = (split["random_state"], _VALIDATION_STREAM, seed)
        is_last = split["strategy"] == "kfold"
        drawn = _assign_with_all_classes(labels[rest], rest_groups, (1.0 - share, share), stream, is_last=is_last)
        parts[rest[drawn == 1]] = "validation"
    if groups is not None and split["strategy"] != "kfold" and not split["validation_is_test"]:
        # What the test part leaves may be such that it cannot be divided again.
        counts = [len(np.unique(parts[labels == label])) for label in np.unique(labels)]
        if min(counts) < len(PARTS):
            parts = _draw_three_parts(labels, groups, split)
    _check_classes(labels, groups, parts, split, class_names)
    return parts


def require_splits(
    labels: np.ndarray,
    groups: np.ndarray | None,
    split: Mapping[str, Any],
    seeds: Sequence[int],
    min_chips_per_class: int,
    class_names: Sequence[str],
) -> None:
    """Raise a StudyError if the split of any seed of a study lacks a class in a part.

    Each seed is split by a job of its own. Without this check, runs of one seed would start, and replace finished ones,
    before the split of another seed is refused.

    Args:
        labels: (n,) class indices.
        groups: (n,) group numbers, or None; see `make_split`.
        split: the section `split` of a resolved configuration.
        seeds: all seeds of the study.
        min_chips_per_class: the fewest chips of a class with which every part of a split without groups can have one.
        class_names: names by class index, for the error message.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    few = [label for label in np.unique(labels) if counts[label] < min_chips_per_class]
    if few:
        fewest = counts[few].min()
        raise _without_class(
            "; ".join(f"{class_names[label]!r} has {counts[label]} chips" for label in few),
            f"at least {min_chips_per_class} chips of every class",
            # With three chips of a class, three folds are possible, and two are not.
            f"set split.folds to {fewest}, use" if fewest >= 3 else "use",
        )
    # Without groups, enough chips are enough for every seed; with a holdout, all seeds have one split.
    if groups is not None and split["strategy"] == "kfold":
        # The seeds of one repetition of the folds share their assignment.
        folds: dict[int, np.ndarray] = {}
        for seed in seeds:
            repetition = seed // split["folds"]
            if repetition not in folds:
                folds[repetition] = _draw_folds(labels, groups, split, repetition)
            _make_parts(labels, groups, split, seed, folds[repetition] == seed % split["folds"], class_names)


def _assign_with_all_classes(
    labels: np.ndarray,
    groups: np.ndarray | None,
    shares: Sequence[float],
    stream: tuple[int, ...],
    least: Sequence[int] | None = None,
    *,
    is_last: bool = True,
) -> np.ndarray:
    """Return the result of `assign_parts`, with every class in every part if the groups allow it.

    With groups, a draw may leave a part without a class. It is repeated, and if this does not help, the groups that
    give each part its classes are found first.

    Args:
        labels: (n,) class indices.
        groups: (n,) group numbers, or None.
        shares: shares of the parts.
        stream: of random numbers.
        least: groups of each class that each part needs, because it is divided again; None for one.
        is_last: whether a search without an answer is an error; otherwise, another search may follow.

    Returns:
        (n,) part numbers.

    Raises:
        SearchLimitError: no groups were found, and there may be some.
    """
    grouped = np.arange(len(labels)) if groups is None else groups
    least = least or [1] * len(shares)
    counts, group_index = _count_classes(labels, grouped)
    with_all: np.ndarray | None = None
    for attempt in range(_ATTEMPTS):
        part = assign_parts(labels, grouped, shares, np.random.default_rng([*stream, attempt]))
        lacking = _find_lacking(counts, group_index, part, least)
        if not lacking:
            return part
        if with_all is None and not _find_lacking(counts, group_index, part, [1] * len(shares)):
            with_all = part
    # What no groups can cover must not keep other classes from being covered: the error names the classes that lack.
    impossible = set(np.flatnonzero((counts > 0).sum(axis=0) < sum(least)).tolist())
    scarce: set[int] = set()
    # Classes in many groups get into each part without help, so that the program stays small.
    while not lacking - impossible <= scarce:
        scarce |= lacking - impossible
        random = np.random.default_rng([*stream, _ATTEMPTS])
        try:
            cover = find_cover(counts, sorted(scarce), shares, least, random)
        except SearchLimitError:
            if is_last and with_all is None:
                raise
            break
        if cover is None:
            break
        part = assign_parts(labels, grouped, shares, random, cover)
        lacking = _find_lacking(counts, group_index, part, least)
    # The part that cannot be divided again may be one that no seed of the study divides.
    return part if with_all is None or not lacking else with_all


def _find_lacking(counts: np.ndarray, group_index: np.ndarray, part: np.ndarray, least: Sequence[int]) -> set[int]:
    """Return the classes, as columns of `counts`, of which a part has too few groups."""
    part_of_group = np.empty(len(counts), dtype=np.int64)
    part_of_group[group_index] = part
    found = np.array([(counts[part_of_group == each] > 0).sum(axis=0) for each in range(len(least))])
    return set(np.flatnonzero((found < np.asarray(least)[:, None]).any(axis=0)).tolist())


def _draw_holdout(labels: np.ndarray, groups: np.ndarray | None, split: Mapping[str, Any]) -> np.ndarray:
    share, state = split["test_share"], split["random_state"]
    if groups is not None:
        shares, stream, least = (1.0 - share, share), (state, _HOLDOUT_STREAM), (_groups_of_rest(split), 1)
        return _assign_with_all_classes(labels, groups, shares, stream, least, is_last=False) == 1
    from sklearn.model_selection import train_test_split

    test = np.zeros(len(labels), dtype=bool)
    try:
        chosen = train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=state)[1]
    except ValueError as error:
        raise StudyError(
            "The holdout can't have every class in every part.",
            found=f"split.test_share {share} of {len(labels)} chips: {error}",
            expected="at least one chip of every class in the test part and outside it",
            remedy=f"set split.test_share {'higher' if share < 0.5 else 'lower'}, or take the rarest class out of "
            "dataset.classes and set dataset.on_invalid: drop, which leaves out its chips",
        ) from error
    test[chosen] = True
    return test


def _draw_three_parts(labels: np.ndarray, groups: np.ndarray, split: Mapping[str, Any]) -> np.ndarray:
    """Return the part of every chip in a holdout, with all parts drawn at once; otherwise as `make_split`."""
    test, validation = split["test_share"], split["validation_share"]
    shares = ((1.0 - test) * (1.0 - validation), (1.0 - test) * validation, test)
    drawn = _assign_with_all_classes(labels, groups, shares, (split["random_state"], _HOLDOUT_STREAM))
    return np.array(PARTS, dtype="<U10")[drawn]


def _check_classes(
    labels: np.ndarray,
    groups: np.ndarray | None,
    parts: np.ndarray,
    split: Mapping[str, Any],
    class_names: Sequence[str],
) -> None:
    required = [part for part in PARTS if not (part == "validation" and split["validation_is_test"])]
    problems, lacking = [], set()
    for label in np.unique(labels):
        here = labels == label
        missing = [part for part in required if not np.any(parts[here] == part)]
        lacking.update(missing)
        if missing:
            blocks = "" if groups is None else f" in {len(np.unique(groups[here]))} blocks"
            problems.append(
                f"{class_names[label]!r} ({int(here.sum())} chips{blocks}) has none for {', '.join(missing)}"
            )
    if problems:
        expected = f"at least one chip of every class for {', '.join(required)}"
        direction = "higher" if "test" in lacking else "lower"
        change = (
            "use fewer folds (split.folds)" if split["strategy"] == "kfold" else f"set split.test_share {direction}"
        )
        smaller = "" if groups is None else ", smaller blocks (split.block_km)"
        raise _without_class("; ".join(problems), expected, f"{change}{smaller} or")


def _without_class(found: str, expected: str, change: str) -> StudyError:
    """Return the error of a split in which a class is missing from a part; `change` is what may help besides chips."""
    return StudyError(
        "The split can't have every class in every part.",
        found=found,
        expected=expected,
        remedy=f"{change} more chips, or take the class out of dataset.classes and set dataset.on_invalid: drop, which "
        "leaves out its chips",
    )
