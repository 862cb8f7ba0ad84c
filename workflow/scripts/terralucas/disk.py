"""Check that folders are writable, explain errors of the disk, and delete temporary files."""

from __future__ import annotations

import errno
import logging
import os
import re
import tempfile
from pathlib import Path

from terralucas.errors import StudyError
from terralucas.files import atomic_path

logger = logging.getLogger(__name__)

# A full disk, a reached quota, and a file that is larger than the file system or the shell allows.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A disk that is broken, and a network drive that went away.
_BAD_DISK = "EIO ESTALE ENODEV ENXIO ETIMEDOUT EREMOTEIO ENOTCONN ECOMM EHOSTDOWN EHOSTUNREACH"
# macOS has not all of them.
BAD_DISK: tuple[int, ...] = tuple(getattr(errno, name) for name in _BAD_DISK.split() if hasattr(errno, name))
# A disk, or a file or folder, that may not be written.
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def size_text(size_bytes: float) -> str:
    """Return a size in words, such as `1.23 GB` or `4.5 MB`."""
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def no_space(place: Path | str, found: str) -> StudyError:
    """Return the error for a file that could not be written as a whole.

    Args:
        place: the file.
        found: what the system or a library says.
    """
    return StudyError(
        f"There is no space left to write {place}.",
        found=found,
        expected="space for the whole file: on the disk, in the quota, and in the limit of a file's size (ulimit -f)",
        remedy="free space or raise the limit, and start the study again; finished results are kept",
    )


def explain(error: OSError) -> StudyError | None:
    """Return an error for the user if a file could not be written as a whole, access is denied or the disk does not
    answer; otherwise None.
    """
    temporary = f"a file of the study, or one of {tempfile.gettempdir()} (TMPDIR)"
    place = os.fsdecode(error.filename) if error.filename else temporary
    if error.errno in NO_SPACE:
        return no_space(place, os.strerror(error.errno))
    # NumPy does not pass on what the system said.
    if error.errno is None and re.fullmatch(r"\d+ requested and \d+ written", text := "".join(map(str, error.args))):
        return no_space(place, f"numbers: {text}")
    if error.errno in BAD_DISK:
        return StudyError(
            f"The disk of {place} does not answer as it should.",
            found=os.strerror(error.errno),
            expected="a disk or network drive that reads and writes without errors",
            remedy="start the study again; finished results are kept. If it happens again, tell who runs the disk",
        )
    if error.errno == errno.EACCES and error.filename is not None and not _is_readable(Path(place)):
        return StudyError(
            f"{place} cannot be read.",
            found=os.strerror(error.errno),
            expected="a file or folder that your user may read, in folders that your user may enter",
            remedy="give your user the right to read it (chmod -R u+rX), and start the study again",
        )
    if error.errno in READ_ONLY:
        return StudyError(
            f"{place} cannot be written.",
            found=os.strerror(error.errno),
            remedy="make the folder writable for your user and start the study again; finished results are kept",
        )
    return None


def _is_readable(path: Path) -> bool:
    """Return whether a path may be read, or could be if it existed: the kernel does not say what it refused."""
    if not os.access(path.parent, os.X_OK):
        return False
    if not os.access(path, os.F_OK):
        return True
    return os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK)


def check_writable(folder: Path) -> None:
    """Raise a StudyError if no file can be written in a folder; create the folder if it does not exist."""
    try:
        with atomic_path(folder / "write-test") as temporary:
            # Some file systems store short files together with the file name; a longer file detects a full disk.
            temporary.write_bytes(bytes(65536))
        (folder / "write-test").unlink()
    except OSError as error:
        error.filename = str(folder)
        raise explain(error) or error from None


def remove_leftovers(folder: Path, name: str) -> None:
    """Delete a file of a folder, and all temporary files that killed processes left there."""
    for path in (folder / name, *folder.glob(".*.tmp")):
        path.unlink(missing_ok=True)


def remove_scripts(folder: Path, mark: str) -> None:
    """Delete Snakemake's copies of scripts whose jobs were killed; it deletes those of jobs that ended.

    Call it when no job of the study runs.

    Args:
        folder: of the copies.
        mark: what the copies of a study's jobs contain, and those of other studies do not.
    """
    for path in folder.glob("*"):
        try:
            if path.is_file() and mark.encode() in path.read_bytes():
                path.unlink(missing_ok=True)
        except OSError as error:
            logger.debug("%s is left: %s", path, error)
