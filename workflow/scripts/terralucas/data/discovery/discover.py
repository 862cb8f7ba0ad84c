"""Find the chips of a dataset on disk, with their labels and coordinates.

Two layouts are supported: the labels are in a CSV table, or the name of a chip's folder is its label. Chips are not
opened here; `terralucas.data.indexing.index` reads and checks them.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from unicodedata import normalize

from terralucas.data.chip_problems import ChipError
from terralucas.data.dataset import DatasetSpec, LayoutSpec, normalise_name
from terralucas.data.discovery.folders import CHIP_SUFFIXES, Tree, is_named, walk
from terralucas.data.discovery.label_tables import TABLE_SUFFIXES, Row, read_table, refuse_spreadsheet_ids
from terralucas.data.discovery.places import has_columns, is_missing, locate
from terralucas.data.rasters.side_files import mask_files, metadata_file, reduce_metadata
from terralucas.errors import StudyError, printable, told_apart
from terralucas.file_kinds import TIFF, find_kind
from terralucas.files import real_path, sha256_of_file

logger = logging.getLogger(__name__)

# Other files that may be chips: errors and data/report.json name them.
_OTHER_IMAGES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jp2",
    ".npy",
    ".npz",
    ".nc",
    ".h5",
    ".hdf",
    ".hdf5",
    ".zarr",
    ".vrt",
    ".img",
    ".gtiff",
    ".geotiff",
    ".gtif",
    ".tf8",
    ".cog",
    ".tif_",
    ".tif~",
    ".bil",
    ".dat",
    ".ecw",
    ".jxl",
    ".webp",
    ".safe",
}
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz"}
# Masks and overviews are TIFF files too.
_BESIDE_CHIPS = {".msk", ".ovr", ".xml"}
# So many first bytes tell a TIFF file.
_KIND_BYTES = 4
# A number that counts chips, with a word before it or not: it says nothing outside its folder.
_COUNTER = re.compile(r"\D*[0-9]{1,6}")
# The beginning of a file that mostly tells it from others.
_HEAD_BYTES = 2**16

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
    """The reason why a chip cannot be used.

    Attributes:
        point_id: id of the chip.
        file: its file, relative to the root of the dataset, or the first of several; None without one.
        kind: key of `REMEDIES`.
        message: what was found and expected.
        n_chips: how many chips it leaves out: files of one id, or rows without an id.
        has_row: whether the labels table has a row for it; with class folders, false only for what is no chip file.
    """

    point_id: str
    file: str | None
    kind: str
    message: str
    n_chips: int = 1
    has_row: bool = True


class Reason(NamedTuple):
    """Why a chip cannot be used: a key of `REMEDIES`, and a message that follows the name of the chip."""

    kind: str
    message: str


Broken = dict[str, tuple[PurePosixPath, Reason]]


@dataclass(frozen=True)
class Listing:
    """The chips that were found.

    Attributes:
        chips: labelled chips in the order of the table, or of their paths if folders are the labels.
        problems: problems of the other chips.
        table: path of the labels table relative to the root; None if folders are the labels.
        texts: labels of the table, and names of folders that contain chips: all that was looked up among the classes.
        left_out: number of other images and archives, which are not read, by their suffix.
    """

    chips: tuple[ChipFile, ...]
    problems: tuple[Problem, ...]
    table: str | None
    texts: frozenset[str]
    left_out: dict[str, int]


def join_first(names: Iterable[object], shown: int = 8) -> str:
    """Return the first names as text, so that they can be told apart, followed by the number of the others."""
    texts = [str(name) for name in names]
    return ", ".join(told_apart(texts[:shown])) + (f" and {len(texts) - shown} more" if len(texts) > shown else "")


def find_chips(root: Path, spec: DatasetSpec) -> Listing:
    """Find the chips below `root` and their labels, without opening a chip.

    The labels table may be in any folder. If there are identical tables, the one in the fewest folders is used, and
    chips are searched in its folder first. Hidden files, macOS metadata and identical copies of chips are ignored.

    Raises:
        StudyError: the folder, the labels table, one of its columns or all chips are missing, a folder cannot be read,
            or there are two different tables. Problems of single chips are returned and not raised.
    """
    tree = walk(root)
    tree.require_readable(root)
    candidates, unusable = select_chips(tree)
    if not candidates and not unusable:
        raise _no_chips_error(root, tree, spec)
    left_out = count_left_out(root, tree)
    folders = frozenset(normalise_name(file.parent.name) for file in candidates)
    if spec.layout.labels == "folders":
        sources = _group_by_folder(root, candidates, spec)
        rows = [Row(point_id, normalise_name(group[0].parent.name)) for point_id, group in sources.items()]
        matched = _match_rows_and_files(rows, sources, _by_stem(unusable), spec, {})
        return Listing(*matched, table=None, texts=folders, left_out=left_out)
    table, nested = _find_table(root, tree, spec)
    rows = read_table(root / table, spec.layout)
    below = [file for file in candidates if file.is_relative_to(table.parent)]
    stems = {normalise_name(file.stem) for file in (*candidates, *unusable)}
    refuse_spreadsheet_ids(root / table, rows, stems, spec.layout)
    if spec.layout.file_column is None:
        ids_below = {row.point_id for row in rows} & {normalise_name(file.stem) for file in below}
        sources = _group_by_id(_drop_copies(root, below if ids_below else candidates, spec), nested)
        broken = _by_stem(unusable)
    else:
        sources = _group_by_row(root, rows, candidates, table.parent)
        listed = {file: point_id for point_id, group in sources.items() for file in group}
        for file in _drop_copies(root, [*listed, *below], spec):
            if file not in listed and not any(file.is_relative_to(folder) for folder in nested):
                # Use the path as its id, because its file name may be the id of another chip.
                sources[str(file)] = [file]
        named = {
            file: point_id for point_id, (file, *_) in _group_by_row(root, rows, [*unusable], table.parent).items()
        }
        broken = {named.get(file, str(file)): (file, reason) for file, reason in unusable.items()}
    texts = folders | {row.label for row in rows}
    meant = _guess_files(rows, sources, candidates, table.parent)
    matched = _match_rows_and_files(rows, sources, broken, spec, meant)
    return Listing(*matched, table=printable(str(table)), texts=texts, left_out=left_out)


def select_chips(tree: Tree) -> tuple[list[PurePosixPath], dict[PurePosixPath, Reason]]:
    """Return the files that are chips by their suffix, and the reasons why entries with this suffix are none."""
    unusable = {
        path: Reason("not_a_file", f"{text}; expected a file")
        for path, text in tree.others.items()
        if path.suffix.lower() in CHIP_SUFFIXES
    }
    above_chips = {folder for file in tree.files if file.suffix.lower() in CHIP_SUFFIXES for folder in file.parents}
    unusable |= {
        folder: Reason("not_a_file", "is a folder; expected a file")
        for folder in tree.folders
        if folder.suffix.lower() in CHIP_SUFFIXES and folder not in above_chips
    }
    chips = []
    for file in tree.files:
        if file.suffix.lower() not in CHIP_SUFFIXES:
            continue
        if _is_utf8(file):
            chips.append(file)
        else:
            unusable[file] = Reason(
                "bad_name", f"has the name {printable(str(file))}, which is not UTF-8; expected UTF-8"
            )
    return chips, unusable


def count_left_out(root: Path, tree: Tree) -> dict[str, int]:
    """Return the number of other images and archives, which are not read, by their suffix, and log it.

    An archive with the name of a folder is the one that the folder was unpacked from, and does not count. A TIFF file
    that has another suffix, or none, is told by its first bytes.
    """
    names = {folder.name for folder in tree.folders}
    # An array of Zarr is a folder.
    known = [
        path
        for path in (*tree.files, *tree.folders)
        if path.suffix.lower() in _OTHER_IMAGES or (path.suffix.lower() in _ARCHIVES and not _is_unpacked(path, names))
    ]
    named = {*CHIP_SUFFIXES, *_OTHER_IMAGES, *_ARCHIVES, *_BESIDE_CHIPS}
    renamed = [file for file in tree.files if file.suffix.lower() not in named and _is_tiff(root / file)]
    left_out = dict(sorted(Counter(path.suffix.lower() or "no suffix" for path in (*known, *renamed)).items()))
    if left_out:
        logger.warning("left out %s", describe_left_out(left_out))
    return left_out


def _is_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            kind = find_kind(file.read(_KIND_BYTES))
    except OSError:
        return False
    return kind is not None and kind.name == TIFF


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """Return which files are no chips, as a part of a sentence.

    Args:
        left_out: result of `count_left_out`.
    """
    counts = ", ".join(f"{n} x {suffix}" for suffix, n in left_out.items())
    return f"{counts}: only {' and '.join(CHIP_SUFFIXES)} are read as chips"


def _is_unpacked(archive: PurePosixPath, folders: Collection[str]) -> bool:
    return {archive.stem, archive.with_suffix("").stem} & {*folders} != set()


def _is_utf8(path: PurePosixPath) -> bool:
    # Python keeps the bytes of other names as characters that UTF-8 cannot express.
    return not re.search("[\ud800-\udfff]", str(path))


def _no_chips_error(root: Path, tree: Tree, spec: DatasetSpec) -> StudyError:
    """Return the error for a folder without chips, which says what is there instead."""
    found, remedy = describe_no_chips(tree, "name the archive itself as a source (type: archive), or unpack it")
    return StudyError(
        f"No chips were found below {root}.",
        found=found,
        expected=_expected_layout(spec.layout),
        remedy=remedy or "check dataset.sources and dataset.layout, and that the download was unpacked completely",
    )


def describe_no_chips(tree: Tree, about_archives: str) -> tuple[str, str | None]:
    """Describe what is in a folder without chips, and what to do about other images or archives; None without any."""
    counts = Counter(file.suffix.lower() or "no suffix" for file in tree.files)
    names = join_first(dict.fromkeys(printable(file.parts[0]) for file in tree.files))
    kinds = join_first(f"{count} x {suffix}" for suffix, count in counts.most_common())
    found, remedy = f"{names} ({kinds})" if tree.files else "no files except hidden ones", None
    images = sorted(_OTHER_IMAGES & counts.keys())
    if images:
        remedy = (
            f"convert the chips from {', '.join(images)} to GeoTIFF, all bands of a chip in one file in the order of "
            "dataset.bands (rio convert, or rasterio for arrays)"
        )
    elif _ARCHIVES & counts.keys():
        remedy = about_archives
    return found, remedy


def _expected_layout(layout: LayoutSpec) -> str:
    """Return a description of the layout for error messages."""
    if layout.labels == "folders":
        return "<class code or name>/<chip>.tif at any depth (dataset.layout.labels: folders)"
    named = "<id>.tif, in class folders or not" if layout.file_column is None else "the files that it names"
    return f"below this folder, at any depth: the table {layout.table} and {named} (dataset.layout.labels: table)"


def _find_table(root: Path, tree: Tree, spec: DatasetSpec) -> tuple[PurePosixPath, list[PurePosixPath]]:
    """Return the path of the labels table, and the folders of its identical copies."""
    files = tree.files
    tables = [file for file in files if is_named(file, str(spec.layout.table))]
    if str(spec.layout.table).startswith("./"):
        tables = [file for file in tables if file == PurePosixPath(str(spec.layout.table))]
    unusable = {**tree.others, **dict.fromkeys(tree.folders, "is a folder")}
    named = {path: kind for path, kind in unusable.items() if is_named(path, str(spec.layout.table))}
    if not tables and named:
        raise StudyError(
            f"The labels table {spec.layout.table} below {root} is no file.",
            found="; ".join(f"{path} {kind}" for path, kind in named.items()),
            expected="a CSV file, or a link to one",
            remedy="restore what a link leads to, put the table in the place of this entry, or check "
            "dataset.layout.table",
        )
    if not tables:
        others = [file for file in files if file.suffix.lower() in TABLE_SUFFIXES]
        raise StudyError(
            f"The labels table {spec.layout.table} is nowhere below {root}.",
            found=f"other tables: {join_first(others)}" if others else "no table at all",
            expected=_expected_layout(spec.layout),
            remedy="check dataset.layout.table, or set dataset.layout.labels: folders if folder names are the classes",
        )
    chosen, *rest = tables
    digest = sha256_of_file(root / chosen)
    copies = []
    for other in rest:
        if sha256_of_file(root / other) == digest:
            copies.append(other.parent)
        else:
            raise StudyError(
                f"There are two different labels tables {spec.layout.table}.",
                found=f"{chosen} and {other}, below {root}",
                expected="one labels table, or copies of it",
                remedy="remove or rename one of them, or give dataset.layout.table with its folder (./ for that of the "
                "source itself)",
            )
    return chosen, copies


def _drop_copies(root: Path, files: Iterable[PurePosixPath], spec: DatasetSpec) -> list[PurePosixPath]:
    """Return `files` without identical copies of an earlier file with the same name and class folder."""
    lookup = spec.class_lookup()
    by_name: dict[tuple[int | None, str], list[PurePosixPath]] = defaultdict(list)
    unique = list(dict.fromkeys(files))
    for file in unique:
        by_name[lookup.get(normalise_name(file.parent.name)), file.name].append(file)
    copies: set[PurePosixPath] = set()
    for same_name in by_name.values():
        kept: set[object] = set()
        for file, content in _contents(root, same_name).items():
            if content in kept:
                copies.add(file)
            kept.add(content)
    return [file for file in unique if file not in copies]


def _contents(root: Path, files: Sequence[PurePosixPath]) -> dict[PurePosixPath, object]:
    """Return for each file something that is equal for files with the same bytes.

    Each file is read at most once, and only its beginning where that differs from the others: a hundred thousand chips
    may have one name, each in a folder of its own. A file that cannot be read equals none, and the index says why.
    """
    if len(files) < 2:
        return {file: file for file in files}
    heads = {file: _digest(root / file, _HEAD_BYTES) for file in files}
    counts = Counter(heads.values())
    # A file of one beginning has this for its content.
    return {file: head if counts[head] == 1 else _digest(root / file, None) for file, head in heads.items()}


def _digest(path: Path, most: int | None) -> object:
    """Return the size of a file and the checksum of its first bytes, or of all, with those of the files beside it.

    A mask and metadata beside a chip are a part of it, but for statistics that viewers add. Without access, the result
    is an object of its own.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            own = hashlib.file_digest(file, "sha256") if most is None else hashlib.sha256(file.read(most))
        beside = [part.read_bytes() if part.exists() else None for part in (metadata_file(path), *mask_files(path))]
    except OSError:
        return object()
    if beside[0] is not None:
        # What is no XML is a problem that the index tells.
        with contextlib.suppress(ChipError):
            beside[0] = reduce_metadata(beside[0])
    return (size, own.digest(), *(None if part is None else hashlib.sha256(part).digest() for part in beside))


def _group_by_folder(root: Path, candidates: Files, spec: DatasetSpec) -> Sources:
    """Return the files by chip id, if folders are the labels.

    The id is the name of the file without its suffix. If the chips of each class are counted (1.tif, 2.tif, ...), so
    that one number occurs in several classes, the id of counted chips begins with their class.
    """
    files = sorted(_drop_copies(root, candidates, spec))
    groups = _group_by_id(files)
    if spec.point_ids == "lucas":
        return groups
    lookup = spec.class_lookup()

    def class_of(file: PurePosixPath) -> str:
        folder = normalise_name(file.parent.name)
        return spec.classes[lookup[folder]].code if folder in lookup else folder

    contents = {name: _contents(root, group) for name, group in groups.items() if _COUNTER.fullmatch(name)}
    is_counted = any(
        # Equal files in two classes are one chip with two labels.
        len(set(map(class_of, group))) > 1 and list(contents[name].values()).count(contents[name][group[0]]) == 1
        for name, group in groups.items()
        if name in contents
    )
    if not is_counted:
        return groups
    renamed: Sources = {}
    for name, group in groups.items():
        counts = Counter(contents.get(name, {}).values())
        for file in group:
            is_counter = name in contents and counts[contents[name][file]] == 1
            renamed.setdefault(f"{class_of(file)}/{name}" if is_counter else name, []).append(file)
    return dict(sorted(renamed.items(), key=lambda item: item[1][0]))


def _by_stem(unusable: dict[PurePosixPath, Reason]) -> Broken:
    """Return entries that cannot be used, with their reasons, by chip id."""
    found: Broken = {}
    for path, reason in unusable.items():
        name = normalise_name(path.stem)
        found[str(path) if name in found else name] = (path, reason)
    return found


def _group_by_id(files: Files, nested: Files = ()) -> Sources:
    """Return the files by chip id; files next to a copy of the labels table count only if there is no other file."""
    groups: Sources = defaultdict(list)
    for file in files:
        groups[normalise_name(file.stem)].append(file)
    for name, group in groups.items():
        outside = [file for file in group if not any(file.is_relative_to(folder) for folder in nested)]
        groups[name] = outside or group
    return dict(groups)


def _group_by_row(root: Path, rows: Sequence[Row], candidates: Files, folder: PurePosixPath) -> Sources:
    """Return the files by chip id, if the table names the files: relative to its folder, or as absolute paths."""
    by_path = {normalize("NFC", str(file)): file for file in candidates}
    if any(row.file.startswith("/") for row in rows):
        # Absolute paths may lead through other links than the path of the source.
        by_path |= {normalize("NFC", str(real_path(str(root / file)))): file for file in candidates}
    groups: Sources = {}
    for row in rows:
        named = str(real_path(row.file)) if row.file.startswith("/") else posixpath.normpath(str(folder / row.file))
        file = by_path.get(normalize("NFC", named))
        if file is not None and file not in groups.setdefault(row.point_id, []):
            groups[row.point_id].append(file)
    return groups


def _guess_files(rows: Sequence[Row], sources: Sources, candidates: Files, folder: PurePosixPath) -> dict[str, str]:
    """Return for the ids of rows without a file which file is probably meant, relative to the table.

    It is the only one of that name, whatever the folders before it, the slashes between them, and the suffix.
    """
    by_stem: dict[str, set[PurePosixPath]] = defaultdict(set)
    for file in candidates:
        by_stem[normalize("NFC", file.stem).lower()].add(file)
    meant = {}
    for row in rows:
        if row.point_id in sources:
            continue
        written = PurePosixPath(normalize("NFC", (row.file or row.point_id).replace("\\", "/")))
        stem = written.stem if written.suffix.lower() in CHIP_SUFFIXES else written.name
        found = by_stem.get(stem.lower(), set())
        found = {file for file in found if file.parent.name == written.parent.name} or found
        if len(found) == 1:
            meant[row.point_id] = posixpath.relpath(str(next(iter(found))), str(folder))
    return meant


def _match_rows_and_files(
    rows: Sequence[Row], sources: Sources, broken: Broken, spec: DatasetSpec, meant: Mapping[str, str]
) -> tuple[tuple[ChipFile, ...], tuple[Problem, ...]]:
    """Combine rows, files and coordinates: return one chip or one problem for each chip id.

    `broken` has entries that cannot be used, by the id that the chip would have; `meant` is that of `_guess_files`.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.point_id].append(row)
    id_counts = Counter(file for files in sources.values() for file in files)
    lookup = spec.class_lookup()
    chips: list[ChipFile] = []
    problems = [
        Problem(printable(name), printable(str(path)), *reason, has_row=name in groups)
        for name, (path, reason) in broken.items()
    ]
    for point_id, group in groups.items():
        files = sources.get(point_id, [])
        if not files and point_id in broken:
            continue
        is_shared = any(id_counts[file] > 1 for file in files)
        problem = _find_problem(group, files, is_shared, spec, meant.get(point_id))
        if problem is None:
            try:
                place = locate(point_id, group[0].x, group[0].y, spec)
            except ChipError as error:
                problem = Reason(error.kind, error.problem)
        if problem is None:
            chips.append(ChipFile(point_id, lookup[group[0].label], str(files[0]), *place))
        else:
            n_chips = max(1, len(files)) if point_id else len(group)
            problems.append(Problem(point_id, str(files[0]) if files else None, *problem, n_chips=n_chips))
    if spec.point_ids == "lucas" and has_columns(spec):
        unplaced = sum(is_missing(group[0].x, group[0].y, spec.layout.crs) for group in groups.values())
        if unplaced:
            logger.warning("%d chips have no coordinates in the labels table; those of their ids are used", unplaced)
    for point_id, files in sources.items():
        if point_id not in groups:
            reason = Reason("file_without_label", "has no row in the labels table; expected one")
            problems.append(Problem(point_id, str(files[0]), *reason, n_chips=len(files), has_row=False))
    return tuple(chips), tuple(problems)


def _find_problem(
    group: Sequence[Row], files: Files, shared: bool, spec: DatasetSpec, meant: str | None
) -> Reason | None:
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
        return Reason("label_without_file", _describe_missing_file(row, meant))
    if shared:
        return Reason("duplicate_file", "has the same file as another chip; expected a separate file for each chip")
    if row.label == "":
        return Reason("file_without_label", "has no label; expected a class code or name")
    if row.label not in lookup:
        codes = join_first([entry.code for entry in spec.classes], 12)
        situation = "is in folder" if from_folder else "has label"
        alike = next((name for name in lookup if name.casefold() == row.label.casefold()), None)
        hint = f"; did you mean {alike!r}?" if alike else ""
        return Reason(
            "unknown_label",
            f"{situation} {row.label!r}; expected one of the class codes {codes}, or a class name{hint}",
        )
    folder = normalise_name(files[0].parent.name)
    above = [normalise_name(name) for name in files[0].parent.parent.parts] if from_folder else []
    if other := next((name for name in above if lookup.get(name, lookup[row.label]) != lookup[row.label]), None):
        return Reason("folder_disagrees", f"is in folder {folder!r}, a class, in folder {other!r}, another class")
    # If the table names the files, the names of folders need not be classes.
    if spec.layout.file_column is None and lookup.get(folder, lookup[row.label]) != lookup[row.label]:
        return Reason("folder_disagrees", f"is in folder {folder!r}, but the labels table says {row.label!r}")
    return None


def _describe_missing_file(row: Row, meant: str | None) -> str:
    """Return the message for a row whose file is not there, which names the file that is probably meant."""
    hint = "" if meant is None else f": is {meant} meant?"
    if not row.file:
        return f"has a label but no file; expected {row.point_id}.tif{hint}"
    return (
        f"has a label but no file {row.file} in the folder of the chips; expected a path relative to the table, with / "
        f"between folders and with the suffix{hint}"
    )
