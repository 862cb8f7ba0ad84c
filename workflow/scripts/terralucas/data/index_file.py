"""Write and read the index of the chips, chips.parquet; no other module knows this file format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from terralucas.errors import StudyError
from terralucas.files import atomic_path, write_json
from terralucas.stored import read_parquet

if TYPE_CHECKING:
    import pandas as pd

# The index has one row per chip. Each entry: column, type, meaning. Increase the version when a meaning changes.
INDEX_VERSION = "1"
INDEX_COLUMNS = (
    ("point_id", pa.string(), "id of the chip; the LUCAS Point_ID where there is one"),
    ("label", pa.int64(), "class index, 0-based, in the order of dataset.classes"),
    ("class_code", pa.string(), "class code as in the dataset"),
    ("class_name", pa.string(), "class name when the chips were indexed"),
    ("file", pa.string(), "path relative to the root of the dataset"),
    (
        "easting_m",
        pa.float64(),
        "easting of point or centre of the chip in EPSG:3035, metres; NaN when unknown",
    ),
    (
        "northing_m",
        pa.float64(),
        "northing of point or centre of the chip in EPSG:3035, metres; NaN when unknown",
    ),
    ("height", pa.int64(), "rows, pixels"),
    ("width", pa.int64(), "columns, pixels"),
    ("nodata_fraction", pa.float64(), "share of missing values over all bands and pixels"),
    ("sha256", pa.string(), "SHA-256 of the file's bytes; with a mask or metadata beside the file, of all of them"),
    ("valid_pixels", pa.list_(pa.int64()), "per band: number of values that are not missing"),
    ("band_mean", pa.list_(pa.float64()), "per band: mean reflectance over the valid pixels"),
    ("band_m2", pa.list_(pa.float64()), "per band: sum of squared deviations from band_mean over the valid pixels"),
)
INDEX_SCHEMA = pa.schema(
    [pa.field(name, kind, metadata={"description": text}) for name, kind, text in INDEX_COLUMNS],
    metadata={"terralucas_index_version": INDEX_VERSION},
)


def write_index(table: pd.DataFrame, report: dict[str, Any], parquet_path: Path, json_path: Path) -> None:
    """Write the index and the report of `index_chips`; each file atomically."""
    import pyarrow.parquet as pq

    with atomic_path(parquet_path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, schema=INDEX_SCHEMA, preserve_index=False), temporary)
    write_json(json_path, report)


def read_index_table(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns of the index that `write_index` wrote.

    Args:
        path: chips.parquet.
        columns: names of columns; None for all.

    Raises:
        StudyError: the file is damaged, has no chips, or is not a chip index of this version.
    """
    table = read_parquet(path, columns or [name for name, _, _ in INDEX_COLUMNS])
    version = (table.schema.metadata or {}).get(b"terralucas_index_version", b"none").decode()
    if version != INDEX_VERSION or not len(table):
        raise StudyError(
            f"{path} is no chip index of this version.",
            found=f"version {version}, {len(table)} chips",
            expected=f"version {INDEX_VERSION}, with chips",
            remedy=f"delete {path} and start the study again, which indexes the chips again",
        )
    return table


def read_index(path: Path | str) -> pd.DataFrame:
    """Read all columns of the index; see `read_index_table`."""
    return read_index_table(path).to_pandas()


def require_classes(index: pd.DataFrame, classes: Sequence[Mapping[str, Any]], path: Path | str) -> None:
    """Check that the labels of the index are those of the classes, which would otherwise be shown under wrong names.

    Args:
        index: columns label and class_code of the index.
        classes: `dataset.classes` of the configuration.
        path: chips.parquet.

    Raises:
        StudyError: a label has another class.
    """
    indexed = index.drop_duplicates("label").sort_values("label")
    pairs = list(zip(indexed["label"], indexed["class_code"], strict=True))
    codes = [str(entry["code"]) for entry in classes]
    if any(label >= len(codes) or codes[label] != code for label, code in pairs):
        raise StudyError(
            f"The classes of the configuration are not those of {path}.",
            found=f"dataset.classes with the codes {', '.join(codes)}",
            expected=", ".join(f"{code} at place {label + 1}" for label, code in pairs),
            remedy=f"undo the change; or delete {path} and start the study again, which indexes the chips again",
        )
