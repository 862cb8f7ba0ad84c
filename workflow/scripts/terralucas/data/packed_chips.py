"""Write all chips of a study to one array that tuned runs memory-map.

Decoding the file of a chip takes longer than training on the chip. With this array, each file is decoded only once for
all runs and epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from terralucas.arrays import ArrayWriter, open_checked_array
from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_file, sha256_of_json

# Number of chips in memory while the array is written.
_CHUNK = 64


def pack_chips(
    root: Path,
    files: Sequence[str],
    checksums: Sequence[str],
    read: Callable[[Path, str], np.ndarray],
    threads: int,
    output: Path,
) -> dict[str, Any]:
    """Write the chips as an array (n, bands, height, width) of float32 reflectance, NaN for missing pixels.

    Args:
        root: folder to which `files` are relative.
        files: paths of chips of one size, in the order of the index.
        checksums: SHA-256 of each chip in the index.
        read: function of the path of a chip and its SHA-256 that returns reflectance (bands, height, width).
        threads: number of chips that are read at the same time.
        output: path of the .npy array.

    Returns:
        Record of the array: shape, SHA-256, and a fingerprint of the checksums of the chips.

    Raises:
        StudyError: a chip no longer exists, or has changed since it was indexed.
    """

    def read_row(row: int) -> np.ndarray:
        return read(root / files[row], checksums[row])

    with ThreadPoolExecutor(threads) as pool, atomic_path(output) as path, ArrayWriter(path, len(files)) as writer:
        for start in range(0, len(files), _CHUNK):
            writer.append(np.stack(list(pool.map(read_row, range(start, min(start + _CHUNK, len(files)))))))
    return {
        "schema_version": 1,
        "shape": list(writer.shape),
        "sha256": sha256_of_file(output),
        "chips": sha256_of_json(list(checksums)),
    }


def open_packed_chips(path: Path, record: Path, checksums: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the array of `pack_chips`, memory-mapped, and its record.

    Args:
        path: .npy file.
        record: JSON file with the record of `pack_chips`.
        checksums: SHA-256 of the chips in the index.

    Raises:
        StudyError: the array is not the one in the record, or it contains other chips than the index.
    """
    array, description = open_checked_array(path, record, len(checksums))
    if description["chips"] != sha256_of_json(list(checksums)):
        raise StudyError(
            f"The packed chips {path} are not the chips of the index.",
            remedy=f"delete {path} and start the study again; the file is written again",
        )
    # Return a plain array, so that copies of batches are not of the class `memmap`.
    return np.asarray(array), description
