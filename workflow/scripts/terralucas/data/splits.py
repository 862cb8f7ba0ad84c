"""Division of chips into training, validation and test parts that keeps every class in every part.

Rare classes decide: with 20 chips of a class, one chip more or less in the test part moves its recall by several
points. Chips are therefore dealt to the parts class by class, rarest first, and a part without a class is an error,
never a silent gap. scikit-learn's stratified splitters balance the large classes but do not promise the small ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from terralucas.data.split_files import PARTS
from terralucas.errors import StudyError

# Independent random streams of one `random_state`, so that no draw depends on another's number of calls.
_FOLD_STREAM, _VALIDATION_STREAM, _HOLDOUT_STREAM = 0, 1, 2
_ATTEMPTS = 50


def spatial_blocks(easting_m: np.ndarray, northing_m: np.ndarray, block_km: float) -> np.ndarray:
    """Block number of each chip: squares of `block_km` on the axes of the coordinates.

    Args:
        easting_m: (n,) metres, EPSG:3035.
        northing_m: (n,) metres.
        block_km: side of a block in km.

    Returns:
        (n,) integers, equal for chips of one block.

    Raises:
        StudyError: a chip has no coordinates.
    """
    missing = int(np.sum(~(np.isfinite(easting_m) & np.isfinite(northing_m))))
    if missing:
        raise StudyError(
            "Spatial blocks need the place of every chip.",
            found=f"{missing} of {len(easting_m)} chips without coordinates",
            expected="LUCAS point ids or coordinate columns for all chips",
            remedy="give dataset.layout.x_column and y_column, or set split.block_km to null",
        )
    side = block_km * 1000.0
    cells = np.stack([np.floor(easting_m / side), np.floor(northing_m / side)], axis=1)
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)


def deal(labels: np.ndarray, groups: np.ndarray, shares: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """Deal groups of chips to parts so that every class meets the parts' shares as closely as it can.

    Greedy: groups in order of their rarest class go to the part that lacks most of what they hold, every class and
    every part counted relative to its size. A class with fewer chips than a share would give still gets one chip in
    every part if it has one for each. Without groups (every chip its own) each class is off its shares by less than one
    chip.

    Args:
        labels: (n,) class indices.
        groups: (n,) group numbers; a group is never divided.
        shares: of the parts; they sum to 1.
        random: decides among equals.

    Returns:
        (n,) part numbers.
    """
    classes, label_index = np.unique(labels, return_inverse=True)
    group_ids, group_index = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(group_ids), len(classes)))
    np.add.at(counts, (group_index, label_index), 1.0)
    totals = counts.sum(axis=0)
    relative = counts / totals

    target = np.outer(np.asarray(shares), totals)
    enough = totals >= len(shares)
    target[:, enough] = np.maximum(target[:, enough], 1.0)
    # What the minimum adds to small parts is taken from the largest one, so that targets still sum to the class.
    largest = int(np.argmax(shares))
    target[largest] -= target.sum(axis=0) - totals
    fraction = target / totals
    lack = fraction.copy()

    shuffled = random.permutation(len(group_ids))
    order = shuffled[np.argsort(-relative[shuffled].max(axis=1), kind="stable")]
    part_of_group = np.empty(len(group_ids), dtype=np.int64)
    for group in order:
        # Fall of the sum of lack² / fraction when the part takes the group: least squares, relative to what a part
        # is due, so that small parts are filled at the same pace as large ones.
        gain = ((2.0 * lack - relative[group]) * relative[group] / fraction).sum(axis=1)
        best = np.flatnonzero(gain >= gain.max() - 1e-12)
        part = int(best[random.integers(len(best))]) if len(best) > 1 else int(best[0])
        part_of_group[group] = part
        lack[part] -= relative[group]
    return part_of_group[group_index]


def make_split(
    labels: np.ndarray, groups: np.ndarray | None, split: Mapping[str, Any], seed: int, class_names: Sequence[str]
) -> np.ndarray:
    """Part ("train", "validation" or "test") of every chip for one seed.

    `kfold`: seed s tests fold s mod K of repetition s div K, so K consecutive seeds test every chip exactly once.
    `holdout`: the same test chips for every seed; without blocks scikit-learn's `train_test_split` on the row order.

    Args:
        labels: (n,) class indices.
        groups: (n,) group numbers that no two parts share, or None.
        split: the `split` section of a resolved configuration.
        seed: of the run.
        class_names: for the error message, by class index.

    Returns:
        (n,) strings.

    Raises:
        StudyError: a class can't be in every part; the message names each such class and its count.
    """
    state = split["random_state"]
    if split["strategy"] == "kfold":
        repetition, fold = divmod(seed, split["folds"])
        stream = (state, _FOLD_STREAM, repetition)
        test = _deal_all_classes(labels, groups, [1.0 / split["folds"]] * split["folds"], stream) == fold
    else:
        # A seed of a holdout changes neither test nor validation chips, only initialisation and batch order.
        seed = 0
        test = _holdout(labels, groups, split["test_share"], state)
    parts = np.where(test, "test", "train").astype("<U10")
    if not split["validation_is_test"]:
        rest = np.flatnonzero(~test)
        share = split["validation_share"]
        rest_groups = None if groups is None else groups[rest]
        stream = (state, _VALIDATION_STREAM, seed)
        parts[rest[_deal_all_classes(labels[rest], rest_groups, (1.0 - share, share), stream) == 1]] = "validation"
    _check_classes(labels, groups, parts, split, class_names)
    return parts


def _deal_all_classes(
    labels: np.ndarray, groups: np.ndarray | None, shares: Sequence[float], stream: tuple[int, ...]
) -> np.ndarray:
    """`deal`, drawn again while a class is missing from a part: whole blocks may leave a rare class out by bad luck."""
    grouped = np.arange(len(labels)) if groups is None else groups
    classes = np.unique(labels)
    for attempt in range(_ATTEMPTS):
        part = deal(labels, grouped, shares, np.random.default_rng([*stream, attempt]))
        if all(len(np.unique(part[labels == label])) == len(shares) for label in classes):
            break
    return part


def _holdout(labels: np.ndarray, groups: np.ndarray | None, share: float, state: int) -> np.ndarray:
    if groups is not None:
        return _deal_all_classes(labels, groups, (1.0 - share, share), (state, _HOLDOUT_STREAM)) == 1
    from sklearn.model_selection import train_test_split

    test = np.zeros(len(labels), dtype=bool)
    try:
        chosen = train_test_split(np.arange(len(labels)), test_size=share, stratify=labels, random_state=state)[1]
    except ValueError as error:
        raise StudyError(
            "The holdout can't keep every class in every part.",
            found=f"split.test_share {share} of {len(labels)} chips: {error}",
            expected="room for every class in the test part and in the rest",
            remedy="set split.test_share nearer to 0.2, or leave the rarest class out",
        ) from error
    test[chosen] = True
    return test


def _check_classes(
    labels: np.ndarray,
    groups: np.ndarray | None,
    parts: np.ndarray,
    split: Mapping[str, Any],
    class_names: Sequence[str],
) -> None:
    wanted = [part for part in PARTS if not (part == "validation" and split["validation_is_test"])]
    gaps = []
    for label in np.unique(labels):
        here = labels == label
        absent = [part for part in wanted if not np.any(parts[here] == part)]
        if absent:
            blocks = "" if groups is None else f" in {len(np.unique(groups[here]))} blocks"
            gaps.append(f"{class_names[label]!r} ({int(here.sum())} chips{blocks}) has none for {', '.join(absent)}")
    if gaps:
        raise StudyError(
            "The split can't keep every class in every part.",
            found="; ".join(gaps),
            expected=f"at least one chip of every class for {', '.join(wanted)}",
            remedy="fewer folds (split.folds), smaller blocks (split.block_km), more chips, or leave the class out",
        )


def overlap(parts: np.ndarray, groups: np.ndarray) -> int:
    """Number of groups that lie in more than one part (0 in a proper split)."""
    pairs = {(int(group), str(part)) for group, part in zip(groups, parts, strict=True)}
    return len(pairs) - len({group for group, _ in pairs})
