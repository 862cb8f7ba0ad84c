"""The files of local sources whose content decides what the index of the chips is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from terralucas.contents import States, read_record, token_elsewhere, token_of, token_of_absent, write_record
from terralucas.data.chip_files import ChipError, reduce_metadata
from terralucas.data.folders import CHIP_SUFFIXES, is_named, list_files
from terralucas.data.georeference import WORLD_SUFFIXES
from terralucas.files import real_path, sha256_of_file, sha256_of_json

# Files beside a chip that hold its mask, or its nodata value, scale and offset.
_SIDECAR_SUFFIXES = (".msk", ".xml")

Source = Mapping[str, Any]
# Types of sources that are files of this machine.
_LOCAL = ("archive", "directory")


def files_of_source(source: Source, layout: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files that the index reads of a local source; empty if the source is away, or is not local.

    Args:
        source: an entry of `dataset.sources`.
        layout: section `dataset.layout` of the configuration.

    Returns:
        Paths by name: relative to the folder, or "archive", because the name of an archive decides nothing.
    """
    if source["type"] not in _LOCAL:
        return {}
    path = Path(source["path"]).expanduser()
    if source["type"] == "archive":
        return {"archive": path} if path.is_file() else {}
    if not path.is_dir():
        return {}
    return {str(file): path / file for file in list_files(path) if _is_read(file, layout)}


def without_places(sources: Sequence[Source]) -> str:
    """Return a token of the sources that depends on local ones as little as possible: what is in them counts.

    Of local sources, only the type of the first, expected checksums, and whether one stands before a source that is not
    local count; `token_of_sources` tells whether another one is read.
    """
    entries: list[dict[str, Any]] = []
    for source in sources:
        is_next_local = bool(entries) and source["type"] in _LOCAL and entries[-1]["type"] in _LOCAL
        if not is_next_local or source.get("sha256"):
            entries.append({key: value for key, value in source.items() if key != "path"})
    # A local source that is tried after all others changes nothing where another one worked.
    if len(entries) > 1 and entries[-1]["type"] in _LOCAL and not entries[-1].get("sha256"):
        del entries[-1]
    return sha256_of_json(entries)


def find_source(sources: Sequence[Source], path: Path) -> Source | None:
    """Return the local source that is at a path without links; None if it is none of them."""
    local = [source for source in sources if "path" in source]
    return next((source for source in local if real_path(source["path"]) == path), None)


def write_folder_record(
    record: Path,
    token: str,
    source: Source,
    files: Mapping[str, Path],
    states: States,
    chip_sha256: Mapping[str, str],
    retrieved: str,
) -> None:
    """Record the files that the index has read of a folder.

    Args:
        record: the record.
        token: the token of the sources when the index started.
        source: the source that was read.
        files: its files by name.
        states: their states when the index started.
        chip_sha256: checksums of chips, which the index has computed.
        retrieved: folder that retrieval.json names.
    """
    # The checksum of a chip in the index may include the files beside it.
    beside = {name.lower() for name in files}
    alone = {
        name: sha256
        for name, sha256 in chip_sha256.items()
        if not any(f"{name}{suffix}".lower() in beside for suffix in (".msk", ".aux.xml"))
    }
    write_record(record, token, source["path"], files, states, alone, digest_of_file, retrieved)


def token_of_sources(sources: Sequence[Source], layout: Mapping[str, Any], record: Path) -> str:
    """Return the token of the source that the study has read, or of all local ones if it has read none of them.

    A source at another path is the one that was read if the same is in it: a folder that was moved or copied, or a path
    in other words. The record then says where it is now. A local source that is there, and in the list before the one
    that was read, counts first, as in a new study.

    Args:
        sources: `dataset.sources` of the configuration.
        layout: section `dataset.layout` of the configuration.
        record: record of the files that were read.
    """
    known = read_record(record)
    # By the path as it is configured: a link that is away for now leads nowhere.
    origins = [source.get("path") for source in sources]
    is_there = known is not None and known["origin"] in origins
    for source in sources:
        if known is not None and is_there and source.get("path") == known["origin"]:
            return token_of(record, files_of_source(source, layout), digest_of_file)
        if files := files_of_source(source, layout):
            if token := token_elsewhere(record, source["path"], files, digest_of_file):
                return token
            break
    every = {
        f"{number}/{name}": path
        for number, source in enumerate(sources)
        for name, path in files_of_source(source, layout).items()
    }
    return token_of_absent(record, every, digest_of_file)


def digest_of_file(path: Path) -> str:
    """Return a checksum of what the index reads of a file; it is empty if that is nothing.

    A program that shows a chip stores the chip's statistics and histogram beside it.
    """
    if path.suffix.lower() != ".xml":
        return sha256_of_file(path)
    try:
        reduced = reduce_metadata(path.read_bytes())
    except ChipError:
        return sha256_of_file(path)
    return "" if reduced is None else hashlib.sha256(reduced).hexdigest()


def _is_read(file: PurePosixPath, layout: Mapping[str, Any]) -> bool:
    """Return whether the index reads a file: a chip, what lies beside it, or the labels table."""
    if layout["labels"] == "table" and is_named(file, layout["table"]):
        return True
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if not suffixes:
        return False
    is_sidecar = suffixes[-1] in _SIDECAR_SUFFIXES and any(suffix in CHIP_SUFFIXES for suffix in suffixes[:-1])
    return suffixes[-1] in (*CHIP_SUFFIXES, *WORLD_SUFFIXES) or is_sidecar
