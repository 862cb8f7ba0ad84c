"""Which files of finished results are lost that no rule names, because only the results say what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from terralucas.files import sha256_of_file
from terralucas.results_input import POINTS, PREDICTION_RECORD

# What the page of an explanation needs: Snakemake makes what a page was made from only to make the page.
EXPLANATION = ("importance.csv", "importance_by_seed.csv", "occlusion.json")
EXPORT_RECORD, CARD = "export.json", "README.md"


def lost_of_export(folder: Path) -> list[str]:
    """Return the files that the record of an export names and that are gone or have changed; empty without an export.

    Like those of a selection, only files that were written or moved after the record are read. The model card may
    change: it is there to be completed.
    """
    if not folder.is_dir():
        return []
    files = read_files_of_export(folder)
    if files is None:
        return [EXPORT_RECORD]
    written = _changes(folder / EXPORT_RECORD)
    return [
        name
        for name, entry in files.items()
        if not (folder / name).is_file() or (name != CARD and not _is_whole(folder, name, entry.get("sha256"), written))
    ]


def read_files_of_export(folder: Path) -> dict[str, Any] | None:
    """Return what the record of an export says of each of its files; None without a record that can be read."""
    files = _read_json(folder / EXPORT_RECORD).get("files")
    return files if isinstance(files, dict) and all(isinstance(entry, dict) for entry in files.values()) else None


def lost_of_explanation(page: Path) -> list[str]:
    """Return the tables that are gone from which the page of an explanation was made; empty without the page."""
    return [name for name in EXPLANATION if page.is_file() and not page.with_name(name).is_file()]


def lost_of_prediction(folder: Path) -> list[str]:
    """Return the points of a prediction if its record says that chips have places, and the file is gone."""
    has_places = _read_json(folder / PREDICTION_RECORD).get("with_place")
    return [POINTS] if has_places and not (folder / POINTS).is_file() else []


def lost_of_selection(path: Path) -> list[str]:
    """Return the files of selected models that are gone or have changed; empty without a selection.

    Only files that were written or moved after what says their checksums are read: others are as they were. A damaged
    record is left to who uses the models.

    Args:
        path: selection.yaml, which is written after the models.
    """
    import yaml  # Most starts use no selected models.

    try:
        checksums = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["sha256"]
        written = _changes(path)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []
    if not isinstance(checksums, dict):
        return []
    return [name for name, sha256 in checksums.items() if not _is_whole(path.parent, name, sha256, written)]


def _is_whole(folder: Path, name: str, sha256: str | None, written: tuple[int, int]) -> bool:
    """Return whether a file in a folder is as it was when its record was written, with these times of `_changes`."""
    file = folder / name
    # Files, or folders of them, that were exchanged have the time of their content, and a later one of their name.
    places = [file, *(folder / place for place in Path(name).parents[:-1])]
    try:
        if not file.is_file():
            return False
        # Each kind of time with its own: a copy or new rights of all files give the record, too, a later second one.
        changes = (max(times) for times in zip(*map(_changes, places), strict=True))
        is_older = all(change <= of_record for change, of_record in zip(changes, written, strict=True))
        return is_older or sha256_of_file(file) == sha256
    except OSError:
        return False


def _changes(path: Path) -> tuple[int, int]:
    """Return when the content of a file or folder was last changed, and when its name or rights, in nanoseconds."""
    status = path.stat()
    return status.st_mtime_ns, status.st_ctime_ns


def _read_json(path: Path) -> dict[str, Any]:
    """Return the content of a record; empty without one, or if it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
