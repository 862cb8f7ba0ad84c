"""Name what a file is that is not what it should be, by its first bytes."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

# So many bytes of a file are enough to name its kind.
HEAD_BYTES = 2**16
TIFF = "a TIFF file"
_UNPACK = "unpack it yourself, and use the file or folder in it"
# First bytes of files that people give instead of others.
_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
    b"\x28\xb5\x2f\xfd": "a file compressed with zstd",
    b"\x04\x22\x4d\x18": "a file compressed with lz4",
    b"LZIP": "a file compressed with lzip",
    b"\x1f\x9d": "a file compressed with compress (.Z)",
    b"PK\x07\x08": "a part of a split zip archive",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"\xfd7zXZ\x00": "an xz file",
    b"BZh": "a bzip2 file",
}
_OTHERS = {
    b"MZ": "a program for Windows, perhaps an archive that unpacks itself",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
    b"II+\0": TIFF,
    b"MM\0+": TIFF,
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"%PDF": "a PDF document",
}


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    Attributes:
        name: with an article, such as `a 7z archive`.
        remedy: what makes the wanted file of it, or finds it; None if nothing does.
    """

    name: str
    remedy: str | None = None


def find_kind(head: bytes) -> FileKind | None:
    """Return the kind of a file that begins with these bytes, or None if it is not known here."""
    if head.startswith(b"version https://git-lfs"):
        size = re.search(rb"^size (\d+)$", head, re.MULTILINE)
        stands_for = f" of {int(size[1])} bytes" if size else ""
        name = f"a Git LFS pointer, which stands for a file{stands_for}"
        return FileKind(name, "run `git lfs pull` in the repository that it is from")
    if page := describe_web_page(head):
        return FileKind(page, "save the file itself instead of the page that shows or refuses it")
    for magic, name in _ARCHIVES.items():
        if head.startswith(magic):
            return FileKind(name, _UNPACK)
    if head[257:262] == b"ustar":
        return FileKind("a tar archive", _UNPACK)
    return next((FileKind(name) for magic, name in _OTHERS.items() if head.startswith(magic)), None)


def kind_of_file(path: Path) -> FileKind | None:
    """Return the kind of a file, or None if it is not known here or cannot be read."""
    try:
        with path.open("rb") as file:
            return find_kind(file.read(HEAD_BYTES))
    except OSError:
        return None


def describe_web_page(head: bytes) -> str | None:
    """Return the title and the error sentence of a web page, or None if the bytes are not a web page."""
    text = head.decode("utf-8", errors="replace")
    if not re.match(r"\ufeff?\s*(<!doctype html|<html|<head|<title|<!--)", text, re.IGNORECASE):
        return None
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    caption = re.search(r'class="uc-error-caption">(.*?)</p>', text, re.DOTALL)
    summary = f'a web page titled "{visible_text(title[1])}"' if title else "a web page without a title"
    return f"{summary} ({visible_text(caption[1])})" if caption else summary


def visible_text(markup: str) -> str:
    """Return the text of a piece of HTML on one line, without tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())
