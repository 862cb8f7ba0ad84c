"""Find the chips of a dataset on disk, with their labels and coordinates.

Two layouts are supported: the labels are in a CSV table, or the name of a chip's folder is its label. This module opens
only the table; `terralucas.data.index` reads and checks the chips.
"""

from __future__ import annotations

import filecmp
import logging
import math
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from unicodedata import normalize

from terralucas.data.dataset import DatasetSpec, LayoutSpec, normalise_name
from terralucas.data.lucas import parse_point_id
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.geography import EPSG

logger = logging.getLogger(__name__)

CHIP_SUFFIXES = (".tif", ".tiff")

Files = Sequence[PurePosixPath]
Sources = dict[str, list[PurePosixPath]]


@dataclass(frozen=True)
class ChipFile:
    """A chip with a label.

    `file` is relative to the root of the dataset. Easting and northing are in metres in EPSG:3035; they are NaN if the
    dataset has no coordinates.
    """

    point_id: str
    label: int
    file: str
    easting_m: float
    northing_m: float


@dataclass(frozen=True)
class Problem:
    """The reason why a chip cannot be used; `file` is relative to the root of the dataset, or None without a file."""

    point_id: str
    file: str | None
    kind: str
    message: str


class Reason(NamedTuple):
    """Why a chip cannot be used: a key of `REMEDIES`, and a message that follows the name of the chip."""

    kind: str
    message: str


@dataclass(frozen=True)
class Listing:
    """The chips that were found.

    Attributes:
        chips: labelled chips in the order of the table, or of their paths if folders are the labels.
        problems: problems of the other chips.
        table: path of the labels table relative to the root; None if folders are the labels.
        texts: labels of the table, and names of folders that contain chips: all that was looked up among the classes.
    """

    chips: tuple[ChipFile, ...]
    problems: tuple[Problem, ...]
    table: str | None
    texts: frozenset[str]


@dataclass(frozen=True)
class _Row:
    """A row of the labels table, or the same data from a folder, as text; missing values are empty."""

    point_id: str
    label: str
    file: str = ""
    x: str = ""
    y: str = ""


def join_first(names: Iterable[object], shown: int = 8) -> str:
    """Return the first names as text, followed by the number of the others."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:shown]) + (f" and {len(texts) - shown} more" if len(texts) > shown else "")


def find_chips(root: Path, spec: DatasetSpec) -> Listing:
    """Find the chips below `root` and their labels, without opening a chip.

    The labels table may be in any folder. If there are identical tables, the one in the fewest folders is used, and
    chips are searched in its folder first. Hidden files, macOS metadata and identical copies of chips are ignored.

    Raises:
        StudyError: the folder, the labels table, one of its columns or all chips are missing, or two different tables
            are at the same depth. Problems of single chips are returned and not raised.
    """
    files = list_files(root)
    candidates = [file for file in files if file.suffix.lower() in CHIP_SUFFIXES]
    if not candidates:
        raise StudyError(
            f"No chips were found below {root}.",
            found=join_first(dict.fromkeys(file.parts[0] for file in files)) or "no files except hidden ones",
            expected=_expected_layout(spec.layout),
            remedy="check dataset.sources and dataset.layout, and that the download was unpacked completely",
        )
    folders = frozenset(normalise_name(file.parent.name) for file in candidates)
    if spec.layout.labels == "folders":
        sources = _group_by_id(sorted(_drop_copies(root, candidates, spec)))
        rows = [_Row(point_id, normalise_name(group[0].parent.name)) for point_id, group in sources.items()]
        return Listing(*_match_rows_and_files(rows, sources, spec), table=None, texts=folders)
    table, nested = _find_table(root, files, spec)
    rows = _read_table(root / table, spec.layout)
    below = [file for file in candidates if file.is_relative_to(table.parent)]
    if spec.layout.file_column is None:
        ids_below = {row.point_id for row in rows} & {normalise_name(file.stem) for file in below}
        sources = _group_by_id(_drop_copies(root, below if ids_below else candidates, spec), nested)
    else:
        sources = _group_by_row(rows, candidates, table.parent)
        listed = {file: point_id for point_id, group in sources.items() for file in group}
        for file in _drop_copies(root, [*listed, *below], spec):
            if file not in listed and not any(file.is_relative_to(folder) for folder in nested):
                # Use the path as its id, because its file name may be the id of another chip.
                sources[str(file)] = [file]
    texts = folders | {row.label for row in rows}
    return Listing(*_match_rows_and_files(rows, sources, spec), table=str(table), texts=texts)


def _expected_layout(layout: LayoutSpec) -> str:
    """Return a description of the layout for error messages."""
    if layout.labels == "folders":
        return "<class code or name>/<chip>.tif at any depth (dataset.layout.labels: folders)"
    named = "<id>.tif, in class folders or not," if layout.file_column is None else f"the files of {layout.file_column}"
    return f"the table {layout.table} and {named} at any depth (dataset.layout.labels: table)"


def list_files(root: Path) -> list[PurePosixPath]:
    """Return all files below `root`, relative to it, by increasing depth.

    Hidden files and `__MACOSX` folders are ignored. Symbolic links to folders are followed, each folder once.
    """
    if not root.is_dir():
        raise StudyError(f"The data folder {root} does not exist.", remedy="check dataset.sources")
    found: list[PurePosixPath] = []
    seen: set[Path] = set()
    queue = [root]
    for folder in queue:
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                queue.append(entry)
            elif entry.is_file():
                found.append(PurePosixPath(entry.relative_to(root).as_posix()))
    return found


def _find_table(root: Path, files: Files, spec: DatasetSpec) -> tuple[PurePosixPath, list[PurePosixPath]]:
    """Return the path of the labels table, and the folders of its identical copies."""
    wanted = PurePosixPath(normalize("NFC", str(spec.layout.table))).parts
    tables = [file for file in files if PurePosixPath(normalize("NFC", str(file))).parts[-len(wanted) :] == wanted]
    if not tables:
        others = [file for file in files if file.suffix.lower() == ".csv"]
        raise StudyError(
            f"The labels table {spec.layout.table} is nowhere below {root}.",
            found=f"other tables: {join_first(others)}" if others else "no .csv file",
            expected=_expected_layout(spec.layout),
            remedy="check dataset.layout.table, or set dataset.layout.labels: folders if folder names are the classes",
        )
    chosen, *rest = tables
    digest = sha256_of_file(root / chosen)
    copies = []
    for other in rest:
        if sha256_of_file(root / other) == digest:
            copies.append(other.parent)
        elif len(other.parts) == len(chosen.parts):
            raise StudyError(
                f"There are two different labels tables {spec.layout.table} at the same depth.",
                found=f"{chosen} and {other}, below {root}",
                expected="one labels table",
                remedy="remove one of them, or give dataset.layout.table with its folder",
            )
        else:
            logger.warning("The labels table %s is used; the different table %s is ignored", chosen, other)
    return chosen, copies


def _read_table(path: Path, layout: LayoutSpec) -> list[_Row]:
    """Return the rows of the labels table in their order, as stripped text."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise StudyError(
            f"The labels table {path} is no comma-separated UTF-8 table.",
            found=str(error),
            expected="a CSV file with a header line",
            remedy="correct the table, or check dataset.layout.table",
        ) from error
    frame.columns = [normalise_name(column) for column in frame.columns]
    named = (layout.id_column, layout.label_column, layout.file_column, layout.x_column, layout.y_column)
    missing = [name for name in named if name is not None and normalise_name(name) not in frame.columns]
    if missing:
        raise StudyError(
            f"The labels table {path} has no column {', '.join(missing)}.",
            found=f"columns {join_first(frame.columns)}",
            expected="the columns named under dataset.layout, separated by commas (not semicolons or tabs)",
            remedy="correct the table, or name its columns in dataset.layout",
        )
    columns = [
        [""] * len(frame) if name is None else [normalise_name(text) for text in frame[normalise_name(name)].fillna("")]
        for name in named
    ]
    if layout.id_column is None:
        columns[0] = [normalise_name(PurePosixPath(file).stem) for file in columns[2]]
    return [_Row(*values) for values in zip(*columns, strict=True)]


def _drop_copies(root: Path, files: Iterable[PurePosixPath], spec: DatasetSpec) -> list[PurePosixPath]:
    """Return `files` without identical copies of an earlier file with the same name and class folder."""
    lookup = spec.class_lookup()
    kept_by_name: dict[tuple[int | None, str], list[PurePosixPath]] = defaultdict(list)
    kept = []
    for file in dict.fromkeys(files):
        same_name = kept_by_name[lookup.get(normalise_name(file.parent.name)), file.name]
        if not any(filecmp.cmp(root / file, root / earlier_file, shallow=False) for earlier_file in same_name):
            same_name.append(file)
            kept.append(file)
    return kept


def _group_by_id(files: Files, nested: Files = ()) -> Sources:
    """Return the files by chip id; files next to a copy of the labels table count only if there is no other file."""
    groups: Sources = defaultdict(list)
    for file in files:
        groups[normalise_name(file.stem)].append(file)
    for name, group in groups.items():
        outside = [file for file in group if not any(file.is_relative_to(folder) for folder in nested)]
        groups[name] = outside or group
    return dict(groups)


def _group_by_row(rows: Sequence[_Row], candidates: Files, folder: PurePosixPath) -> Sources:
    """Return the files by chip id, if the table names the files relative to its folder."""
    by_path = {normalize("NFC", str(file)): file for file in candidates}
    groups: Sources = {}
    for row in rows:
        file = by_path.get(posixpath.normpath(normalize("NFC", str(folder / row.file))))
        if file is not None and file not in groups.setdefault(row.point_id, []):
            groups[row.point_id].append(file)
    return groups


def _match_rows_and_files(
    rows: Sequence[_Row], sources: Sources, spec: DatasetSpec
) -> tuple[tuple[ChipFile, ...], tuple[Problem, ...]]:
    """Combine rows, files and coordinates: return one chip or one problem for each chip id."""
    groups: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.point_id].append(row)
    id_counts = Counter(file for files in sources.values() for file in files)
    lookup = spec.class_lookup()
    chips: list[ChipFile] = []
    problems: list[Problem] = []
    for point_id, group in groups.items():
        files = sources.get(point_id, [])
        problem = _find_problem(group, files, any(id_counts[file] > 1 for file in files), spec)
        if problem is None:
            problem, place = _locate(group[0], spec)
        if problem is None:
            chips.append(ChipFile(point_id, lookup[group[0].label], str(files[0]), *place))
        else:
            problems.append(Problem(point_id, str(files[0]) if files else None, *problem))
    for point_id, files in sources.items():
        if point_id not in groups:
            reason = Reason("file_without_label", "has no row in the labels table; expected one")
            problems.append(Problem(point_id, str(files[0]), *reason))
    return tuple(chips), tuple(problems)


def _find_problem(group: Sequence[_Row], files: Files, shared: bool, spec: DatasetSpec) -> Reason | None:
    """Return the reason of the first problem with the rows and files of a chip id, or None."""
    row, from_folder, lookup = group[0], spec.layout.labels == "folders", spec.class_lookup()
    if row.point_id == "":
        return Reason("missing_id", f"{len(group)} row(s) of the labels table have no id; expected an id in every row")
    if len(files) > 1:
        return Reason("duplicate_file", f"is in {len(files)} files ({join_first(files)}); expected one")
    if len(group) > 1:
        labels = ", ".join(dict.fromkeys(other.label or "none" for other in group))
        return Reason("duplicate_label", f"is in {len(group)} rows of the labels table (label {labels}); expected one")
    if not files:
        return Reason("label_without_file", f"has a label but no file; expected {row.file or row.point_id + '.tif'}")
    if shared:
        return Reason("duplicate_file", "has the same file as another chip; expected a separate file for each chip")
    if row.label == "":
        return Reason("file_without_label", "has no label; expected a class code or name")
    if row.label not in lookup:
        codes = join_first([entry.code for entry in spec.classes], 12)
        situation = "is in folder" if from_folder else "has label"
        return Reason(
            "unknown_label", f"{situation} {row.label!r}; expected one of the class codes {codes}, or a class name"
        )
    folder = normalise_name(files[0].parent.name)
    # If the table names the files, the names of folders need not be classes.
    if spec.layout.file_column is None and lookup.get(folder, lookup[row.label]) != lookup[row.label]:
        return Reason("folder_disagrees", f"is in folder {folder!r}, but the labels table says {row.label!r}")
    return None


def _locate(row: _Row, spec: DatasetSpec) -> tuple[Reason | None, tuple[float, float]]:
    """Locate a chip from the coordinate columns if they are configured, otherwise from its LUCAS id.

    Returns:
        The reason of a problem, or None; and easting and northing in metres in EPSG:3035, NaN if unknown.
    """
    # `transform` raises errors of GDAL, for which rasterio has no public class.
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError
    from rasterio.warp import transform

    unknown, crs = (math.nan, math.nan), spec.layout.crs
    if spec.layout.x_column is not None and spec.layout.labels == "table":
        try:
            (easting,), (northing,) = transform(crs, f"EPSG:{EPSG}", [float(row.x)], [float(row.y)])
        except CRSError as error:
            raise StudyError(
                f"The coordinate reference system dataset.layout.crs {crs!r} is unknown.",
                expected="a code such as EPSG:4326",
                remedy="correct dataset.layout.crs",
            ) from error
        except (ValueError, CPLE_BaseError):
            easting, northing = unknown
        if math.isfinite(easting) and math.isfinite(northing):
            return None, (easting, northing)
        return Reason("bad_coordinates", f"has x {row.x!r}, y {row.y!r}; expected a place in {crs}"), unknown
    place = parse_point_id(row.point_id) if spec.point_ids == "lucas" else unknown
    if place is None:
        reason = Reason(
            "not_a_lucas_id", "is no LUCAS id; expected eight digits of a point on the 2 km grid, such as 45922254"
        )
        return reason, unknown
    return None, place
