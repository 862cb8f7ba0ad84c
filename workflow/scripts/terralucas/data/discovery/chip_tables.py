"""Read tables that name chips without labels."""

from __future__ import annotations

import csv
import errno
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from terralucas.data.dataset import normalise_name
from terralucas.data.discovery.label_tables import UTF_16, describe_csv_error, names_separator
from terralucas.errors import StudyError, printable
from terralucas.file_kinds import kind_of_file

CHIP_TABLE_SUFFIXES = (".csv", ".parquet")
_WRONG_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# Lines that a message names.
_SHOWN = 3
# Characters of a path in a message.
_SHOWN_PATH = 300


def read_chip_table(table: Path) -> list[tuple[str, Path]]:
    """Return id and path of each chip in a table, in its order.

    Args:
        table: a CSV or Parquet table with a column `path` (relative to the table) and optionally `id`; otherwise the id
            is the path without suffix.

    Raises:
        StudyError: the table cannot be read or names no paths, it has a column such as `ID`, two rows have one id, a
            row of a CSV table has another number of cells than the header, or two columns have the name `id` or `path`.
    """
    rows: Any
    try:
        rows = _read_csv(table) if table.suffix.lower() == ".csv" else _read_parquet(table)
    except (ValueError, OSError) as error:
        _require_table(table)
        raise StudyError(
            f"The table of chips {table} cannot be read.",
            found=str(error).splitlines()[0],
            expected="a CSV table in UTF-8, or a Parquet table, with a column path",
            remedy="save the table again in this format",
        ) from None
    if "path" not in rows:
        _require_table(table)
    separators = [name for mark, name in _WRONG_SEPARATORS.items() if any(mark in str(name) for name in rows.columns)]
    if "path" not in rows and separators:
        raise StudyError(
            f"The columns of the table of chips {table} are not separated by commas.",
            found=f"{' and '.join(separators)} in the header {', '.join(map(str, rows.columns))!r}",
            expected="a CSV table whose columns are separated by commas",
            remedy="save the table with commas (in a spreadsheet: CSV UTF-8, comma delimited)",
        )
    if rows.empty and "path" in rows:
        raise StudyError(
            f"The table of chips {table} has no rows.",
            found=f"the columns {', '.join(map(str, rows.columns))} alone",
            expected="a row for each chip",
            remedy="write the paths of the chips into the table",
        )
    if "path" not in rows:
        raise StudyError(
            f"The table of chips {table} names no paths.",
            found=f"{len(rows)} rows with the columns {', '.join(map(str, rows.columns))}",
            expected="a column path, relative to the table, and optionally a column id",
            remedy="name the column of the paths path",
        )
    like_id = [str(name) for name in rows.columns if str(name).strip().lower() == "id"]
    if like_id and "id" not in rows:
        raise StudyError(
            f"The table of chips {table} has a column {like_id[0]!r}, which is not read as a column id.",
            found=f"the columns {', '.join(map(str, rows.columns))}",
            expected="a column path, and optionally a column id, both in small letters",
            remedy="name the column id; or, if it has no ids of the chips, give it another name",
        )
    if table.suffix.lower() != ".csv":
        # As in a CSV table, a blank text is an empty cell.
        rows["path"] = rows["path"].map(lambda path: None if isinstance(path, str) and not path.strip() else path)
    # As in the table of labels: numbers of another program may have become 45922254.0.
    ids = rows["id"].map(normalise_name, na_action="ignore") if "id" in rows else rows["path"].map(_name)
    missing = rows["path"].isna() | ids.isna() | (ids == "")
    repeated = ids[ids.duplicated()]
    if missing.any() or len(repeated):
        found = f"{int(missing.sum())} rows without a path or id" if missing.any() else f"{repeated.iloc[0]!r} twice"
        raise StudyError(
            f"The rows of the table of chips {table} cannot be told apart.",
            found=found,
            expected="a path and a different id in each row",
            remedy="correct the columns id and path",
        )
    base = table.absolute().parent
    return [(name, base / str(path)) for name, path in zip(ids, rows["path"], strict=True)]


def _require_table(table: Path) -> None:
    """Raise a StudyError if a file without a column of paths is known to be of another kind."""
    if kind := kind_of_file(table):
        raise StudyError(
            f"The table of chips {table} is no table.",
            found=kind.name,
            expected="a CSV or Parquet table",
            remedy=kind.remedy or "name the table",
        )


def find_chips_of_table(table: Path) -> list[tuple[str, Path]]:
    """Return id and path of each chip in a table as `read_chip_table`, and require that some of them are there.

    Raises:
        StudyError: the table is wrong, or none of its chips is at its path.
    """
    chips = read_chip_table(table)
    if not any(why_impossible(path) is None and path.is_file() for _, path in chips):
        is_link = table.is_symlink()
        raise StudyError(
            f"None of the {len(chips)} chips in the table {table} is at its path.",
            found=f"no file {printable(str(chips[0][1]))[:_SHOWN_PATH]}"
            + (f"; the table is a link to {printable(str(table.resolve()))}" if is_link else ""),
            expected=f"whole paths, or paths relative to the folder of the table, {table.absolute().parent}",
            remedy="correct the column path, or move the table"
            + ("; write / between folders, and not \\" if "\\" in str(chips[0][1]) else "")
            + ("; or name the table itself, if the chips are beside it" if is_link else ""),
        )
    return chips


def why_impossible(path: Path) -> str | None:
    """Return why no file can have a path; None for all other paths, whether a file is there or not."""
    if not path.name:
        return "it has no name"
    try:
        path.lstat()
    except ValueError:
        return "it contains a NUL character"
    except OSError as error:
        return "it, or a name in it, is too long" if error.errno == errno.ENAMETOOLONG else None
    return None


def _name(path: Any) -> str | None:
    """Return a path without its suffix; None for an empty cell."""
    if path is None or path != path:
        return None
    given = Path(str(path))
    return str(given.with_suffix("") if given.name else given)


def _read_parquet(table: Path) -> Any:
    """Return all columns of a Parquet table, also one that was the index of a pandas table.

    Some programs write texts as bytes, which are read as UTF-8.

    Raises:
        ValueError: they are not UTF-8.
        StudyError: a name stands twice in the table.
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(table)
    _require_one_of_each(table, schema.names)
    rows = pq.read_table(table).to_pandas(ignore_metadata=True)
    # pandas stores an index such as 1, 2, 3 only in the metadata, as its start, stop and step.
    for index in (schema.pandas_metadata or {}).get("index_columns", []):
        if isinstance(index, dict) and index["kind"] == "range" and index["name"] not in (None, *rows.columns):
            rows[index["name"]] = range(index["start"], index["stop"], index["step"])
    # Arrow has several types of bytes, also in dictionaries.
    for name in {"id", "path"} & set(rows.columns):
        rows[name] = [cell.decode("utf-8") if isinstance(cell, bytes) else cell for cell in rows[name]]
    return rows


def _read_csv(table: Path) -> Any:
    """Return the columns of a CSV table as text, None for empty cells; empty lines are left out.

    Raises:
        ValueError: it is no text in UTF-8, has an open quote, or is empty.
        StudyError: a row has another number of cells than the header, or a name stands twice in it.
    """
    import pandas as pd  # takes long, and most predictions have no table

    data = table.read_bytes()
    if data.startswith(UTF_16):
        raise ValueError("text in UTF-16")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"byte {data[error.start]:#04x} in line {line}, which is not UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines, start = [], 1
    try:
        for cells in reader:
            # A cell in quotes may have several lines; a row is where it begins.
            if any(cell.strip() for cell in cells):
                lines.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {start}: {describe_csv_error(error)}") from error
    if lines and names_separator(lines[0][1]):
        lines = lines[1:]
    if not lines:
        raise ValueError("an empty file")
    header = [name.strip() for name in lines[0][1]]
    _require_one_of_each(table, header)
    # As in a table of labels: what is not read may be missing at the end.
    needed = max((header.index(name) + 1 for name in ("path", "id") if name in header), default=0)
    ragged = [
        (line, len(cells))
        for line, cells in lines[1:]
        if len(cells) < needed or any(cell.strip() for cell in cells[len(header) :])
    ]
    if ragged:
        raise StudyError(
            f"{len(ragged)} line(s) of the table of chips {table} have another number of cells than its header.",
            found=", ".join(f"line {line} has {count}" for line, count in ragged[:_SHOWN])
            + f"{', ...' if len(ragged) > _SHOWN else ''}; the header has {len(header)}",
            expected="as many cells in every line as in the header, with quotes around texts that contain a comma",
            remedy="correct these lines",
        )
    columns = {
        name: [(cells[place].strip() if place < len(cells) else "") or None for _, cells in lines[1:]]
        for place, name in enumerate(header)
    }
    return pd.DataFrame(columns, dtype=object)


def _require_one_of_each(table: Path, header: Sequence[str]) -> None:
    """Raise a StudyError if a table has several columns of paths or ids."""
    for name in ("path", "id"):
        if header.count(name) > 1:
            raise StudyError(
                f"The table of chips {table} has {header.count(name)} columns of the name {name}.",
                found=f"the columns {', '.join(header)} (blanks around a name do not count)",
                expected="one column path, and at most one column id",
                remedy="rename or remove the other columns",
            )
