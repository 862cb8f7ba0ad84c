"""All chips of a study in one memory-mapped array, and the batches that a tuned backbone is trained on.

Decoding a chip's file takes longer than training on it; here it happens once for all runs and epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from terralucas.arrays import ArrayWriter, open_features
from terralucas.errors import StudyError
from terralucas.files import atomic_path, read_unchanged, sha256_of_file, sha256_of_json

# Chips in memory while the array is written.
_CHUNK = 64


def pack_chips(
    root: Path,
    files: Sequence[str],
    checksums: Sequence[str],
    decode: Callable[[bytes], np.ndarray],
    threads: int,
    output: Path,
) -> dict[str, Any]:
    """Write the chips as one array (n, bands, height, width) of float32 reflectance, NaN where pixels are missing.

    Args:
        root: folder the `files` are relative to.
        files: paths of chips of one size, in the order of the index.
        checksums: SHA-256 of each file when it was indexed.
        decode: maps a file's bytes to reflectance (bands, height, width).
        threads: chips that are decoded at the same time.
        output: path of the .npy array.

    Returns:
        Its record: shape, SHA-256 and the fingerprint of the chips' checksums.

    Raises:
        StudyError: a chip is gone or changed since it was indexed.
    """

    def read(row: int) -> np.ndarray:
        return decode(read_unchanged(root / files[row], checksums[row]))

    with ThreadPoolExecutor(threads) as pool, atomic_path(output) as path, ArrayWriter(path, len(files)) as writer:
        for start in range(0, len(files), _CHUNK):
            writer.append(np.stack(list(pool.map(read, range(start, min(start + _CHUNK, len(files)))))))
    return {
        "schema_version": 1,
        "shape": list(writer.shape),
        "sha256": sha256_of_file(output),
        "chips": sha256_of_json(list(checksums)),
    }


def open_packed_chips(path: Path, record: Path, checksums: Sequence[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """The array of `pack_chips`, mapped from disk, and its record.

    Args:
        path: .npy file.
        record: what `pack_chips` returned, as JSON.
        checksums: of the chips of the index.

    Raises:
        StudyError: the array is not the one the record describes, or of other chips than the index.
    """
    array, description = open_features(path, record, len(checksums))
    if description["chips"] != sha256_of_json(list(checksums)):
        raise StudyError(
            f"The packed chips {path} are of other files than the index.", remedy=f"delete {path}; it is made again"
        )
    # Plain, so that no copy of a batch drags the mapping's class along.
    return np.asarray(array), description
