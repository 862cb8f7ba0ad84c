"""The new chips of a prediction: their files, whose content decides what is predicted, and the name of its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from terralucas.contents import states_of, token_of, write_record
from terralucas.data.folders import CHIP_SUFFIXES, list_files


def prediction_name(settings: Mapping[str, Any]) -> str:
    """Return the name of a prediction's folder: the configured one, or else the name of its input without suffix.

    Args:
        settings: the section `predict` of a resolved configuration.
    """
    if settings["name"] is not None:
        return str(settings["name"])
    return folder_name(Path(settings["input"] or "none"), "chips")


def folder_name(source: Path, default: str) -> str:
    """Return the name of a file or folder without suffix, in letters that a folder may have; a default without any."""
    return re.sub(r"[^\w-]+", "_", source.name.split(".")[0]).strip("_") or default


def files_of_new_chips(source: Path) -> dict[str, Path]:
    """Return the files that a prediction reads of a folder, or a table, archive or chip itself; empty without any.

    The chips that a table names are not looked at: a table counts by its own content.
    """
    if source.is_dir():
        return {str(file): source / file for file in list_files(source) if _is_chip(file.name)}
    return {source.name: source} if source.is_file() else {}


def token_of_new_chips(source: Path, record: Path) -> str:
    """Return a token of the content of new chips (`terralucas.contents.token_of`)."""
    return token_of(record, files_of_new_chips(source))


def write_new_chips_record(source: Path, record: Path, token: str) -> None:
    """Record the new chips that a prediction reads."""
    files = files_of_new_chips(source)
    write_record(record, token, str(source), files, states_of(files), {})


def _is_chip(name: str) -> bool:
    """Return whether a file is a chip, or lies beside one."""
    lower = name.lower()
    return any(lower.endswith(f"{suffix}{beside}") for suffix in CHIP_SUFFIXES for beside in ("", ".msk", ".aux.xml"))
