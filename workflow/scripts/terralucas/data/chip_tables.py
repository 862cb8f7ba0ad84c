"""Read tables that name chips without labels."""

from __future__ import annotations

from pathlib import Path

from terralucas.errors import StudyError

CHIP_TABLE_SUFFIXES = (".csv", ".parquet")
_WRONG_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


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
    separators = [name for mark, name in _WRONG_SEPARATORS.items() if any(mark in str(name) for name in rows.columns)]
    if "path" not in rows and separators:
        raise StudyError(
            f"The columns of the table of chips {table} are not separated by commas.",
            found=f"{' and '.join(separators)} in the header {', '.join(map(str, rows.columns))!r}",
            expected="a CSV table whose columns are separated by commas",
            remedy="save the table with commas (in a spreadsheet: CSV UTF-8, comma delimited)",
        )
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


def find_chips_of_table(table: Path) -> list[tuple[str, Path]]:
    """Return id and path of each chip in a table as `read_chip_table`, and require that some of them are there.

    Raises:
        StudyError: the table is wrong, or none of its chips is at its path.
    """
    chips = read_chip_table(table)
    if not any(path.is_file() for _, path in chips):
        raise StudyError(
            f"None of the {len(chips)} chips in the table {table} is at its path.",
            found=f"no file {chips[0][1]}",
            expected=f"whole paths, or paths relative to the folder of the table, {table.resolve().parent}",
            remedy="correct the column path, or move the table",
        )
    return chips
