"""Making, reading and writing of tidy tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from terralucas.files import atomic_path
from terralucas.tables.vocabulary import RECIPE, SCHEMA_VERSION


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


def by_recipe(runs: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """The rows of each recipe with its names, in the order of the table."""
    for names, group in runs.groupby(RECIPE, sort=False):
        yield dict(zip(RECIPE, names, strict=True)), group
