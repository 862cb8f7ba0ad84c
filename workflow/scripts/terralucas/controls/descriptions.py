"""Describe each chip by a few numbers: the inputs of the controls that need no backbone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from terralucas.data.chips.chip_files import read_indexed_chip
from terralucas.data.dataset import DatasetSpec
from terralucas.errors import StudyError
from terralucas.files import atomic_path
from terralucas.stored import read_parquet

COLUMNS = ("band_mean", "band_std", "centre_pixel")


def describe_chips(root: Path, index: pd.DataFrame, spec: DatasetSpec, threads: int) -> pd.DataFrame:
    """Return mean, standard deviation and centre pixel of every band of every chip.

    Args:
        root: folder to which the files of the index are relative.
        index: index of the chips; mean and standard deviation come from its moments.
        spec: description of the dataset.
        threads: number of chips that are read at the same time.

    Returns:
        Table with point_id and, as lists with one reflectance for each band, band_mean and band_std over the valid
        pixels and centre_pixel (NaN if missing). The centre pixel is in row height // 2 and column width // 2. If the
        side is even, it is the lower right one of the four central pixels.

    Raises:
        StudyError: a chip no longer exists, or has changed since it was indexed.
    """

    def read_centre(file: str, sha256: str) -> list[float]:
        values = read_indexed_chip(root / file, sha256, spec)
        return values[:, values.shape[1] // 2, values.shape[2] // 2].tolist()

    with ThreadPoolExecutor(max_workers=threads) as pool:
        centres = list(pool.map(read_centre, index["file"], index["sha256"]))
    moments = (np.stack(index[name]) for name in ("band_m2", "valid_pixels"))
    deviations = np.sqrt(np.divide(*moments))
    columns = {
        "point_id": index["point_id"],
        "band_mean": index["band_mean"],
        "band_std": list(deviations),
        "centre_pixel": centres,
    }
    return pd.DataFrame(columns)


def write_descriptions(table: pd.DataFrame, path: Path) -> None:
    """Write the table of `describe_chips` as Parquet."""
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), temporary)


def read_descriptions(path: Path, point_ids: list[str]) -> dict[str, np.ndarray]:
    """Return the descriptions of the chips: for each of `COLUMNS`, an array (n, bands).

    Raises:
        StudyError: the table belongs to other chips.
    """
    table = read_parquet(path, ["point_id", *COLUMNS])
    if table["point_id"].to_pylist() != point_ids:
        raise StudyError(
            f"The descriptions {path} belong to other chips.",
            found=f"{table.num_rows} rows",
            expected=f"the {len(point_ids)} chips of the index, in its order",
            remedy="delete the file; it is computed again from the chips",
        )
    return {name: np.array(table[name].to_pylist(), dtype=np.float64) for name in COLUMNS}
