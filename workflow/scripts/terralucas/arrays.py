"""Write large arrays of chips or features block by block, and open them after checking them against their record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.stored import read_json


def open_checked_array(path: Path, record: Path, n_chips: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Open an array of features or packed chips, and check it against its record.

    Args:
        path: .npy file.
        record: JSON file that describes the array: its SHA-256, its shape and how it was computed.
        n_chips: number of rows that the array must have.

    Returns:
        The array, float32 or float16, one row for each chip, memory-mapped copy-on-write; and the content of the
        record.

    Raises:
        StudyError: the array has another checksum than the record says, or another number of chips.
    """
    description = read_json(record, "sha256", "shape")
    # Training on a damaged array would give wrong results without an error. A checksum takes a second per gigabyte.
    found, expected = sha256_of_file(path), description["sha256"]
    if found != expected or description["shape"][0] != n_chips:
        raise StudyError(
            f"{path} is not what was written, or it belongs to other chips.",
            found=f"sha256 {found}, {description['shape'][0]} chips",
            expected=f"sha256 {expected}, {n_chips} chips",
            remedy=f"delete {path} and start the study again; the file is computed again",
        )
    return np.load(path, mmap_mode="c", allow_pickle=False), description


class ArrayWriter:
    """Writer of an .npy file, block by block, so that memory does not grow with the number of rows.

    The file is written and not memory-mapped: on a full disk, a write raises an error, but a mapping kills the process.

    Args:
        path: file to write.
        rows: number of rows of the complete array.
        dtype: float32 or float16.
    """

    def __init__(self, path: Path, rows: int, dtype: str = "float32") -> None:
        self.rows, self.file = rows, path.open("wb")
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.shape: tuple[int, ...] = ()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *_: object) -> None:
        # Without rows, their shape is not known.
        if not self.rows:
            self._write_header((0,))
        self.file.close()

    def append(self, block: np.ndarray) -> None:
        """Write the next rows; the first block sets the shape of a row."""
        if not self.shape:
            self._write_header((self.rows, *block.shape[1:]))
        self.file.write(np.ascontiguousarray(block, dtype=self.dtype).tobytes())

    def _write_header(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(self.file, header)
