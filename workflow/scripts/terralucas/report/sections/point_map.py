"""The section “Map”: where test predictions are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from terralucas.report.page_tables import data_uri
from terralucas.report.wording import count_text
from terralucas.tables.scores import PERCENT, PERCENT_SIGN

# A larger map, in bytes, is not embedded in the page; the page names its path.
MOST_MAP_BYTES = 1_000_000


def map_sentences(shares: pd.Series) -> list[str]:
    """Say how many points are always right and how many never, and the share of the median point."""
    if shares.empty:
        return ["The chips have no coordinates, so that there is no map."]
    always, never = int((shares == 1).sum()), int((shares == 0).sum())
    return [
        f"Of {count_text(len(shares), 'point')}, {always:,} are right in every test prediction and {never:,} in none; "
        f"the median point is right in {PERCENT.text(shares.median())}{PERCENT_SIGN} of them."
    ]


def map_file(study: str, geojson: Path) -> dict[str, Any]:
    """Return a link that contains the points if the file is small, otherwise the path of the file."""
    size = geojson.stat().st_size
    if size > MOST_MAP_BYTES:
        return {"href": "", "file": "/".join(geojson.parts[-2:]), "size": size}
    href = data_uri(geojson.read_bytes(), "application/geo+json")
    return {"href": href, "file": f"{study}-{geojson.name}", "size": size}
