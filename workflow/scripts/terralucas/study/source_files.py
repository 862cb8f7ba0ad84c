"""The files of local sources whose content decides what the index of the chips is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from terralucas.contents import Before, write_record
from terralucas.data.chip_problems import ChipError
from terralucas.data.discovery.folders import CHIP_SUFFIXES, is_named, list_files
from terralucas.data.rasters.side_files import (
    MASK_SUFFIX,
    METADATA_SUFFIX,
    WORLD_SUFFIXES,
    mask_files,
    metadata_files,
    reduce_metadata,
    targets_of,
    world_files,
)
from terralucas.files import real_path, sha256_of_file

Source = Mapping[str, Any]
# Types of sources that are files of this machine.
LOCAL = ("archive", "directory")


def files_of_source(source: Source, layout: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files that the index reads of a local source; empty if the source is away, or is not local.

    Args:
        source: an entry of `dataset.sources`.
        layout: section `dataset.layout` of the configuration.

    Returns:
        Paths by name: relative to the folder, or "archive", because the name of an archive decides nothing.
    """
    if source["type"] not in LOCAL:
        return {}
    path = Path(source["path"]).expanduser()
    if source["type"] == "archive":
        return {"archive": path} if path.is_file() else {}
    if not path.is_dir():
        return {}
    files = {str(file): path / file for file in list_files(path) if _is_read(file, layout)}
    return files | _beside_targets(files)


def _beside_targets(files: Mapping[str, Path]) -> dict[str, Path]:
    """Return what lies beside the files to which links lead: a chip that has its mask only there is refused."""
    found: dict[str, Path] = {}
    for name, path in files.items():
        if path.suffix.lower() not in CHIP_SUFFIXES or not path.is_symlink():
            continue
        for number, target in enumerate(targets_of(path)):
            beside = [*mask_files(target), *metadata_files(target), *world_files(target)]
            found |= {f"{name} -> {number}/{place}": file for place, file in enumerate(beside) if file.is_file()}
    return found


def find_source(sources: Sequence[Source], path: Path) -> Source | None:
    """Return the local source that is at a path without links; None if it is none of them."""
    local = [source for source in sources if "path" in source]
    return next((source for source in local if real_path(source["path"]) == path), None)


def write_folder_record(
    record: Path,
    token: str,
    source: Source,
    before: Before,
    chip_sha256: Mapping[str, str],
    retrieved: str,
) -> None:
    """Record the files that the index has read of a folder.

    Args:
        record: the record.
        token: the token of the sources when the index started.
        source: the source that was read.
        before: its files when the index started.
        chip_sha256: checksums of chips, which the index has computed.
        retrieved: folder that retrieval.json names.
    """
    # The checksum of a chip in the index may include the files beside it.
    beside = {name.lower() for name in before.files}
    alone = {
        name: sha256
        for name, sha256 in chip_sha256.items()
        if not any(f"{name}{suffix}".lower() in beside for suffix in (MASK_SUFFIX, METADATA_SUFFIX))
    }
    sha256 = {**alone, **before.sha256}
    write_record(record, token, source["path"], before.files, before.states, sha256, digest_of_file, retrieved)


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
    is_sidecar = suffixes[-1] in (MASK_SUFFIX, ".xml") and any(suffix in CHIP_SUFFIXES for suffix in suffixes[:-1])
    return suffixes[-1] in (*CHIP_SUFFIXES, *WORLD_SUFFIXES) or is_sidecar
