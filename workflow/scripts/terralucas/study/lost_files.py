"""Which files of finished results are lost that no rule names, because only the results say what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from terralucas.files import sha256_of_file
from terralucas.results_input import PREDICTION_RECORD

# What the page of an explanation needs: Snakemake makes what a page was made from only to make the page.
EXPLANATION = ("importance.csv", "importance_by_seed.csv", "occlusion.json")
EXPORT_RECORD, CARD, POINTS = "export.json", "README.md", "predictions.geojson"


def lost_of_export(folder: Path) -> list[str]:
    """Return the files that the record of an export names and that are gone or have changed; empty without an export.

    Like those of a selection, only files newer than the record are read. The model card may change: it is there to be
    completed.
    """
    if not folder.is_dir():
        return []
    files = _read_json(folder / EXPORT_RECORD).get("files")
    if not isinstance(files, dict):
        return [EXPORT_RECORD]
    written = (folder / EXPORT_RECORD).stat().st_mtime_ns
    return [
        name
        for name, entry in files.items()
        if not (folder / name).is_file()
        or (name != CARD and not _is_whole(folder / name, entry.get("sha256"), written))
    ]


def own_words_in_export(folder: Path) -> str | None:
    """Return the name of the model card of an export if a user has changed it; it must not be lost."""
    entry = (_read_json(folder / EXPORT_RECORD).get("files") or {}).get(CARD) or {}
    card = folder / CARD
    return CARD if entry.get("sha256") and card.is_file() and sha256_of_file(card) != entry["sha256"] else None


def lost_of_explanation(page: Path) -> list[str]:
    """Return the tables that are gone from which the page of an explanation was made; empty without the page."""
    return [name for name in EXPLANATION if page.is_file() and not page.with_name(name).is_file()]


def lost_of_prediction(folder: Path) -> list[str]:
    """Return the points of a prediction if its record says that chips have places, and the file is gone."""
    has_places = _read_json(folder / PREDICTION_RECORD).get("with_place")
    return [POINTS] if has_places and not (folder / POINTS).is_file() else []


def lost_of_selection(path: Path) -> list[str]:
    """Return the files of selected models that are gone or have changed; empty without a selection.

    As Snakemake does with the files that it knows, this reads only those that are newer than what says their checksums.
    A damaged record is left to who uses the models.

    Args:
        path: selection.yaml, which is written after the models.
    """
    import yaml  # Most starts use no selected models.

    try:
        checksums = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)["sha256"]
        written = path.stat().st_mtime_ns
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return []
    if not isinstance(checksums, dict):
        return []
    return [name for name, sha256 in checksums.items() if not _is_whole(path.parent / name, sha256, written)]


def _is_whole(file: Path, sha256: str | None, written: int) -> bool:
    try:
        return file.is_file() and (file.stat().st_mtime_ns <= written or sha256_of_file(file) == sha256)
    except OSError:
        return False


def _read_json(path: Path) -> dict[str, Any]:
    """Return the content of a record; empty without one, or if it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
