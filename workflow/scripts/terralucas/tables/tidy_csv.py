"""Functions that make, read and write tidy tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from terralucas.files import atomic_path
from terralucas.stored import reading
from terralucas.tables.vocabulary import RECIPE, SCHEMA_VERSION, TEXTS


def tidy_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Make a table whose first column is the schema version; `columns` are needed if there may be no rows."""
    table = pd.DataFrame(list(rows), columns=columns)
    table.insert(0, "schema_version", SCHEMA_VERSION)
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV; each number has the fewest digits that give the same number when read."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def read_table(path: Path | str, numbers: Collection[str] = ()) -> pd.DataFrame:
    """Read a table; only empty fields are missing values, and codes and names are text: a class may be NA or 01.

    Args:
        path: of the table.
        numbers: columns that have numbers in this table, and names in others.

    Raises:
        StudyError: it is no table of a study.
    """
    with reading(path, "a table of the study (CSV)"):
        table = pd.read_csv(
            path, keep_default_na=False, na_values=[""], dtype={name: "str" for name in TEXTS if name not in numbers}
        )
        if "schema_version" not in table:
            raise ValueError(f"no column schema_version; it has {', '.join(map(str, table.columns[:5]))}")
        return table


def by_recipe(runs: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Yield the names and the rows of each recipe, in the order of the table."""
    for names, group in runs.groupby(RECIPE, sort=False):
        yield dict(zip(RECIPE, names, strict=True)), group
