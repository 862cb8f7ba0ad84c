"""Write and read the file of a split, which has the part of each chip."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_json
from terralucas.stored import reading

PARTS = ("train", "validation", "test")


def class_shares(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the share of each class among the training chips, (K,).

    Raises:
        StudyError: a class has no training chip.
    """
    counts = np.bincount(labels, minlength=n_classes)
    if not counts.all():
        raise StudyError(
            "The training part lacks a class.",
            found=f"no chip of class number {', '.join(map(str, np.flatnonzero(counts == 0)))}",
            expected=f"chips of all {n_classes} classes",
            remedy="delete the folder splits/ of the study; the splits are made again",
        )
    return counts / counts.sum()


def write_split(path: Path, point_ids: Sequence[str], parts: Sequence[str]) -> None:
    """Write a split as CSV with the columns point_id and split."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("point_id", "split"))
        writer.writerows(zip(point_ids, parts, strict=True))


def read_split(path: Path, point_ids: Sequence[str]) -> np.ndarray:
    """Read a split, and check that it contains these chips in this order.

    Returns:
        (n,) part of each chip.

    Raises:
        StudyError: the split belongs to other chips.
    """
    with reading(path, "a CSV file with the columns point_id and split"):
        with Path(path).open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
        if header != ["point_id", "split"] or any(len(row) != 2 or row[1] not in PARTS for row in rows):
            raise ValueError(f"{len(rows)} rows below {', '.join(header) or 'no header'}, not all with a part")
    if [row[0] for row in rows] != list(point_ids):
        raise StudyError(
            f"The split {path} belongs to other chips.",
            found=f"{len(rows)} rows with other point ids or in another order",
            expected=f"the {len(point_ids)} chips of the index, in its order",
            remedy="delete the file and start the study again; the split is made again from the index",
        )
    return np.array([row[1] for row in rows])


def split_fingerprint(point_ids: Sequence[str], parts: np.ndarray, labels: np.ndarray) -> str:
    """Return the fingerprint of a split: of the ids, parts and class indices of its chips, in their order."""
    return sha256_of_json([list(point_ids), parts.tolist(), labels.tolist()])
