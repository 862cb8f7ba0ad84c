"""Read tables that name chips without labels."""

from __future__ import annotations

from pathlib import Path

from terralucas.errors import StudyError

CHIP_TABLE_SUFFIXES = (".csv", ".parquet")


def read_chip_table(table: Path) -> list[tuple[str, Path]]:
    """Return id and path of each chip in a table, in its order.

    Args:
        table: a CSV or Parquet table with a column `path` (relative to the table) and optionally `id`; otherwise the id
            is the path without suffix.

    Raises:
        StudyError: the table cannot be read or names no paths, or two rows have one id.
    """
    import pandas as pd  # takes long, and most predictions have no table

    try:
        rows = pd.read_csv(table, dtype=str) if table.suffix.lower() == ".csv" else pd.read_parquet(table)
    except (ValueError, OSError) as error:
        raise StudyError(
            f"The table of chips {table} cannot be read.",
            found=str(error).splitlines()[0],
            expected="a CSV table in UTF-8, or a Parquet table, with a column path",
            remedy="save the table again in this format",
        ) from None
    if "path" not in rows or rows.empty:
        raise StudyError(
            f"The table of chips {table} names no paths.",
            found=f"{len(rows)} rows with the columns {', '.join(map(str, rows.columns))}",
            expected="a column path, relative to the table, and optionally a column id",
            remedy="name the column of the paths path",
        )
    missing = rows["path"].isna() if "id" not in rows else rows["path"].isna() | rows["id"].isna()
    ids = rows["id"] if "id" in rows else rows["path"].map(lambda path: str(Path(str(path)).with_suffix("")))
    repeated = ids[ids.duplicated()]
    if missing.any() or len(repeated):
        found = f"{int(missing.sum())} rows without a path or id" if missing.any() else f"{repeated.iloc[0]!r} twice"
        raise StudyError(
            f"The rows of the table of chips {table} cannot be told apart.",
            found=found,
            expected="a path and a different id in each row",
            remedy="correct the columns id and path",
        )
    base = table.resolve().parent
    return [(str(name), base / str(path)) for name, path in zip(ids, rows["path"], strict=True)]
