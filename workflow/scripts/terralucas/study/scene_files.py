"""The scene of a map: its files, whose content decides what is mapped, and the name of its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from terralucas.contents import states_of, token_of, write_record
from terralucas.study.new_chip_files import folder_name


def scene_paths(settings: Mapping[str, Any]) -> list[Path]:
    """Return the paths of the scene's files.

    Args:
        settings: the section `map` of a resolved configuration, with an input.
    """
    given = settings["input"]
    return [Path(path) for path in ([given] if isinstance(given, str) else given)]


def map_name(settings: Mapping[str, Any]) -> str:
    """Return the name of a map's folder: the configured one, or else that of its file or of the folder of its files."""
    if settings["name"] is not None:
        return str(settings["name"])
    paths = scene_paths(settings) if settings["input"] is not None else [Path("none")]
    return folder_name(paths[0] if len(paths) == 1 else paths[0].absolute().parent, "scene")


def token_of_scene(paths: Sequence[str], record: Path) -> str:
    """Return a token of the content of a scene's files (`terralucas.contents.token_of`).

    A VRT counts by its own content, and not by that of the files that it names.
    """
    return token_of(record, _files(paths))


def write_scene_record(paths: Sequence[str], record: Path, token: str) -> None:
    """Record the files that a map reads."""
    files = _files(paths)
    write_record(record, token, ", ".join(paths), files, states_of(files), {})


def _files(paths: Sequence[str]) -> dict[str, Path]:
    """Return the files of a scene and the mask and metadata of GDAL beside them, as far as there are any, by path."""
    beside = [f"{path}{suffix}" for path in paths for suffix in ("", ".msk", ".aux.xml")]
    return {path: Path(path) for path in beside if Path(path).is_file()}
