"""Features as runs and controls read them: mapped from disk, and checked."""

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
