"""Reading, checking and indexing the chips of a dataset: nothing later meets a chip that was not checked here."""

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

from terralucas.data.chip_files import REMEDIES, ChipError, _decode
from terralucas.data.dataset import DN_PER_REFLECTANCE, DatasetSpec
from terralucas.data.discovery import ChipFile, Problem, few, find_chips
from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_json, write_json

logger = logging.getLogger(__name__)

# Bright clouds and snow exceed 1, atmospheric correction leaves water slightly below 0.
REFLECTANCE_RANGE = (-0.2, 2.0)
MAX_SHARE_OUTSIDE = 0.01
PROBLEMS_SHOWN = 20

# One row per chip: column, type, meaning. Raise the version when a column changes its meaning.
INDEX_VERSION = "1"
INDEX_COLUMNS = (
    ("point_id", pa.string(), "id of the chip; the LUCAS Point_ID where there is one"),
    ("label", pa.int64(), "class index, 0-based, in the order of dataset.classes"),
    ("class_code", pa.string(), "class code as in the dataset"),
    ("class_name", pa.string(), "class name"),
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
        root: the folder of the dataset.
        spec: what the chips must look like, and whether invalid ones stop the study or are dropped.
        min_chips_per_class: what the split needs.
        threads: chips that are read at the same time; memory grows with it, not with the number of chips.
        progress: show a progress bar on standard error.

    Returns:
        The index (`INDEX_COLUMNS`; one row per valid chip, in the order of the labels table) and a report for JSON.

    Raises:
        StudyError: when nothing is found, a chip is invalid (`on_invalid: error`), more than half are invalid
            (`drop`), or a class is left with too few chips.
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
    misfits = [_size_problem(row, size, spec) for row in rows]
    rows = [row for row, misfit in zip(rows, misfits, strict=True) if misfit is None]
    problems += [misfit for misfit in misfits if misfit is not None]
    _apply_policy(problems, len(rows), spec)
    counts = Counter(row["label"] for row in rows)
    _check_classes(counts, min_chips_per_class, len(problems), spec)
    report = {
        "dataset": spec.name,
        "labels_table": listing.table,
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
    """Write what `index_chips` returned; each file whole or not at all."""
    with atomic_path(parquet_path) as temporary:
        pq.write_table(pa.Table.from_pandas(table, schema=INDEX_SCHEMA, preserve_index=False), temporary)
    write_json(json_path, report)


def read_index(parquet_path: Path) -> pd.DataFrame:
    """Read the index that `write_index` wrote.

    Raises:
        StudyError: when the file is no chip index of this version.
    """
    try:
        table = pq.read_table(parquet_path)
    except pa.ArrowInvalid as error:
        raise StudyError(
            f"{parquet_path} is no Parquet file", found=str(error), remedy="remove it and rerun"
        ) from error
    version = (table.schema.metadata or {}).get(b"terralucas_index_version", b"none").decode()
    if version != INDEX_VERSION:
        raise StudyError(
            f"{parquet_path} is no chip index of this version",
            found=f"version {version}",
            expected=f"version {INDEX_VERSION}",
            remedy="remove it and rerun",
        )
    return table.to_pandas()


def _inspect_all(
    root: Path, chips: Sequence[ChipFile], spec: DatasetSpec, threads: int, progress: bool
) -> Iterator[dict[str, Any] | Problem]:
    """`_inspect` of each chip, in order; only its small result outlives the chip."""
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=threads) as pool:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # only pixel values are read
        outcomes = pool.map(partial(_inspect, root, spec), chips)
        yield from tqdm(outcomes, total=len(chips), desc="Checking chips", unit="chip", disable=not progress)


def _inspect(root: Path, spec: DatasetSpec, chip: ChipFile) -> dict[str, Any] | Problem:
    """The row of one chip in the index, or what is wrong with it. The file is read once."""
    try:
        data = (root / chip.file).read_bytes()
        values = _decode(data, spec)
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
    """Refuse chips without data, in another unit than declared, or of one value only.

    Args:
        values: (bands, height, width) reflectance.
        valid: of the same shape, false where data are missing.
    """
    known = np.asarray(valid.any(axis=(1, 2)))
    empty = [band for band, some in zip(spec.bands, known, strict=True) if not some]
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
    # In DN, values of reflectance would lie at 0..2 of 10,000: in range, but darker than any surface in all bands.
    magnitude = np.abs(present) * scale
    if spec.unit == "dn" and magnitude.max() > 0 and np.mean(magnitude > high) < MAX_SHARE_OUTSIDE:
        message = f"has values of {magnitude.max():g} at most; expected DN (reflectance x {DN_PER_REFLECTANCE:,})"
        raise ChipError("value_range", f"{message}; they look like reflectance: set dataset.unit: reflectance")
    if present.min() == present.max():
        raise ChipError("constant", f"has the value {present[0] * scale:g} everywhere; expected values that vary")


def _likely_cause(present: np.ndarray, outside: np.ndarray, scale: int) -> str:
    """Why values would lie outside the range of the declared unit, in words."""
    values, counts = np.unique(outside, return_counts=True)
    commonest = values[counts.argmax()] * scale
    if counts.max() > outside.size / 2 and (commonest < 0 or commonest >= np.iinfo(np.int16).max):
        mark = f"{commonest:.9g}" if scale == 1 else f"{commonest:.0f}"  # nine digits tell any two float32 apart
        return f"{mark} looks like a mark for missing data: set dataset.nodata: {mark}"
    if scale == DN_PER_REFLECTANCE:
        return f"expected DN (reflectance x {DN_PER_REFLECTANCE:,})"
    if outside.size < present.size / 2:
        return "expected reflectance (0..1): the file may be damaged"
    if np.percentile(present, 99) > np.iinfo(np.uint8).max:
        return f"they look like DN (reflectance x {DN_PER_REFLECTANCE:,}): set dataset.unit: dn"
    return "they look like percent or 8-bit values; expected reflectance (0..1)"


def _chip_size(rows: Sequence[dict[str, Any]], spec: DatasetSpec) -> int | None:
    """The side all chips must have: as configured, else the one most square chips have; None without any."""
    if spec.chip_size_px is not None:
        return spec.chip_size_px
    sides = Counter(row["height"] for row in rows if row["height"] == row["width"])
    return sides.most_common(1)[0][0] if sides else None


def _size_problem(row: dict[str, Any], size: int | None, spec: DatasetSpec) -> Problem | None:
    """What is wrong with the size of a chip, if anything."""
    height, width, patch = row["height"], row["width"], spec.patch_size_px
    if height != width:
        expected = f"a square of {size} px" if size else "a square"
    elif height != size:
        expected = f"{size} x {size} px"
    elif height % patch:
        expected = f"sides that are multiples of {patch} px, the patch size of the backbone"
    else:
        return None
    return Problem(row["point_id"], row["file"], "size", f"is {height} x {width} px; expected {expected}")


def _apply_policy(problems: Sequence[Problem], n_valid: int, spec: DatasetSpec) -> None:
    """Stop on invalid chips as `on_invalid` says; dropping more than half of a dataset is never what is meant."""
    if not problems:
        return
    n_found = len(problems) + n_valid
    systematic = len(problems) > n_valid
    kinds = Counter(problem.kind for problem in problems)
    tally = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    if spec.on_invalid == "drop" and not systematic:
        logger.warning("dropped %d of %d chips: %s", len(problems), n_found, tally)
        return
    remedies = "; ".join(REMEDIES[kind] for kind, _ in kinds.most_common(3))
    if not systematic:
        remedies += "; or leave these chips out with dataset.on_invalid: drop"
    shown = _sample(problems, kinds)
    lines = [f"{p.point_id or '(no id)'}{f' ({p.file})' if p.file else ''}: {p.kind}: {p.message}" for p in shown]
    if len(problems) > len(shown):
        lines.append(f"... and {len(problems) - len(shown)} more")
    raise StudyError(
        f"{len(problems)} of {n_found} chips of dataset {spec.name!r} cannot be used"
        + (": more than half, so something is wrong with all of them" if systematic else ""),
        found="\n    ".join([tally, *lines]),
        expected=f"chips with a label, {len(spec.bands)} bands ({', '.join(spec.bands)}) and values in {spec.unit}",
        remedy=remedies,
    )


def _sample(problems: Sequence[Problem], kinds: Counter[str]) -> list[Problem]:
    """At most `PROBLEMS_SHOWN` problems, some of every kind."""
    seen: Counter[str] = Counter()
    shown = []
    for problem in problems:
        seen[problem.kind] += 1
        if seen[problem.kind] <= max(1, PROBLEMS_SHOWN // len(kinds)):
            shown.append(problem)
    return shown


def _check_classes(counts: Counter[int], minimum: int, n_dropped: int, spec: DatasetSpec) -> None:
    """Every class needs chips, and as many as the split needs."""
    short = [
        f"{entry.code} {entry.name}: {counts[label]}"
        for label, entry in enumerate(spec.classes)
        if counts[label] < max(1, minimum)
    ]
    if short:
        raise StudyError(
            f"dataset {spec.name!r} has too few chips of {len(short)} class(es)",
            found=few(short, 12) + (f" (after {n_dropped} chips were dropped)" if n_dropped else ""),
            expected=f"at least {max(1, minimum)} chips of every class",
            remedy="add chips, take the class out of dataset.classes, or let the split ask for fewer folds",
        )
