"""Read the files of a chip, without decoding them."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from terralucas.data.chip_problems import ChipError
from terralucas.data.rasters.side_files import (
    MASK_SUFFIX,
    METADATA_SUFFIX,
    mask_files,
    metadata_file,
    metadata_files,
    reduce_metadata,
    refuse_lost_by_link,
)
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json

# More than the uncompressed values of any chip: 12 bands of 8 bytes, with overviews and masks.
MAX_FILE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class ChipContent:
    """The content of a chip: its file, and what the files beside it add.

    Attributes:
        data: bytes of the GeoTIFF.
        mask: bytes of `<file>.msk`, a GeoTIFF that is 0 where pixels are missing; None without such a file.
        metadata: the part of `<file>.aux.xml` that GDAL reads and that matters; None without it.
        path: the GeoTIFF. Only for a chip that has a coordinate reference system and no place in it, the world file
            beside it is read: to look for eight more files beside each chip takes time. A world file changes no pixel
            and is no part of `sha256`.
    """

    data: bytes
    mask: bytes | None = None
    metadata: bytes | None = None
    path: Path | None = None

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the content: of the file's bytes if there is nothing beside it."""
        digest = hashlib.sha256(self.data).hexdigest()
        beside = [None if part is None else hashlib.sha256(part).hexdigest() for part in (self.mask, self.metadata)]
        return sha256_of_json([digest, *beside]) if any(beside) else digest


def read_content(path: Path) -> ChipContent:
    """Read the file of a chip and the files beside it.

    Args:
        path: the file of the chip.

    Raises:
        OSError: a file cannot be read.
        ChipError: a file is too large for a chip, the metadata beside it are no XML, or it is a link, and its mask or
            its metadata lie beside the file to which it leads.
    """
    data = _read_file(path)
    assert data is not None
    mask = next((mask for file in mask_files(path) if (mask := _read_file(file, optional=True)) is not None), None)
    metadata = _read_file(metadata_file(path), optional=True)
    refuse_lost_by_link(path, mask_files, metadata_files)
    return ChipContent(data, mask, None if metadata is None else reduce_metadata(metadata), path)


def read_unchanged(path: Path, sha256: str) -> ChipContent:
    """Return the content of a chip, after checking that it is the indexed one.

    Raises:
        StudyError: the file no longer exists, or its content or the files beside it have changed.
    """
    if not path.is_file():
        raise StudyError(
            f"The chip {path} is gone: it no longer exists since the chips were indexed.",
            remedy="put the file back, which repeats no run; if it was unpacked from an archive, snakemake --cores 1 "
            "--force -- results/<study>/data/retrieval.json unpacks it again. If it was removed from "
            "your own folder on purpose, start the study again: it indexes the chips that are there",
        )
    content = read_content(path)
    if content.sha256 != sha256:
        raise StudyError(
            f"The chip {path} changed since the chips were indexed.",
            found=f"another content of the file, or of {path.name}{MASK_SUFFIX} or {path.name}{METADATA_SUFFIX}",
            remedy="put the file back as it was, which repeats nothing; if it was unpacked from an archive, snakemake "
            "--cores 1 --force -- results/<study>/data/retrieval.json unpacks it again. If the new content is right, "
            "delete data/chips.parquet of the study: the chips are then checked and indexed again, and features and "
            "runs are made again",
        )
    return content


def _read_file(path: Path, optional: bool = False) -> bytes | None:
    """Return the bytes of a file; None if it does not exist and is optional.

    Raises:
        OSError: the file cannot be read.
        ChipError: it is too large for a chip, is no file, or is a link that leads nowhere.
    """
    try:
        # Opened, a FIFO would wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ChipError("unreadable", f"has an entry {path.name} that is no regular file; expected a file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                found = f"has a file of {size / 2**20:,.0f} MiB ({path.name})"
                raise ChipError("size", f"{found}; expected a chip, at most {MAX_FILE_BYTES / 2**20:.0f} MiB")
            return file.read()
    except OSError as error:
        if os.path.islink(path):  # noqa: PTH114 - false for names that are too long
            message = f"has a link {path.name} that cannot be followed ({error.strerror}); expected a file"
            raise ChipError("unreadable", message) from error
        # No file can have a name that is too long because of the ending of what lies beside a chip.
        if optional and error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return None
        raise
