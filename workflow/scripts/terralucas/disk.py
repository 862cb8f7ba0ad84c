"""What can go wrong with a disk: locks, writability, errors of the system in words, leftovers."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terralucas.errors import StudyError
from terralucas.files import atomic_path

logger = logging.getLogger(__name__)


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
