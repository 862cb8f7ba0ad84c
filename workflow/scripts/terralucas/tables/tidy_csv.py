"""Making, reading and writing of tidy tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from terralucas.files import atomic_path

SCHEMA_VERSION = 2
# The columns that name a recipe, in every table.
RECIPE = ["backbone", "loss", "decoder"]
# A control has this in the column `loss`, where a recipe has the name of its loss.
CONTROL = "control"


def tidy_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table that begins with its schema version; `columns` are those of a table that may have no rows."""
    table = pd.DataFrame(list(rows), columns=columns)
    table.insert(0, "schema_version", SCHEMA_VERSION)
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV; numbers have the shortest form that reads back the same."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_table(path: Path | str) -> pd.DataFrame:
    """Read a table; only empty cells are missing values, so that a class may be called None or NA."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])
