"""Finding the chips of a dataset on disk, with their labels and coordinates.

Two layouts are understood: labels in a CSV table, or labels as the names of the folders that hold the chips. Nothing
is opened here but the table; `terralucas.data.index` reads and checks the chips themselves.
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
from unicodedata import normalize

from terralucas.data.dataset import DatasetSpec, LayoutSpec, plain_text
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
    """One chip with a label: `file` is relative to the dataset's root; easting and northing are in metres in
    EPSG:3035, NaN when the dataset has no coordinates."""

    point_id: str
    label: int
    file: str
    easting_m: float
    northing_m: float


@dataclass(frozen=True)
class Problem:
    """Why one chip cannot be used; `file` is relative to the dataset's root, None when there is none."""

    point_id: str
    file: str | None
    kind: str
    message: str


@dataclass(frozen=True)
class Listing:
    """The labelled chips in the order of the table (folders: of the paths), the problems of the other chips, and the
    labels table that was used (relative to the root; None for folders)."""

    chips: tuple[ChipFile, ...]
    problems: tuple[Problem, ...]
    table: str | None


@dataclass(frozen=True)
class _Row:
    """What the labels table (or the folder) says of one chip, as text; empty when it says nothing."""

    point_id: str
    label: str
    file: str = ""
    x: str = ""
    y: str = ""


def few(names: Iterable[object], shown: int = 8) -> str:
    """The first few names as text, and how many more there are."""
    texts = [str(name) for name in names]
    return ", ".join(texts[:shown]) + (f" and {len(texts) - shown} more" if len(texts) > shown else "")


def find_chips(root: Path, spec: DatasetSpec) -> Listing:
    """Find the chips below `root` and their labels, without opening a chip.

    The labels table is found wherever it lies; of identical tables the shallowest counts, and its folder is where
    chips are looked for first. Hidden files, macOS litter and byte-identical copies of chips are left out.

    Raises:
        StudyError: when the folder, the table, one of its columns or any chip at all is missing, or when two different
            tables lie equally deep. Problems of single chips are collected in the result instead.
    """
    files = _walk(root)
    candidates = [file for file in files if file.suffix.lower() in CHIP_SUFFIXES]
    if not candidates:
        raise StudyError(
            f"no chips were found below {root}",
            found=few(dict.fromkeys(file.parts[0] for file in files)) or "nothing, but for hidden files",
            expected=_expected_layout(spec.layout),
            remedy="check dataset.sources and dataset.layout, and that the download was unpacked whole",
        )
    if spec.layout.labels == "folders":
        sources = _by_id(sorted(_without_copies(root, candidates, spec)))
        rows = [_Row(point_id, plain_text(group[0].parent.name)) for point_id, group in sources.items()]
        return Listing(*_match(rows, sources, spec), table=None)
    table, nested = _choose_table(root, files, spec)
    rows = _read_table(root / table, spec.layout)
    below = [file for file in candidates if file.is_relative_to(table.parent)]
    if spec.layout.file_column is None:
        near = {row.point_id for row in rows} & {plain_text(file.stem) for file in below}
        sources = _by_id(_without_copies(root, below if near else candidates, spec), nested)
    else:
        sources = _by_row(rows, candidates, table.parent)
        listed = {file: point_id for point_id, group in sources.items() for file in group}
        for file in _without_copies(root, [*listed, *below], spec):
            if file not in listed and not any(file.is_relative_to(folder) for folder in nested):
                # The path, because its stem may be the id of another chip.
                sources[str(file)] = [file]
    return Listing(*_match(rows, sources, spec), table=str(table))


def _expected_layout(layout: LayoutSpec) -> str:
    """The layout in words, for error messages."""
    if layout.labels == "folders":
        return "<class code or name>/<chip>.tif at any depth (dataset.layout.labels: folders)"
    named = "<id>.tif, in class folders or not," if layout.file_column is None else f"the files of {layout.file_column}"
    return f"the table {layout.table} and {named} at any depth (dataset.layout.labels: table)"


def _walk(root: Path) -> list[PurePosixPath]:
    """All files below `root` and relative to it, the shallowest first, but for hidden and `__MACOSX` ones; linked
    folders are followed, each once."""
    if not root.is_dir():
        raise StudyError(f"the data folder {root} does not exist", remedy="check dataset.sources")
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


def _choose_table(root: Path, files: Files, spec: DatasetSpec) -> tuple[PurePosixPath, list[PurePosixPath]]:
    """The labels table, and the folders of its identical copies."""
    wanted = PurePosixPath(normalize("NFC", str(spec.layout.table))).parts
    tables = [file for file in files if PurePosixPath(normalize("NFC", str(file))).parts[-len(wanted) :] == wanted]
    if not tables:
        others = [file for file in files if file.suffix.lower() == ".csv"]
        raise StudyError(
            f"the labels table {spec.layout.table} is nowhere below {root}",
            found=f"other tables: {few(others)}" if others else "no .csv file",
            expected=_expected_layout(spec.layout),
            remedy="check dataset.layout.table, or set dataset.layout.labels: folders if the folders are the classes",
        )
    chosen, *rest = tables
    digest = sha256_of_file(root / chosen)
    copies = []
    for other in rest:
        if sha256_of_file(root / other) == digest:
            copies.append(other.parent)
        elif len(other.parts) == len(chosen.parts):
            raise StudyError(
                f"two different labels tables are called {spec.layout.table}",
                found=f"{chosen} and {other}, below {root}",
                expected="one labels table",
                remedy="remove one, or tell them apart by giving dataset.layout.table with its folder",
            )
        else:
            logger.warning("the labels table %s is used; %s differs from it and is ignored", chosen, other)
    return chosen, copies


def _read_table(path: Path, layout: LayoutSpec) -> list[_Row]:
    """Rows of the labels table in their order, all as stripped text."""
    import pandas as pd

    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise StudyError(f"the labels table {path} is no comma-separated UTF-8 table", found=str(error)) from error
    frame.columns = [plain_text(column) for column in frame.columns]
    named = (layout.id_column, layout.label_column, layout.file_column, layout.x_column, layout.y_column)
    missing = [name for name in named if name is not None and plain_text(name) not in frame.columns]
    if missing:
        raise StudyError(
            f"the labels table {path} has no column {', '.join(missing)}",
            found=f"columns {few(frame.columns)}",
            expected="the columns named under dataset.layout, separated by commas (not semicolons or tabs)",
            remedy="mend the table, or name its columns in dataset.layout",
        )
    columns = [
        [""] * len(frame) if name is None else [plain_text(text) for text in frame[plain_text(name)].fillna("")]
        for name in named
    ]
    if layout.id_column is None:
        columns[0] = [plain_text(PurePosixPath(file).stem) for file in columns[2]]
    return [_Row(*values) for values in zip(*columns, strict=True)]


def _without_copies(root: Path, files: Iterable[PurePosixPath], spec: DatasetSpec) -> list[PurePosixPath]:
    """`files` without those that repeat, byte by byte, an earlier file of the same name and class folder."""
    lookup = spec.class_lookup()
    twins: dict[tuple[int | None, str], list[PurePosixPath]] = defaultdict(list)
    kept = []
    for file in dict.fromkeys(files):
        same_name = twins[lookup.get(plain_text(file.parent.name)), file.name]
        if not any(filecmp.cmp(root / file, root / twin, shallow=False) for twin in same_name):
            same_name.append(file)
            kept.append(file)
    return kept


def _by_id(files: Files, nested: Files = ()) -> Sources:
    """Files by chip id; those beside a copy of the labels table count only where there is no other."""
    groups: Sources = defaultdict(list)
    for file in files:
        groups[plain_text(file.stem)].append(file)
    for name, group in groups.items():
        outside = [file for file in group if not any(file.is_relative_to(folder) for folder in nested)]
        groups[name] = outside or group
    return dict(groups)


def _by_row(rows: Sequence[_Row], candidates: Files, folder: PurePosixPath) -> Sources:
    """Files by chip id, where the table names them relative to its folder."""
    by_path = {normalize("NFC", str(file)): file for file in candidates}
    groups: Sources = {}
    for row in rows:
        file = by_path.get(posixpath.normpath(normalize("NFC", str(folder / row.file))))
        if file is not None and file not in groups.setdefault(row.point_id, []):
            groups[row.point_id].append(file)
    return groups


def _match(
    rows: Sequence[_Row], sources: Sources, spec: DatasetSpec
) -> tuple[tuple[ChipFile, ...], tuple[Problem, ...]]:
    """Bring rows, files and coordinates together: one chip or one problem per chip id."""
    groups: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        groups[row.point_id].append(row)
    owners = Counter(file for files in sources.values() for file in files)
    lookup = spec.class_lookup()
    chips: list[ChipFile] = []
    problems: list[Problem] = []
    for point_id, group in groups.items():
        files = sources.get(point_id, [])
        trouble = _trouble(group, files, any(owners[file] > 1 for file in files), spec)
        if trouble is None:
            trouble, place = _place(group[0], spec)
        if trouble is None:
            chips.append(ChipFile(point_id, lookup[group[0].label], str(files[0]), *place))
        else:
            problems.append(Problem(point_id, str(files[0]) if files else None, *trouble))
    for point_id, files in sources.items():
        if point_id not in groups:
            message = "has no row in the labels table; expected one"
            problems.append(Problem(point_id, str(files[0]), "file_without_label", message))
    return tuple(chips), tuple(problems)


def _trouble(group: Sequence[_Row], files: Files, shared: bool, spec: DatasetSpec) -> tuple[str, str] | None:
    """Kind and message of the first thing wrong with the rows and files of one chip id, None when all is well."""
    row, from_folder, lookup = group[0], spec.layout.labels == "folders", spec.class_lookup()
    if row.point_id == "":
        return "missing_id", f"{len(group)} row(s) of the labels table have no id; expected an id in every row"
    if len(files) > 1:
        return "duplicate_file", f"is in {len(files)} files ({few(files)}); expected one"
    if len(group) > 1:
        labels = ", ".join(dict.fromkeys(other.label or "none" for other in group))
        return "duplicate_label", f"is in {len(group)} rows of the labels table (label {labels}); expected one"
    if not files:
        return "label_without_file", f"has a label but no file; expected {row.file or row.point_id + '.tif'}"
    if shared:
        return "duplicate_file", "has the same file as another chip; expected a file of its own"
    if row.label == "":
        return "file_without_label", "has no label; expected a class code or name"
    if row.label not in lookup:
        codes = few([entry.code for entry in spec.classes], 12)
        what = "lies in folder" if from_folder else "has label"
        return "unknown_label", f"{what} {row.label!r}; expected one of the class codes {codes}, or a class name"
    folder = plain_text(files[0].parent.name)
    # Where the table names the files, folders may be numbered for other reasons than class.
    if spec.layout.file_column is None and lookup.get(folder, lookup[row.label]) != lookup[row.label]:
        return "folder_disagrees", f"lies in folder {folder!r}, but the labels table says {row.label!r}"
    return None


def _place(row: _Row, spec: DatasetSpec) -> tuple[tuple[str, str] | None, tuple[float, float]]:
    """Easting and northing in metres in EPSG:3035: from the coordinate columns when named, else from the LUCAS id,
    else NaN; before them kind and message of the trouble when a place is due but cannot be made out."""
    # GDAL's own errors come through `transform` as they are, and rasterio has no public name for them.
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import CRSError
    from rasterio.warp import transform

    nowhere, crs = (math.nan, math.nan), spec.layout.crs
    if spec.layout.x_column is not None and spec.layout.labels == "table":
        try:
            (easting,), (northing,) = transform(crs, f"EPSG:{EPSG}", [float(row.x)], [float(row.y)])
        except CRSError as error:
            raise StudyError(f"dataset.layout.crs {crs!r} is unknown", expected="such as EPSG:4326") from error
        except (ValueError, CPLE_BaseError):
            easting, northing = nowhere
        if math.isfinite(easting) and math.isfinite(northing):
            return None, (easting, northing)
        return ("bad_coordinates", f"has x {row.x!r}, y {row.y!r}; expected a place in {crs}"), nowhere
    place = parse_point_id(row.point_id) if spec.point_ids == "lucas" else nowhere
    if place is None:
        return ("not_a_lucas_id", "is no LUCAS id; expected eight digits on the 2 km grid, as in 45922254"), nowhere
    return None, place
