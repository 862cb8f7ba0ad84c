"""Find what was made with the selected models of a study."""

from __future__ import annotations

from pathlib import Path


def uses_of_selection(results: Path) -> list[str]:
    """Return the files and folders that were made with a selection of the study, relative to its results.

    Args:
        results: folder of the study's results.
    """
    made = [
        results / "exported",
        results / "selected" / "explained.html",
        *(path.parent for path in sorted(results.glob("maps/*/map.html"))),
        *(path.parent for path in sorted(results.glob("predictions/*/predictions.parquet"))),
    ]
    return [path.relative_to(results).as_posix() for path in made if path.exists()]
