"""Whole-or-nothing file writes and checksums."""

from __future__ import annotations

import errno
import fcntl
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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder of downloads alone; wait if another process holds it. The system frees it when a process dies."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Another process downloads into %s: waiting for it", folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            # Some cluster file systems are mounted without locks; that must not keep anyone from the data.
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            logger.warning("The file system of %s has no locks: do not start two downloads into it at once", folder)
        yield


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


def explain(error: OSError) -> StudyError | None:
    """What a full disk, a quota or a write-protected folder means to a user; None for any other error."""
    place = error.filename or "a file of the study"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StudyError(
            f"There is no space left to write {place}.",
            found=os.strerror(error.errno),
            remedy="free space (or raise the quota) and start the study again; what is finished is kept",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StudyError(
            f"{place} cannot be written.",
            found=os.strerror(error.errno),
            remedy="make the folder writable for you and start the study again; what is finished is kept",
        )
    return None


def check_writable(folder: Path) -> None:
    """Raise a StudyError unless files can be made in a folder, which is created where it is missing."""
    try:
        with atomic_path(folder / "write-test") as temporary:
            # More than a file system keeps beside a file's name, so that a full disk shows.
            temporary.write_bytes(bytes(65536))
        (folder / "write-test").unlink()
    except OSError as error:
        error.filename = str(folder)
        raise explain(error) or error from None


def remove_leftovers(folder: Path, name: str) -> None:
    """Delete a file of a folder, and what kills have left of any file that was being written there."""
    for path in (folder / name, *folder.glob(".*.tmp")):
        path.unlink(missing_ok=True)
