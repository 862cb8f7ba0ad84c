"""Arrays of chips and features on disk: written block by block, mapped, and checked against their record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from terralucas.errors import StudyError
from terralucas.files import sha256_of_file


def open_features(path: Path, record: Path, n_chips: int) -> tuple[np.ndarray, dict[str, Any]]:
    """The array of a feature pass and the record beside it.

    Args:
        path: .npy file.
        record: what it was made of.
        n_chips: rows it must have.

    Returns:
        (n, D) or (n, tokens, D) float32, mapped copy-on-write; and the record.

    Raises:
        StudyError: the array is not the one the record describes, or not of these chips.
    """
    description = json.loads(record.read_text(encoding="utf-8"))
    # Training on a damaged array would give numbers nobody could explain; a checksum costs a second per gigabyte.
    found, expected = sha256_of_file(path), description["sha256"]
    if found != expected or description["shape"][0] != n_chips:
        raise StudyError(
            f"{path} is not what was written, or not of these chips.",
            found=f"sha256 {found}, {n_chips} chips",
            expected=f"sha256 {expected}, {description['shape'][0]} chips",
            remedy=f"delete {path}; it is made again",
        )
    return np.load(path, mmap_mode="c", allow_pickle=False), description


class ArrayWriter:
    """Writes an .npy file of float32 block by block, so that memory does not grow with the number of rows.

    Written, not mapped: on a full disk a write fails with an error, a mapping kills the process.

    Args:
        path: file to write.
        rows: number of rows of the whole array.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self.rows, self.file = rows, path.open("wb")
        self.shape: tuple[int, ...] = ()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def append(self, block: np.ndarray) -> None:
        """Write the next rows; the first block decides the shape of a row."""
        if not self.shape:
            self.shape = (self.rows, *block.shape[1:])
            header = {"descr": "<f4", "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_2_0(self.file, header)
        self.file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
