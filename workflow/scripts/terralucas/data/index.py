"""Read, check and index the chips of a dataset; later steps use only chips that were checked here."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rasterio.errors import NotGeoreferencedWarning
from tqdm import tqdm

from terralucas.data.chip_files import REMEDIES, ChipError, decode_chip
from terralucas.data.dataset import DN_PER_REFLECTANCE, PATCH_PX, DatasetSpec
from terralucas.data.discovery import ChipFile, Problem, find_chips, join_first
from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_json, write_json

logger = logging.getLogger(__name__)

# Clouds and snow can be brighter than 1; after atmospheric correction, water can be slightly below 0.
REFLECTANCE_RANGE = (-0.2, 2.0)
MAX_SHARE_OUTSIDE = 0.01
PROBLEMS_SHOWN = 20

# The index has one row per chip. Each entry: column, type, meaning. Increase the version when a meaning changes.
INDEX_VERSION = "1"
INDEX_COLUMNS = (
    ("point_id", pa.string(), "id of the chip; the LUCAS Point_ID where there is one"),
    ("label", pa.int64(), "class index, 0-based, in the order of dataset.classes"),
    ("class_code", pa.string(), "class code as in the dataset"),
    ("class_name", pa.string(), "class name when the chips were indexed"),
    ("file", pa.string(), "path relative to the root of the dataset"),
    ("easting_m", pa.float64(), "easting of the point in EPSG:3035, metres; NaN when unknown"),
    ("northing_m", pa.float64(), "northing of the point in EPSG:3035, metres; NaN when unknown"),
    ("height", pa.int64(), "rows, pixels"),
    ("width", pa.int64(), "columns, pixels"),
    ("nodata_fraction", pa.float64(), "share of missing values over all bands and pixels"),
    ("sha256", pa.string(), "SHA-256 of the file's bytes"),
    ("valid_pixels", pa.list_(pa.int64()), "per band: number of values that are not missing"),
    ("band_mean", pa.list_(pa.float64()), "per band: mean reflectance over the valid pixels"),
    ("band_m2", pa.list_(pa.float64()), "per band: sum of squared deviations from band_mean over the valid pixels"),
)
INDEX_SCHEMA = pa.schema(
    [pa.field(name, kind, metadata={"description": text}) for name, kind, text in INDEX_COLUMNS],
    metadata={"terralucas_index_version": INDEX_VERSION},
)


def index_chips(
    root: Path, spec: DatasetSpec, *, min_chips_per_class: int, threads: int, progress: bool
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Find, open and check every chip below `root`.

    Args:
        root: folder of the dataset.
        spec: description of the dataset, and whether invalid chips stop the study or are dropped.
        min_chips_per_class: number of chips that the split needs in each class.
        threads: number of chips that are read at the same time; it decides how much memory is used.
        progress: show a progress bar on standard error.

    Returns:
        The index (`INDEX_COLUMNS`; one row per valid chip, in the order of the labels table) and a report for JSON.

    Raises:
        StudyError: no chip is found, a chip is invalid (`on_invalid: error`), more than half of the chips are invalid
            (`drop`), or a class has too few valid chips.
    """
    listing = find_chips(Path(root), spec)
    problems = list(listing.problems)
    rows: list[dict[str, Any]] = []
    for outcome in _inspect_all(Path(root), listing.chips, spec, threads, progress):
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            rows.append(outcome)
    size = _chip_size(rows, spec)
    size_problems = [_check_size(row, size) for row in rows]
    rows = [row for row, problem in zip(rows, size_problems, strict=True) if problem is None]
    problems += [problem for problem in size_problems if problem is not None]
    _handle_invalid_chips(problems, len(rows), spec)
    counts = Counter(row["label"] for row in rows)
    _check_classes(counts, min_chips_per_class, len(problems), spec)
    report = {
        "dataset": spec.name,
        "labels_table": listing.table,
        "class_by_text": {text: spec.class_lookup().get(text) for text in sorted(listing.texts)},
        "bands": list(spec.bands),
        "unit": spec.unit,
        "chip_size_px": size,
        "n_found": len(rows) + len(problems),
        "n_valid": len(rows),
        "n_dropped": len(problems),
        "class_counts": {entry.code: counts[label] for label, entry in enumerate(spec.classes)},
        "problem_counts": dict(Counter(problem.kind for problem in problems).most_common()),
        "dropped": [asdict(problem) for problem in problems],
        "data_fingerprint": sha256_of_json([[row["point_id"], row["label"], row["sha256"]] for row in rows]),
    }
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA).to_pandas(), report


def write_index(table: pd.DataFrame, report: dict[str, Any], parquet_path: Path, json_path: Path) -> None:
    """Write the index and the report of `index_chips`; each file atomically."""
    with atomic_path(parquet_path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, schema=INDEX_SCHEMA, preserve_index=False), temporary)
    write_json(json_path, report)


def read_index(parquet_path: Path) -> pd.DataFrame:
    """Read an index that `write_index` wrote.

    Raises:
        StudyError: the file is not a chip index of this version.
    """
    try:
        table = pq.read_table(parquet_path)
    except pa.ArrowInvalid as error:
        raise StudyError(
            f"The chip index {parquet_path} is no Parquet file.",
            found=str(error),
            expected="the file that the rule index_chips wrote",
            remedy="delete the file and start the study again",
        ) from error
    version = (table.schema.metadata or {}).get(b"terralucas_index_version", b"none").decode()
    if version != INDEX_VERSION:
        raise StudyError(
            f"{parquet_path} is no chip index of this version.",
            found=f"version {version}",
            expected=f"version {INDEX_VERSION}",
            remedy="delete the file and start the study again",
        )
    return table.to_pandas()


def _inspect_all(
    root: Path, chips: Sequence[ChipFile], spec: DatasetSpec, threads: int, progress: bool
) -> Iterator[dict[str, Any] | Problem]:
    """Yield the result of `_inspect` for each chip, in order; the pixels are not kept in memory."""
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=threads) as pool:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # coordinates come from the table or the id
        outcomes = pool.map(partial(_inspect, root, spec), chips)
        yield from tqdm(outcomes, total=len(chips), desc="Checking chips", unit="chip", disable=not progress)


def _inspect(root: Path, spec: DatasetSpec, chip: ChipFile) -> dict[str, Any] | Problem:
    """Return the row of a chip in the index, or its problem. The file is read only once."""
    try:
        data = (root / chip.file).read_bytes()
        values = decode_chip(data, spec)
        valid = np.isfinite(values)
        _check_values(values, valid, spec)
    except OSError as error:
        return Problem(chip.point_id, chip.file, "unreadable", f"cannot be read ({error.strerror})")
    except ChipError as error:
        return Problem(chip.point_id, chip.file, error.kind, error.problem)
    mean = np.asarray(np.mean(values, axis=(1, 2), dtype=np.float64, where=valid))
    deviation = np.where(valid, values.astype(np.float64) - mean[:, None, None], 0.0)
    entry = spec.classes[chip.label]
    return asdict(chip) | {
        "class_code": entry.code,
        "class_name": entry.name,
        "height": values.shape[1],
        "width": values.shape[2],
        "nodata_fraction": 1.0 - float(valid.mean()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "valid_pixels": valid.sum(axis=(1, 2)).tolist(),
        "band_mean": mean.tolist(),
        "band_m2": np.square(deviation).sum(axis=(1, 2)).tolist(),
    }


def _check_values(values: np.ndarray, valid: np.ndarray, spec: DatasetSpec) -> None:
    """Raise a ChipError if a chip has no data, seems to have another unit than configured, or has only one value.

    Args:
        values: (bands, height, width) reflectance.
        valid: boolean array of the same shape, false for missing pixels.
        spec: description of the dataset.
    """
    filled = np.asarray(valid.any(axis=(1, 2)))
    empty = [band for band, has_data in zip(spec.bands, filled, strict=True) if not has_data]
    if empty:
        where = "any band" if len(empty) == len(spec.bands) else f"band {', '.join(empty)}"
        raise ChipError("missing_values", f"has no valid value in {where}; expected data in every band")
    present = values[valid]
    low, high = REFLECTANCE_RANGE
    outside = present[(present < low) | (present > high)]
    scale = DN_PER_REFLECTANCE if spec.unit == "dn" else 1
    if outside.size > MAX_SHARE_OUTSIDE * present.size:
        raise ChipError(
            "value_range",
            f"has {outside.size / present.size:.0%} of its values outside {low * scale:g}..{high * scale:g} "
            f"(median {np.median(present) * scale:g}); {_likely_cause(present, outside, scale)}",
        )
    # Reflectance read as DN would be 0..2 of 10,000: inside the range, but darker than any surface.
    magnitude = np.abs(present) * scale
    if spec.unit == "dn" and magnitude.max() > 0 and np.mean(magnitude > high) < MAX_SHARE_OUTSIDE:
        message = f"has values of {magnitude.max():g} at most; expected DN (reflectance x {DN_PER_REFLECTANCE:,})"
        raise ChipError("value_range", f"{message}; they look like reflectance: set dataset.unit: reflectance")
    if present.min() == present.max():
        raise ChipError("constant", f"has the value {present[0] * scale:g} everywhere; expected values that vary")


def _likely_cause(present: np.ndarray, outside: np.ndarray, scale: int) -> str:
    """Return the likely reason for values outside the range of the configured unit, for a message."""
    values, counts = np.unique(outside, return_counts=True)
    commonest = values[counts.argmax()] * scale
    if counts.max() > outside.size / 2 and (commonest < 0 or commonest >= np.iinfo(np.int16).max):
        value = f"{commonest:.9g}" if scale == 1 else f"{commonest:.0f}"  # nine digits identify any float32
        return f"{value} seems to mean missing data: set dataset.nodata: {value}"
    if scale == DN_PER_REFLECTANCE:
        return f"expected DN (reflectance x {DN_PER_REFLECTANCE:,})"
    if outside.size < present.size / 2:
        return "expected reflectance (0..1): the file may be damaged"
    if np.percentile(present, 99) > np.iinfo(np.uint8).max:
        return f"they look like DN (reflectance x {DN_PER_REFLECTANCE:,}): set dataset.unit: dn"
    return "they look like percent or 8-bit values; expected reflectance (0..1)"


def _chip_size(rows: Sequence[dict[str, Any]], spec: DatasetSpec) -> int | None:
    """Return the side that all chips must have: the configured one, or the most frequent side of square chips."""
    if spec.chip_size_px is not None:
        return spec.chip_size_px
    sides = Counter(row["height"] for row in rows if row["height"] == row["width"])
    return sides.most_common(1)[0][0] if sides else None


def _check_size(row: dict[str, Any], size: int | None) -> Problem | None:
    """Return the problem with the size of a chip, or None."""
    height, width = row["height"], row["width"]
    if height != width:
        expected = f"a square of {size} px" if size else "a square"
    elif height != size:
        expected = f"{size} x {size} px"
    elif height % PATCH_PX:
        expected = f"sides that are multiples of {PATCH_PX} px, the patch size of the backbone"
    else:
        return None
    return Problem(row["point_id"], row["file"], "size", f"is {height} x {width} px; expected {expected}")


def _handle_invalid_chips(problems: Sequence[Problem], n_valid: int, spec: DatasetSpec) -> None:
    """Raise a StudyError if there are invalid chips, unless `on_invalid` is `drop` and at most half are invalid."""
    if not problems:
        return
    n_found = len(problems) + n_valid
    is_majority_invalid = len(problems) > n_valid
    kinds = Counter(problem.kind for problem in problems)
    tally = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    if spec.on_invalid == "drop" and not is_majority_invalid:
        logger.warning("dropped %d of %d chips: %s", len(problems), n_found, tally)
        return
    remedies = "; ".join(REMEDIES[kind] for kind, _ in kinds.most_common(3))
    if not is_majority_invalid:
        remedies += "; or drop these chips with dataset.on_invalid: drop"
    shown = _select_examples(problems, kinds)
    lines = [f"{p.point_id or '(no id)'}{f' ({p.file})' if p.file else ''}: {p.kind}: {p.message}" for p in shown]
    if len(problems) > len(shown):
        lines.append(f"... and {len(problems) - len(shown)} more")
    raise StudyError(
        f"{len(problems)} of {n_found} chips of dataset {spec.name!r} cannot be used"
        + (": more than half, so the cause is probably the same for all of them" if is_majority_invalid else ""),
        found="\n    ".join([tally, *lines]),
        expected=f"chips with a label, {len(spec.bands)} bands ({', '.join(spec.bands)}) and values in {spec.unit}",
        remedy=remedies,
    )


def _select_examples(problems: Sequence[Problem], kinds: Counter[str]) -> list[Problem]:
    """Return about `PROBLEMS_SHOWN` problems at most, with at least one of each kind."""
    seen: Counter[str] = Counter()
    shown = []
    for problem in problems:
        seen[problem.kind] += 1
        if seen[problem.kind] <= max(1, PROBLEMS_SHOWN // len(kinds)):
            shown.append(problem)
    return shown


def _check_classes(counts: Counter[int], minimum: int, n_dropped: int, spec: DatasetSpec) -> None:
    """Raise a StudyError if a class has fewer chips than the split needs."""
    short = [
        f"{entry.code} {entry.name}: {counts[label]}"
        for label, entry in enumerate(spec.classes)
        if counts[label] < max(1, minimum)
    ]
    if short:
        raise StudyError(
            f"The dataset {spec.name!r} has too few chips of {len(short)} class(es).",
            found=join_first(short, 12) + (f" (after {n_dropped} chips were dropped)" if n_dropped else ""),
            expected=f"at least {max(1, minimum)} chips of every class",
            remedy="add chips, use fewer folds (split.folds), or take the class out of dataset.classes and "
            "set dataset.on_invalid: drop, which leaves out its chips",
        )
