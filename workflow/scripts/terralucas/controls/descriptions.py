"""What a chip looks like in a few numbers: the inputs of the controls that need no backbone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from terralucas.data.chip_files import read_chip
from terralucas.data.dataset import DatasetSpec
from terralucas.errors import StudyError
from terralucas.files import atomic_path, read_unchanged

COLUMNS = ("band_mean", "band_std", "centre_pixel")


def describe_chips(root: Path, index: pd.DataFrame, spec: DatasetSpec, threads: int) -> pd.DataFrame:
    """Mean, standard deviation and centre pixel of every band of every chip.

    Args:
        root: folder the index's files are relative to.
        index: of the chips; mean and deviation come from its moments.
        spec: of the dataset.
        threads: chips that are read at the same time.

    Returns:
        point_id, and lists of one reflectance per band: band_mean and band_std over the valid pixels, and centre_pixel,
        NaN where it is missing: row height // 2 and column width // 2, of the four pixels that meet in the middle of an
        even side the lower right one.

    Raises:
        StudyError: a chip is gone or changed since it was indexed.
    """

    def centre(file: str, sha256: str) -> list[float]:
        values = read_chip(read_unchanged(root / file, sha256), spec)
        return values[:, values.shape[1] // 2, values.shape[2] // 2].tolist()

    with ThreadPoolExecutor(max_workers=threads) as pool:
        centres = list(pool.map(centre, index["file"], index["sha256"]))
    moments = (np.stack(index[name]) for name in ("band_m2", "valid_pixels"))
    deviations = np.sqrt(np.divide(*moments))
    return pd.DataFrame({
        "point_id": index["point_id"],
        "band_mean": index["band_mean"],
        "band_std": list(deviations),
        "centre_pixel": centres,
    })  # fmt: skip


def write_descriptions(table: pd.DataFrame, path: Path) -> None:
    """Write what `describe_chips` returned, as Parquet."""
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), temporary)


def read_descriptions(path: Path, point_ids: list[str]) -> dict[str, np.ndarray]:
    """(n, bands) array of each of `COLUMNS`.

    Raises:
        StudyError: the table is of other chips.
    """
    table = pq.read_table(path)
    if table["point_id"].to_pylist() != point_ids:
        raise StudyError(
            f"The descriptions {path} belong to other chips.",
            found=f"{table.num_rows} rows",
            expected=f"the {len(point_ids)} chips of the index, in its order",
            remedy="delete the file; it is made again from the chips",
        )
    return {name: np.array(table[name].to_pylist(), dtype=np.float64) for name in COLUMNS}
