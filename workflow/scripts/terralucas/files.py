"""Whole-or-nothing file writes and checksums."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from terralucas.errors import StudyError

logger = logging.getLogger(__name__)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` when the block ends well.

    The bytes reach the disk before the name does, so a reader sees the old file, the new file or none, never half
    of one. When the block raises, the temporary file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Made with the usual mode, unlike mkstemp's: results are meant to be shared like any other file.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with a final newline; NaN is refused because JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_unchanged(path: Path, sha256: str) -> bytes:
    """The bytes of a chip's file, which must be those that were indexed.

    Raises:
        StudyError: the file is gone or has changed.
    """
    if not path.is_file():
        raise StudyError(
            f"The chip {path} is gone since the chips were indexed.",
            remedy="restore it, or delete the study's data/ folder to retrieve and index the chips again",
        )
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StudyError(
            f"The chip {path} changed since the chips were indexed.",
            remedy="delete the study's data/chips.parquet so that they are checked and indexed again",
        )
    return data


def sha256_of_json(value: Any) -> str:
    """Hex SHA-256 digest of a JSON-serialisable value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
