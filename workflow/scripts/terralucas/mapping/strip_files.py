"""The files of the strips of a map: what is known of each cell, and which strips are finished."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from terralucas.files import atomic_path
from terralucas.mapping.plan import MAX_CLASSES, Plan
from terralucas.stored import reading

# Name of the folder of the strips in the folder of the map.
STRIPS = "strips"
# Value of cells without a class, and of their probabilities.
NO_CLASS = MAX_CLASSES
# Probabilities are stored as whole numbers, this many for a probability of 1.
PROBABILITY_STEPS = 250
# Reflectance of the pictures of the scene is stored as whole numbers, this many for 1.
REFLECTANCE_STEPS = 10_000
_TRUE_COLOUR = ("RED", "GREEN", "BLUE")


@dataclass(frozen=True)
class Strip:
    """The cells of a strip.

    Attributes:
        label: (rows, columns) uint8 class index; `NO_CLASS` for a cell without a class.
        probabilities: (K, rows, columns) uint8 probability of each class × `PROBABILITY_STEPS`.
        entropy: (rows, columns) float32 entropy in nats, NaN without a class; the next two likewise.
        dissimilarity: (rows, columns) float32 dissimilarity index.
        set_size: (rows, columns) float32 number of classes in the conformal set.
        picture: (1 or 3, rows, columns) uint16 mean reflectance of the cell × `REFLECTANCE_STEPS`; 0 where unknown.
        reasons: number of cells without a class, by reason.
    """

    label: np.ndarray
    probabilities: np.ndarray
    entropy: np.ndarray
    dissimilarity: np.ndarray
    set_size: np.ndarray
    picture: np.ndarray
    reasons: Counter[str]

    @classmethod
    def empty(cls, rows: int, columns: int, n_classes: int, n_picture: int) -> Strip:
        """Return a strip without any class."""
        shape = (rows, columns)
        label = np.full(shape, NO_CLASS, np.uint8)
        probabilities = np.full((n_classes, *shape), NO_CLASS, np.uint8)
        entropy, dissimilarity, set_size = (np.full(shape, np.nan, np.float32) for _ in range(3))
        picture = np.zeros((n_picture, *shape), np.uint16)
        return cls(label, probabilities, entropy, dissimilarity, set_size, picture, Counter())

    def write(self, path: Path, fingerprint: str) -> None:
        """Write the strip to one .npz file, with the fingerprint of its plan."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "reasons"}
        arrays |= {"fingerprint": np.array(fingerprint), "reasons": np.array(json.dumps(self.reasons))}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def read(cls, path: Path) -> Strip:
        """Read a file of `write`."""
        with reading(path, "a strip of the map"), np.load(path, allow_pickle=False) as content:
            arrays = {field.name: content[field.name] for field in fields(cls) if field.name != "reasons"}
            return cls(**arrays, reasons=Counter(json.loads(str(content["reasons"]))))


def picture_bands(bands: tuple[str, ...]) -> list[int]:
    """Return the positions of red, green and blue, or of the first band if one of them is missing."""
    return [bands.index(name) for name in _TRUE_COLOUR] if set(_TRUE_COLOUR) <= set(bands) else [0]


def strip_path(folder: Path, number: int) -> Path:
    """Return the path of a strip in the folder of the strips."""
    return folder / f"{number:06d}.npz"


def is_strip_of(path: Path, plan: Plan) -> bool:
    """Return whether a file is a finished strip of this plan."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return str(content["fingerprint"]) == plan.fingerprint
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def remove_strips(folder: Path) -> None:
    """Delete the strips of a finished map, also those of another plan, and what killed processes left.

    Args:
        folder: of the strips. It is deleted if it is empty then.
    """
    for path in [*folder.glob("[0-9]*.npz"), *folder.glob(".[0-9]*.npz.*.tmp")]:
        path.unlink(missing_ok=True)
    with suppress(OSError):  # of other files in it
        folder.rmdir()


def strips_of_part(plan: Plan, part: int, parts: int) -> range:
    """Return the numbers of the strips in a part: all strips, divided as evenly as possible."""
    number = len(plan.grid.strips)
    return range(number * part // parts, number * (part + 1) // parts)


def missing_strips(plan: Plan, folder: Path, part: int = 0, parts: int = 1) -> list[int]:
    """Return the numbers of the strips of a part that are not finished."""
    numbers = strips_of_part(plan, part, parts)
    return [number for number in numbers if not is_strip_of(strip_path(folder, number), plan)]
