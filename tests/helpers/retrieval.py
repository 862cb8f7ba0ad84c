"""Archives, sources and checks that the tests of retrieval share."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from pathlib import Path

import pytest

from terralucas.data.retrieval.retrieve import retrieve
from terralucas.errors import StudyError

DRIVE_ID = "1oaY9U-AnsDpepIuEQy5P9V8lfm_j5q7m"
TREE = {"Chips/1/45922254.tif": b"one", "Chips/2/44282510.tif": random.Random(0).randbytes(1_500_000)}


def tar_gz(tree: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in tree.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = tar_gz(TREE)
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
# gdown writes blocks of 512 KiB; of a broken connection, the whole ones are kept.
CUT, KEPT = 700_000, 512 * 1024
GDRIVE = {"type": "gdrive", "id": DRIVE_ID, "sha256": None}


def no_simulation(source, path) -> None:
    raise AssertionError("nothing was to be simulated")


def tree_of(root: str | Path) -> dict[str, bytes]:
    files = (path for path in Path(root).rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def downloads_in(folder: Path) -> list[str]:
    """Names of whole and partial downloads that are kept."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(("gdrive-", "url-")))


def parts_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.part"))


def url_source(server, name: str = "chips.tar.gz", sha256: str | None = None) -> dict:
    return {"type": "url", "url": server.url_of(name), "sha256": sha256}


def error_of(sources: list[dict], folder: Path, kept: int = 0) -> str:
    """Message of the failure of all sources.

    Nothing broken is left where a next try would take it for whole; `kept` downloads are whole and wait for another
    checksum.
    """
    with pytest.raises(StudyError) as raised:
        retrieve(sources, folder, simulate=no_simulation)
    assert len([name for name in downloads_in(folder) if not name.endswith(".part")]) == kept
    assert not (folder / "chips").exists()
    assert not (folder / ".unpacking").exists()
    return str(raised.value)
