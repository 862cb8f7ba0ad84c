"""Unpack an archive from an untrusted source safely."""

from __future__ import annotations

import contextlib
import errno
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Self

from tqdm import tqdm

from terralucas.data.retrieval.archive_kinds import CHUNK_BYTES, DECOMPRESS, require_archive
from terralucas.disk import NO_SPACE, size_text
from terralucas.errors import StudyError

# Linux and macOS allow no longer name of a file or folder, in bytes (macOS: in characters).
MAX_NAME_BYTES = 255
MAX_MEMBERS = 1_000_000
# Of folders inside each other.
MAX_DEPTH = 100
# Deflate compresses zeros 1000:1, but images less than 10:1. Small archives are not checked, as they do no harm.
MAX_RATIO = 200
RATIO_FREE_BYTES = 2**30
# A tar ends with two blocks of zeros, and is padded with zeros to a whole record: 20 blocks, or what an option of tar
# says.
_END_BYTES = 2 * tarfile.BLOCKSIZE
_RECORDS = (tarfile.RECORDSIZE, *(2**power for power in range(9, 23)))

# Of the header of a file in a zip archive, the lengths of name and extra field; of the end of the list, that of the
# comment (APPNOTE.TXT 6.3, sections 4.3.7 and 4.3.16). After a file its checksum and sizes may stand (4.3.9).
_ZIP_HEADER, _ZIP_END, _ZIP_DESCRIPTOR_BYTES = struct.Struct("<26x2H"), struct.Struct("<20xH"), 24


class LocalError(StudyError):
    """A problem of this machine and not of the archive, so that trying another source would not help."""


@dataclass(frozen=True)
class _Member:
    """An entry of an archive; `kind` is "file", "folder" or a description of another type."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes] | None]
    archive_position: int


class _StrictTarInfo(tarfile.TarInfo):
    """Reader of tar headers that raises an error for a damaged header; `tarfile` takes it for the end of the file."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed leaves it out
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {tarfile_.offset} of the tar") from error


def is_macos_metadata(path: Path) -> bool:
    """Return whether a relative path is metadata that macOS adds to archives: `._*`, `__MACOSX`, `.DS_Store`."""
    return any(part.startswith("._") or part in ("__MACOSX", ".DS_Store") for part in path.parts)


def unpack(archive: Path, target: Path, progress: bool = True) -> int:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip archive into a folder and return the number of files written.

    Only folders and regular files below `target` are written, with modes 0755 and 0644. Metadata of macOS is ignored.
    If there is an error, `target` is deleted with all its files.

    Args:
        archive: the archive; its kind is detected by its content.
        target: a folder that does not exist or is empty.
        progress: show a progress bar on standard error, in bytes of the archive.

    Raises:
        StudyError: the archive is truncated, corrupt, encrypted, empty or of another kind; or a member is a link or a
            device, or would be written outside `target`; or the archive unpacks to suspiciously many bytes.
        LocalError: the disk is too small, or `target` is not empty.
    """
    kind = require_archive(archive)
    if target.exists() and any(target.iterdir()):
        raise LocalError(f"The folder {target} is not empty.", remedy="unpack into a new folder")
    target.mkdir(parents=True, exist_ok=True)
    try:
        _require_space(archive, target, _estimate_least_bytes(archive, kind))
        with _convert_errors(archive):
            number_of_files = _write_members(archive, kind, target, progress)
        if number_of_files == 0:
            raise StudyError(
                f"The archive {archive.name} contains no files.",
                found="folders and metadata only",
                expected="an archive of chips",
                remedy="check dataset.sources",
            )
        for path in (target, *target.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    except BaseException:
        shutil.rmtree(target)
        raise
    return number_of_files


def _write_members(archive: Path, kind: str, target: Path, progress: bool) -> int:
    archive_bytes = archive.stat().st_size
    unpacked_bytes = 0
    written: set[Path] = set()
    members = _iterate_zip(archive) if kind == "zip" else _iterate_tar(archive, kind)
    bar = tqdm(total=archive_bytes, unit="B", unit_scale=True, desc=f"Unpacking {archive.name}", disable=not progress)
    with contextlib.closing(members), bar:
        for number, member in enumerate(members, start=1):
            path = _check_path(archive, member)
            unpacked_bytes += member.size
            _refuse_decompression_bomb(archive, number, unpacked_bytes, archive_bytes)
            bar.update(member.archive_position - bar.n)
            if is_macos_metadata(path):
                continue
            _check_names(archive, member, path)
            if path in written:
                raise StudyError(
                    f"The archive {archive.name} has two files at one path; no file of it was kept.",
                    found=f"{path.as_posix()} twice, the second as {member.name!r}",
                    expected="one member for each path, because the second would replace the first",
                    remedy="create the archive again, or unpack it yourself and use `type: directory`",
                )
            destination = target / path
            if member.kind == "folder":
                destination.mkdir(parents=True, exist_ok=True)
                continue
            _require_space(archive, target, member.size)
            destination.parent.mkdir(parents=True, exist_ok=True)
            source = member.open()
            assert source is not None, "only folders and links have no content"
            with source, destination.open("wb") as file:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
            written.add(path)
        bar.update(archive_bytes - bar.n)
    return len(written)


def _iterate_tar(archive: Path, kind: str) -> Generator[_Member, None, None]:
    with (
        archive.open("rb") as raw,
        DECOMPRESS[kind](raw) as stream,
        tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK_BYTES, tarinfo=_StrictTarInfo) as tar,
    ):
        for info in tar:
            yield _Member(info.name, _describe_tar_entry(info), info.size, partial(tar.extractfile, info), raw.tell())
        _require_end(archive, kind, tar.offset, _read_on(tar, stream))


def _read_on(tar: tarfile.TarFile, stream: IO[bytes] | io.BufferedIOBase) -> Iterator[bytes]:
    """Read what follows the end mark of a tar: a block of zeros, which has been read.

    The checksum of a compressed file is only checked when it is read to its end.
    """
    assert tar.fileobj is not None, "it was opened with a file"
    # First what tarfile has read ahead.
    while block := tar.fileobj.read(CHUNK_BYTES):
        yield block
    while block := stream.read(CHUNK_BYTES):
        yield block


def _require_end(archive: Path, kind: str, end: int, rest: Iterator[bytes]) -> None:
    """Raise a StudyError unless only the padding of a record follows the last member of a tar.

    `tarfile` takes a block of zeros for the end. Such a block also lies between archives that were joined, and where a
    part of a copy is missing.

    Args:
        archive: the archive.
        kind: its kind.
        end: where the last member ends, in bytes of the tar.
        rest: what follows the first block of zeros.
    """
    size = end + tarfile.BLOCKSIZE
    for block in rest:
        if any(block):
            found = f"more data after the end of the tar, which is at byte {end}"
            break
        size += len(block)
    else:
        zeros = size - end
        is_padding = any(size % record == 0 and zeros < record + _END_BYTES for record in _RECORDS)
        # The checksum of a compressed file holds for its zeros too.
        if kind != "tar" or zeros <= _END_BYTES or is_padding:
            return
        found = f"{zeros} zero bytes after its last member, which ends at byte {end}"
    raise StudyError(
        f"The archive {archive.name} goes on after its end, so that a part of it may be missing; no file was kept.",
        found=found,
        expected="nothing but the zeros that end a tar",
        remedy="use a complete copy; if several archives were joined to one, or its end is not damaged, unpack it "
        "yourself (tar --ignore-zeros -xf) and use `type: directory`",
    )


def _describe_tar_entry(info: tarfile.TarInfo) -> str:
    types = [
        (info.isreg(), "file"),
        (info.isdir(), "folder"),
        (info.issym(), f"a symbolic link to {info.linkname}"),
        (info.islnk(), f"a hard link to {info.linkname}"),
        (info.isfifo(), "a FIFO"),
        (info.isdev(), "a device"),
    ]
    return next((name for matches, name in types if matches), f"an entry of unknown type {info.type!r}")


def _iterate_zip(archive: Path) -> Generator[_Member, None, None]:
    position = 0
    with zipfile.ZipFile(archive) as file:
        _require_whole_list(archive, file)
        for info in file.infolist():
            if info.flag_bits & 0x1:
                raise StudyError(
                    f"The archive {archive.name} is encrypted.",
                    found=f"{info.filename} needs a password",
                    expected="an archive without a password",
                    remedy="unpack it yourself and use `type: directory`",
                )
            position += info.compress_size
            yield _Member(info.filename, _describe_zip_entry(info), info.file_size, partial(file.open, info), position)


def _require_whole_list(archive: Path, file: zipfile.ZipFile) -> None:
    """Raise a StudyError if a zip archive has more than the files that the list at its end names.

    zipfile reads the list alone: files of another archive before or after it, and those of a list that lacks entries,
    would be left out.

    Raises:
        zipfile.BadZipFile: a file does not begin where the list says.
    """
    gaps, end = [], 0
    with archive.open("rb") as raw:
        size = raw.seek(0, os.SEEK_END)
        for info in sorted(file.infolist(), key=lambda info: info.header_offset):
            gaps.append((end, info.header_offset))
            raw.seek(info.header_offset)
            head = raw.read(_ZIP_HEADER.size)
            if len(head) < _ZIP_HEADER.size:
                raise zipfile.BadZipFile(f"no file at byte {info.header_offset}")
            name_bytes, extra_bytes = _ZIP_HEADER.unpack(head)
            end = info.header_offset + _ZIP_HEADER.size + name_bytes + extra_bytes + info.compress_size
        gaps.append((end, file.start_dir))
        raw.seek(max(0, size - _ZIP_END.size - 2**16))
        tail = raw.read()
    at = tail.rfind(b"PK\x05\x06")
    (comment_bytes,) = _ZIP_END.unpack_from(tail, at)
    gaps.append((size - len(tail) + at + _ZIP_END.size + comment_bytes, size))
    if unnamed := [(begin, stop) for begin, stop in gaps if stop - begin > _ZIP_DESCRIPTOR_BYTES]:
        begin, stop = unnamed[0]
        raise StudyError(
            f"The archive {archive.name} has more than the files that the list at its end names; no file was kept.",
            found=f"{stop - begin} bytes from byte {begin} on",
            expected="one zip archive with a whole list of its files",
            remedy="use a complete copy; if several archives were joined to one, unpack each of them yourself, and use "
            "`type: directory`",
        )


def _describe_zip_entry(info: zipfile.ZipInfo) -> str:
    # Archives made on Unix have the file mode in the upper half; 0 means that the mode is unknown.
    unix_type = stat.S_IFMT(info.external_attr >> 16)
    if unix_type == stat.S_IFLNK:
        return "a symbolic link"
    if unix_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a device or FIFO"
    # Some programs for Windows write backslashes.
    is_folder = info.is_dir() or (info.filename.endswith("\\") and info.file_size == 0)
    return "folder" if is_folder else "file"


def _check_path(archive: Path, member: _Member) -> Path:
    """Return the path of a member relative to the target folder.

    Raises:
        StudyError: it would not be safe to write the member.
    """
    parts = re.split(r"[/\\]", member.name)
    if not parts[0] or re.match(r"[A-Za-z]:", member.name):
        found = "an absolute path"
    elif ".." in parts:
        found = "a path that leaves the folder (..)"
    elif member.kind not in ("file", "folder"):
        found = member.kind
    else:
        return Path(*parts)
    raise StudyError(
        f"The archive {archive.name} is not safe to unpack; no file of it was kept.",
        found=f"member {member.name!r} is {found}",
        expected="only folders and regular files, below one folder",
        remedy="get the archive from a source you trust, or create it again without such members",
    )


def _check_names(archive: Path, member: _Member, path: Path) -> None:
    """Raise a StudyError if a file system cannot have a member's names."""
    sizes = [len(os.fsencode(part)) for part in path.parts]
    if len(path.parts) > MAX_DEPTH:
        raise _name_error(archive, f"{len(path.parts)} folders inside each other in member {_shorten(member.name)}")
    if max(sizes, default=0) > MAX_NAME_BYTES:
        found = f"a name of {max(sizes)} bytes in member {_shorten(member.name)}"
    elif "\0" in member.name:
        found = f"a zero byte in the name of member {_shorten(member.name)}"
    else:
        return
    raise _name_error(archive, found)


def _name_error(archive: Path, found: str) -> StudyError:
    return StudyError(
        f"The archive {archive.name} has a file that cannot be written under its name; no file of it was kept.",
        found=found,
        expected=f"names of files and folders of at most {MAX_NAME_BYTES} bytes, in paths that the disk allows",
        remedy="create the archive again with shorter names, or unpack it yourself and use `type: directory`",
    )


def _shorten(name: str) -> str:
    return repr(name) if len(name) <= 80 else f"{name[:50]!r} ... {name[-20:]!r}"


def _refuse_decompression_bomb(archive: Path, members: int, unpacked_bytes: int, archive_bytes: int) -> None:
    ratio = unpacked_bytes / archive_bytes
    if members > MAX_MEMBERS or (unpacked_bytes > RATIO_FREE_BYTES and ratio > MAX_RATIO):
        raise StudyError(
            f"The archive {archive.name} is not unpacked: it is suspiciously large for an archive of chips.",
            found=f"{members} members, {unpacked_bytes} unpacked bytes so far, {ratio:.0f} times its own size",
            expected=f"at most {MAX_MEMBERS} members and {MAX_RATIO} times its size",
            remedy="get the archive from a source you trust, or unpack it yourself and use `type: directory`",
        )


def _estimate_least_bytes(archive: Path, kind: str) -> int:
    """Return a lower bound of the unpacked size, without unpacking the archive."""
    size = archive.stat().st_size
    stated = size
    if kind == "zip":
        with _convert_errors(archive), zipfile.ZipFile(archive) as file:
            stated = sum(info.file_size for info in file.infolist())
    elif kind == "tar.gz":
        # RFC 1952, section 2.3.1: the last four bytes are the unpacked size modulo 2**32.
        with archive.open("rb") as file:
            file.seek(max(0, size - 4))
            stated = int.from_bytes(file.read(4), "little")
    # In a truncated file, these bytes are arbitrary. The error must then name truncation and not disk space.
    return stated if stated <= MAX_RATIO * size else size


def _require_space(archive: Path, target: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(target).free
    if needed_bytes > free_bytes:
        raise _space_error(archive, f"{size_text(free_bytes)} free in {target.parent}", needed_bytes)


def _space_error(archive: Path, found: str, needed_bytes: int | None = None) -> LocalError:
    return LocalError(
        f"There is not enough disk space to unpack {archive.name}.",
        found=found,
        expected=None if needed_bytes is None else f"at least {size_text(needed_bytes)} free",
        remedy="free some space, or run the study on a larger disk",
    )


@contextlib.contextmanager
def _convert_errors(archive: Path) -> Iterator[None]:
    """Convert errors of the archive libraries to StudyError."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damage_error(archive, error) from error
    except NotImplementedError as error:
        raise StudyError(
            f"The archive {archive.name} uses a compression that Python cannot read.",
            found=str(error),
            expected="zip with deflate, or tar.gz",
            remedy="unpack it yourself and use `type: directory`",
        ) from error
    except OSError as error:
        if error.errno in NO_SPACE:
            raise _space_error(archive, str(error)) from error
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ):
            raise _name_error(archive, f"{error.strerror}: {_shorten(str(error.filename))}") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            raise StudyError(
                f"The archive {archive.name} has a file and a folder at one path; no file of it was kept.",
                found=_shorten(str(error.filename)),
                expected="a file or a folder at each path",
                remedy="create the archive again, or unpack it yourself and use `type: directory`",
            ) from error
        # For bad data, gzip and bz2 raise an OSError without a number; errors of the operating system have a number.
        # zipfile looks for a place before the beginning of the file, where bytes are missing (EINVAL).
        if error.errno in (None, errno.EINVAL):
            raise _damage_error(archive, error) from error
        raise


def _damage_error(archive: Path, error: Exception) -> StudyError:
    return StudyError(
        f"The archive {archive.name} is truncated or corrupt.",
        found=f"{archive.stat().st_size} bytes that cannot be read to the end ({error or type(error).__name__})",
        expected="a complete archive",
        remedy="compare its size and checksum with those that its publisher states, and use a complete copy",
    )
