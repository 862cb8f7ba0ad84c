"""Copies of the configuration for the jobs of a cluster, which start long after the study, when a user may edit it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_file

# In the folder of the project, which the nodes see. A copy is small, and jobs of an earlier start may need it.
COPIES = Path(".snakemake", "configurations")

# SHA-256 of each file when it was read, and the content of each copy.
_read: dict[Path, str] = {}
_copies: dict[Path, bytes] = {}


def remember_content(files: Iterable[Path | str]) -> None:
    """Remember what is in configuration files, before Snakemake reads them; the first call counts."""
    for file in files:
        path = Path(file).absolute()
        if path not in _read:
            _read[path] = sha256_of_file(path)


def copy_configuration(files: list[Path]) -> None:
    """Copy configuration files, and replace each in the list, which Snakemake gives to its jobs, by its copy.

    Copies are named after their content, so that no later start changes them.

    Raises:
        StudyError: a file is not what was read any more: jobs would have other settings than this process.
    """
    for number, file in enumerate(map(Path, files)):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise _other_content(file, str(error.strerror)) from None
        sha256 = hashlib.sha256(content).hexdigest()
        if _read.get(file.absolute(), sha256) != sha256:
            raise _other_content(file, "other content than a moment ago, when it was read")
        copy = Path(COPIES.absolute(), sha256[:16], file.name)
        _copies[copy] = content
        _write(copy)
        files[number] = copy


def copy_again() -> None:
    """Write copies that are gone: somebody, or the clean-up of a scratch disk, may have deleted them."""
    for copy in _copies:
        # What submits the job says what is wrong with the disk.
        with suppress(OSError):
            if not copy.is_file():
                _write(copy)


def _write(copy: Path) -> None:
    with atomic_path(copy) as temporary:
        temporary.write_bytes(_copies[copy])


def _other_content(file: Path, found: str) -> StudyError:
    return StudyError(
        f"The configuration {file} was changed while the study started.",
        found=found,
        expected="the file as this start has read it, for its jobs",
        remedy="start the study again, which reads the file as it is now",
    )
