"""Read the table of labels, and refuse what spreadsheets and other programs make of such a table."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from terralucas.data.dataset import LayoutSpec, normalise_name
from terralucas.errors import StudyError
from terralucas.file_kinds import HEAD_BYTES, find_kind

# Files that may be meant as the table, for messages.
TABLE_SUFFIXES = {".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods", ".parquet", ".json", ".geojson", ".gpkg", ".dbf"}
# First bytes of files that are no text, from which a table can be exported.
_BINARY = {
    b"PK\x03\x04": "a zip file, such as an Excel workbook (.xlsx)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls)",
    b"PAR1": "a Parquet file",
    b"SQLite": "a database, such as a GeoPackage",
}
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# In UTF-16, every second byte of a digit, comma or Latin letter is 0; in UTF-8, a 0 is damage.
_MAX_SHARE_NUL = 1 / 8
_SHOWN = 3


@dataclass(frozen=True)
class Row:
    """A row of the labels table, or the same data from a folder, as text; missing values are empty.

    `line` is the row's line in the table, counted from 1; 0 without a table.
    """

    point_id: str
    label: str
    file: str = ""
    x: str = ""
    y: str = ""
    line: int = 0


def read_table(path: Path, layout: LayoutSpec) -> list[Row]:
    """Return the rows of the labels table in their order, as stripped text; empty rows are left out.

    Cells at the end of a row may be missing if they belong to no column that `layout` names, because spreadsheets leave
    them out.

    Raises:
        StudyError: the file is no comma-separated UTF-8 table, it lacks a named column or has it twice, or a row has
            too many or too few cells.
    """
    lines = _read_cells(path)
    if not lines:
        raise _table_error(path, "an empty file", "write the table with a header line")
    columns = [normalise_name(name) for name in lines[0][1]]
    named = (layout.id_column, layout.label_column, layout.file_column, layout.x_column, layout.y_column)
    places = _find_columns(path, columns, [name for name in named if name is not None])
    rows, ragged = [], []
    needed = max(places.values()) + 1
    for line, cells in lines[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < needed or any(cell.strip() for cell in cells[len(columns) :]):
            ragged.append((line, len(cells)))
            continue
        point_id, label, file, x, y = ("" if name is None else normalise_name(cells[places[name]]) for name in named)
        if layout.id_column is None:
            point_id = normalise_name(PurePosixPath(file).stem)
        rows.append(Row(point_id, label, file, x, y, line))
    if ragged:
        shown = ", ".join(f"line {line} has {count}" for line, count in ragged[:_SHOWN])
        raise StudyError(
            f"{len(ragged)} line(s) of the labels table {path} have another number of cells than its header.",
            found=f"{shown}{', ...' if len(ragged) > _SHOWN else ''}; the header has {len(columns)}",
            expected="as many cells in every line as in the header, with quotes around texts that contain a comma",
            remedy="correct these lines",
        )
    return rows


def refuse_spreadsheet_ids(path: Path, rows: Sequence[Row], stems: Collection[str], layout: LayoutSpec) -> None:
    """Raise a StudyError if ids in the table were changed by a spreadsheet, and so are the ids of no chip.

    Args:
        path: the labels table.
        rows: its rows.
        stems: names of all chip files without their suffixes.
        layout: the columns of the table.

    Raises:
        StudyError: an id without a file is written as 4.59E+07 or 45,922,254, or lacks leading zeros of a file's name.
    """
    unpadded = {stem.lstrip("0"): stem for stem in stems if re.fullmatch("0+[1-9][0-9]*", stem)}
    changed, example = [], min(stems, default="45922254")
    counts = Counter(row.point_id for row in rows)
    for row in rows:
        # A table that names the files may have ids of any form, as long as they tell the chips.
        if row.point_id in stems or (layout.file_column is not None and counts[row.point_id] == 1):
            continue
        if re.fullmatch(r"[0-9]([.,][0-9]+)?E\+?[0-9]+", row.point_id, re.IGNORECASE):
            changed.append((row, "digits are lost"))
        elif re.fullmatch(r"[0-9]{1,3}([,. \u00a0\u202f'’][0-9]{3})+", row.point_id):
            changed.append((row, "separators between thousands"))
        elif row.point_id in unpadded:
            example = unpadded[row.point_id]
            changed.append((row, f"the file is {example}"))
    if changed:
        shown = ", ".join(f"{row.point_id!r} in line {row.line} ({why})" for row, why in changed[:_SHOWN])
        raise StudyError(
            f"A spreadsheet has changed {len(changed)} id(s) in column {layout.id_column} of the labels table {path}.",
            found=shown + (f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""),
            expected=f"ids as in the names of the chips, such as {example}",
            remedy="give the column the format Text, write these ids again and export it; or take the table as it was "
            "before the spreadsheet saved it",
        )


def _read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """Return number and cells of each line that is not empty, the header first."""
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    kind = next((kind for magic, kind in _BINARY.items() if data.startswith(magic)), None)
    export = "export the table as CSV in UTF-8 (in Excel: CSV UTF-8), renaming the file is not enough"
    if kind is not None:
        raise _table_error(path, kind, export)
    if other := find_kind(data[:HEAD_BYTES]):
        raise _table_error(path, other.name, other.remedy or "use the table itself")
    first = data[:4096]
    if data.startswith(UTF_16) or first.count(b"\0") > _MAX_SHARE_NUL * len(first):
        remedy = "save the table as CSV in UTF-8, for example with iconv -f UTF-16 -t UTF-8"
        raise _table_error(path, "text in UTF-16, or a binary file", remedy)
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        found = f"{data.count(bytes(1))} NUL byte(s) in the text, the first in line {line}"
        remedy = "correct the line, or fetch the table again if it is damaged; tr -d '\\000' removes such bytes"
        raise _table_error(path, found, remedy)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        word = re.split(rb"[,;\t\r\n]", data[: error.start])[-1] + re.split(rb"[,;\t\r\n]", data[error.start :])[0]
        found = (
            f"byte {data[error.start]:#04x} in line {line}, in {word.decode('cp1252', 'replace')!r} if read as Latin-1"
        )
        remedy = "save the table in UTF-8, for example with iconv -f WINDOWS-1252 -t UTF-8"
        raise _table_error(path, found, remedy) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines, start = [], 1
    try:
        for cells in reader:
            # A cell in quotes may have several lines; a row is where it begins.
            if cells:
                lines.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        remedy = "correct the line; quotes must be in pairs"
        raise _table_error(path, f"line {start}: {describe_csv_error(error)}", remedy) from error
    return lines[1:] if lines and names_separator(lines[0][1]) else lines


def names_separator(cells: Sequence[str]) -> bool:
    """Return whether a line is the `sep=,` that spreadsheets write before the header."""
    return cells[0].strip().lower() == "sep=" and not any(cell.strip() for cell in cells[1:])


def describe_csv_error(error: csv.Error) -> str:
    """Return an error of Python's reader of CSV tables in words."""
    if "field limit" in str(error):
        return f"a cell of more than {csv.field_size_limit():,} characters; perhaps its quote is not closed"
    return str(error)


def _find_columns(path: Path, columns: Sequence[str], named: Sequence[str]) -> dict[str, int]:
    """Return the position of each named column."""
    missing = list(dict.fromkeys(name for name in named if normalise_name(name) not in columns))
    found = ", ".join(columns[:8]) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")
    if missing:
        raise StudyError(
            f"The labels table {path} has no column {', '.join(missing)}.",
            found=f"columns {found}",
            expected="the columns named under dataset.layout, separated by commas (not semicolons or tabs)",
            remedy="correct the table, or name its columns in dataset.layout",
        )
    for name in named:
        positions = [number for number, other in enumerate(columns, start=1) if other == normalise_name(name)]
        if len(positions) > 1:
            raise StudyError(
                f"The labels table {path} has {len(positions)} columns of the name {name}.",
                found=f"columns {', '.join(map(str, positions))} of {found} (blanks around a name do not count)",
                expected="one column of each name under dataset.layout",
                remedy="rename or remove the other columns",
            )
    return {name: columns.index(normalise_name(name)) for name in named}


def _table_error(path: Path, found: str, remedy: str) -> StudyError:
    return StudyError(
        f"The labels table {path} is no comma-separated UTF-8 table.",
        found=found,
        expected="a CSV file with a header line",
        remedy=f"{remedy}; or check dataset.layout.table",
    )
