"""Tell the kinds of archives by their content, and read what is compressed in them."""

from __future__ import annotations

import bz2
import contextlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from terralucas.errors import StudyError
from terralucas.file_kinds import HEAD_BYTES, find_kind

ARCHIVE_KINDS = "an archive: tar, tar.gz, tar.bz2, tar.xz or zip"
CHUNK_BYTES = 2**20
_MAGIC = {
    b"\x1f\x8b": "tar.gz",
    b"BZh": "tar.bz2",
    b"\xfd7zXZ\x00": "tar.xz",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
}
# Functions that open what is compressed in an archive of a kind, from the open file.
DECOMPRESS: dict[str, Callable[[IO[bytes]], contextlib.AbstractContextManager[IO[bytes] | io.BufferedIOBase]]] = {
    "tar": contextlib.nullcontext,
    "tar.gz": lambda raw: io.BufferedReader(_Streams(raw, _GzipDecompressor), CHUNK_BYTES),
    "tar.bz2": lambda raw: io.BufferedReader(_Streams(raw, bz2.BZ2Decompressor), CHUNK_BYTES),
    "tar.xz": lambda raw: io.BufferedReader(_Streams(raw, lzma.LZMADecompressor), CHUNK_BYTES),
}


def require_archive(path: Path, remedy: str = "use an archive of one of these kinds") -> str:
    """Return the kind of an archive by its content: tar, tar.gz, tar.bz2, tar.xz or zip.

    Args:
        path: the file.
        remedy: what the user can do about another file; it depends on where the file is from.

    Raises:
        StudyError: the file is not such an archive.
    """
    kind = _detect_kind(path)
    if kind is None:
        with path.open("rb") as file:
            raise _other_file(path, f"{path.stat().st_size} bytes", file.read(HEAD_BYTES), remedy)
    if kind not in ("tar", "zip"):
        _require_tar_inside(path, kind, remedy)
    return kind


def _require_tar_inside(path: Path, kind: str, remedy: str) -> None:
    """Raise a StudyError if a compressed file contains no tar; damage is left to `unpack` to name."""
    try:
        with path.open("rb") as raw, DECOMPRESS[kind](raw) as stream:
            head = stream.read(HEAD_BYTES)
        # An empty stream is that of a truncated file.
        if head and head.count(0) < len(head):
            tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        compression = kind.removeprefix("tar.")
        raise _other_file(path, f"a file compressed with {compression} that is no tar", head, remedy) from None
    except (EOFError, zlib.error, lzma.LZMAError, OSError):
        return


def _other_file(path: Path, found: str, head: bytes, remedy: str) -> StudyError:
    """Return the error for a file that is no archive; it, or what it contains, begins with `head`."""
    kind = find_kind(head)
    return StudyError(
        f"{path.name} is not an archive.",
        found=f"{found}: {kind.name if kind else f'it begins with {head[:24]!r}'}",
        expected=ARCHIVE_KINDS,
        remedy=f"{kind.remedy}; or {remedy}" if kind and kind.remedy else remedy,
    )


def _detect_kind(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(6)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return "tar" if head and tarfile.is_tarfile(path) else None


def has_crc(path: Path) -> bool:
    """Return whether the archive that begins with this file has checksums of its content: all but plain tar."""
    with path.open("rb") as file:
        return file.read(6).startswith(tuple(_MAGIC))


class _GzipDecompressor:
    """Decompressor of one gzip stream with its checksum (RFC 1952), with the methods of `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        # 16 + 15: a header and checksum of gzip, and the largest window (zlib manual, inflateInit2).
        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    def decompress(self, block: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + block, max_length)


class _Streams(io.RawIOBase):
    """The content of one or several compressed streams in a file.

    `bz2.BZ2File` and `lzma.LZMAFile` leave out a damaged stream after the first, and all that follows it.
    `gzip.GzipFile` reads such small blocks that unpacking takes 1.4 times as long.
    """

    def __init__(
        self, raw: IO[bytes], make: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor | _GzipDecompressor]
    ) -> None:
        self._raw, self._make = raw, make
        self._decompressor = make()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = b""
        while not content:
            block = b""
            if self._decompressor.eof:
                # Zeros may be between and after streams (The .xz File Format, section 2.2).
                block = self._decompressor.unused_data.lstrip(b"\0")
                while not block:
                    read = self._raw.read(CHUNK_BYTES)
                    if not read:
                        return 0
                    block = read.lstrip(b"\0")
                self._decompressor = self._make()
            elif self._decompressor.needs_input:
                block = self._raw.read(CHUNK_BYTES)
                if not block:
                    raise EOFError("the file ends before the end of its compressed content")
            content = self._decompressor.decompress(block, len(buffer))
        buffer[: len(content)] = content
        return len(content)
