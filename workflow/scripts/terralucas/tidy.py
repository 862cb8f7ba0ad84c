"""Reading and writing of tidy CSV tables."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from terralucas.files import atomic_path

# The columns that name a recipe, in every table.
RECIPE = ["backbone", "loss", "decoder"]


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV; numbers have the shortest form that reads back the same."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_table(path: Path | str) -> pd.DataFrame:
    """Read a table; only empty cells are missing values, so that a class may be called None or NA."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])
