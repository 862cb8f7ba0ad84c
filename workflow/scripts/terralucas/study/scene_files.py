"""The scene of a map: its files, whose content decides what is mapped, and the name of its folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from terralucas.contents import Before, look_at, read_record, token_of, write_record
from terralucas.data.rasters.image_files import changed_scene, files_of_raster
from terralucas.data.rasters.side_files import METADATA_SUFFIX
from terralucas.files import sha256_of_file
from terralucas.results_input import MAP_RECORD, refuse_results_of_others
from terralucas.study.new_chip_files import folder_name, own_name


def scene_paths(settings: Mapping[str, Any]) -> list[Path]:
    """Return the paths of the scene's files.

    Args:
        settings: the section `map` of a resolved configuration, with an input.
    """
    given = settings["input"]
    return [Path(path) for path in ([given] if isinstance(given, str) else given)]


def map_name(settings: Mapping[str, Any], folder: Path) -> str:
    """Return the name of a map's folder: the configured one, or else one of its scene.

    Several files are named by how all their names begin, such as T32TQM_20200701T103031, or else by their folder.

    Args:
        settings: the section `map` of a resolved configuration.
        folder: the folder of all maps of the study.
    """
    if settings["name"] is not None:
        return str(settings["name"])
    paths = scene_paths(settings) if settings["input"] is not None else [Path("none")]
    if len(paths) == 1:
        name = folder_name(paths[0], "scene")
    else:
        common = os.path.commonprefix([path.name for path in paths])  # noqa: RUF071 - of characters
        # Of B02 and B03, the B is common, and no name.
        common = re.sub(r"[^\W_]*$", "", common)
        name = folder_name(Path(common) if common.strip("._-") else paths[0].absolute().parent, "scene")
    return own_name(name, paths, folder, MAP_RECORD)


def require_own_map(settings: Mapping[str, Any], folder: Path) -> None:
    """Raise a StudyError if the folder of a map has the map of another scene.

    Args:
        settings: the section `map` of a resolved configuration, with an input.
        folder: the folder of this map.
    """
    refuse_results_of_others(folder / MAP_RECORD, scene_paths(settings), "set another map.name")


def token_of_scene(paths: Sequence[str], record: Path) -> str:
    """Return a token of the content of a scene's files (`terralucas.contents.token_of`)."""
    return token_of(record, _files(paths), _digest)


def look_at_scene(paths: Sequence[str]) -> Before:
    """Return what is known of a scene's files before they are read."""
    return look_at(_files(paths), _digest)


def write_scene_record(paths: Sequence[str], record: Path, token: str, before: Before) -> None:
    """Record the files that a map reads.

    Args:
        paths: paths of the scene's files, as they are configured.
        record: the record.
        token: the token of the files when they were read.
        before: of `look_at_scene`, before they were read.
    """
    write_record(record, token, ", ".join(paths), *before, _digest)


def require_recorded_scene(paths: Sequence[str], record: Path) -> None:
    """Raise a StudyError if the scene is no longer the one that was planned: its map would be one of two scenes.

    Args:
        paths: paths of the scene's files.
        record: the record of `write_scene_record`.
    """
    known = read_record(record)
    if known is not None and token_of_scene(paths, record) != known["token"]:
        raise changed_scene(", ".join(paths))


def _files(paths: Sequence[str]) -> dict[str, Path]:
    """Return the files of a scene, those that they name, and those beside them, by path."""
    return {str(file): file for path in paths for file in files_of_raster(Path(path))}


def _digest(path: Path) -> str:
    """Return a checksum of what a map reads of a file; it is empty if that is nothing.

    A program that shows a scene stores its statistics and histograms beside it.
    """
    if not path.name.lower().endswith(METADATA_SUFFIX):
        return sha256_of_file(path)
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError:
        return sha256_of_file(path)
    for parent in list(root.iter()):
        for item in list(parent):
            if item.tag == "Histograms" or item.get("key", "").startswith("STATISTICS_"):
                parent.remove(item)
    if not any(item.text and item.text.strip() for item in root.iter()):
        return ""
    text = ElementTree.canonicalize(ElementTree.tostring(root, encoding="unicode"), strip_text=True)
    return hashlib.sha256(text.encode()).hexdigest()
