"""Read, check and index the chips of a dataset; later steps use only chips that were checked here."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from rasterio import Env
from tqdm import tqdm

from terralucas.data.chip_problems import REMEDIES, ChipError
from terralucas.data.chips.chip_checks import (
    check_chip,
    find_equal_bands,
    find_other_level,
    hash_pixels,
    measure_darkest,
)
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip
from terralucas.data.chips.sketches import hash_spectra, sketch_squares
from terralucas.data.dataset import DatasetSpec, normalise_name
from terralucas.data.discovery.discover import ChipFile, Problem, describe_left_out, find_chips, join_first
from terralucas.data.discovery.places import check_georeference, find_ground, has_columns
from terralucas.data.index_file import INDEX_SCHEMA
from terralucas.data.indexing.band_order import measure_spectrum
from terralucas.data.indexing.checked_chip import CheckedChip
from terralucas.data.indexing.chip_comparison import compare_chips, describe_nodata, describe_saturated
from terralucas.data.indexing.chip_copies import describe_overlaps
from terralucas.data.indexing.class_traits import (
    Traits,
    describe_hazy_classes,
    describe_satellites,
    describe_smooth_classes,
    measure_traits,
    refuse_stretched_classes,
)
from terralucas.data.indexing.group_checks import (
    check_band_order,
    check_class_offsets,
    check_class_orders,
    check_class_scales,
    check_dataset_brightness,
    describe_bright,
    describe_bright_classes,
    describe_colours,
    describe_dropped,
    describe_missing,
    describe_same_places,
    refuse_faults_of_classes,
)
from terralucas.data.indexing.patterns import describe_alike, measure_pattern
from terralucas.data.indexing.pixel_sizes import check_pixel_size, describe_pixel_sizes
from terralucas.data.normalisation import measure_chip
from terralucas.data.rasters.band_names import BandNames
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json

logger = logging.getLogger(__name__)

PROBLEMS_SHOWN = 20


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
            (`drop`), two bands are copies, the pixels of most chips have another size on the ground than configured,
            the chips together are too dark for their unit, their bands have another order than configured, chips of a
            class have an offset, or a class has too few valid chips.
    """
    listing = find_chips(Path(root), spec)
    problems = list(listing.problems)
    checked: list[CheckedChip] = []
    for outcome in _inspect_all(Path(root), listing.chips, spec, threads, progress):
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            checked.append(outcome)
    if any(chip.other_level is not None for chip in checked):
        check_band_order(checked, spec)
        check_class_orders(checked, spec)
    chips, more_problems, size = compare_chips(checked, spec)
    problems += more_problems
    rows = [chip.row for chip in chips]
    _handle_invalid_chips(problems, len(rows), spec)
    refuse_faults_of_classes(problems, listing.chips, spec)
    scaling = _describe_scaling(chips)
    if len(scaling) > 1:
        logger.warning("the chips differ in their scale and offset tags: %s", scaling)
    counts = Counter(row["label"] for row in rows)
    _check_classes(counts, min_chips_per_class, problems, listing.left_out, spec)
    check_dataset_brightness(rows, spec)
    orders = check_band_order(chips, spec), check_class_orders(chips, spec)
    bright_classes = check_class_offsets(chips, spec)
    scales = check_class_scales(rows, spec)
    traits = _group_traits(chips)
    refuse_stretched_classes(traits, spec)
    pixel_sizes = describe_pixel_sizes([chip.ground for chip in chips])
    near_notices = (
        describe_overlaps(chips, spec),
        describe_same_places(rows, spec),
        describe_alike(rows, [chip.pattern for chip in chips], spec.pixel_size_m),
    )
    notices = (
        *orders,
        scales,
        describe_bright(chips, spec),
        describe_bright_classes(bright_classes),
        describe_hazy_classes(traits, spec),
        describe_smooth_classes(traits, spec),
        describe_satellites(_group_satellites(chips)),
        check_pixel_size(pixel_sizes, spec.pixel_size_m),
        describe_nodata(chips, spec),
        describe_saturated(chips, spec),
        *near_notices,
        describe_missing(chips),
        describe_colours(chips),
        describe_dropped(problems, listing.chips, spec),
        _describe_folders(rows, spec),
    )
    report = {
        "dataset": spec.name,
        "labels_table": listing.table,
        "class_by_text": {text: spec.class_lookup().get(text) for text in sorted(listing.texts)},
        "bands": list(spec.bands),
        "unit": spec.unit,
        "chip_size_px": size,
        "dtypes": dict(Counter(chip.dtype for chip in chips).most_common()),
        "left_out": listing.left_out,
        "scaling": scaling,
        "bright_classes": bright_classes,
        "satellites_of_numbers": sorted({satellite for chip in chips for satellite in chip.satellites_of_numbers}),
        "pixel_sizes": pixel_sizes,
        "has_near_chips": any(notice is not None for notice in near_notices),
        "places": _describe_places(rows, spec),
        "notices": [notice for notice in notices if notice is not None],
        "n_found": len(rows) + count_chips(problems),
        "n_valid": len(rows),
        "n_simulated": sum(chip.simulated for chip in chips),
        "n_dropped": count_chips(problems),
        "class_counts": {entry.code: counts[label] for label, entry in enumerate(spec.classes)},
        "problem_counts": dict(_count_kinds(problems).most_common()),
        "dropped": [asdict(problem) for problem in problems],
        "data_fingerprint": sha256_of_json([[row["point_id"], row["label"], row["sha256"]] for row in rows]),
    }
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA).to_pandas(), report


def _inspect_all(
    root: Path, chips: Sequence[ChipFile], spec: DatasetSpec, threads: int, progress: bool
) -> Iterator[CheckedChip | Problem]:
    """Yield the result of `_inspect` for each chip, in order; the pixels are not kept in memory."""
    with ThreadPoolExecutor(max_workers=threads) as pool:
        outcomes = pool.map(partial(_inspect, root, spec), chips)
        yield from tqdm(outcomes, total=len(chips), desc="Checking chips", unit="chip", disable=not progress)


def _inspect(root: Path, spec: DatasetSpec, chip: ChipFile) -> CheckedChip | Problem:
    """Return a chip with its row of the index, or its problem. The file is read only once."""
    try:
        content = read_content(root / chip.file)
        # Without an environment of GDAL around them, decoding and transformation of coordinates each make one.
        with Env():
            decoded = decode_chip(content, spec)
            values = decoded.values
            valid = np.isfinite(values)
            check_chip(decoded, valid, spec)
            place, ground = (chip.easting_m, chip.northing_m), find_ground(decoded.centre)
            check_georeference(ground, place, spec)
    except OSError as error:
        return Problem(chip.point_id, chip.file, "unreadable", f"cannot be read ({error.strerror})")
    except ChipError as error:
        return Problem(chip.point_id, chip.file, error.kind, error.problem)
    names = BandNames(decoded.descriptions, spec.may_be_landsat)
    is_named = spec.checks.band_descriptions and names.name_each(spec.bands)
    moments = measure_chip(values)
    entry = spec.classes[chip.label]
    spectra = hash_spectra(values)
    if ground is not None and not all(map(math.isfinite, place)):
        place = ground.place
    row = asdict(chip) | {
        "easting_m": place[0],
        "northing_m": place[1],
        "class_code": entry.code,
        "class_name": entry.name,
        "height": values.shape[1],
        "width": values.shape[2],
        "nodata_fraction": 1.0 - float(moments.count.sum()) / values.size,
        "sha256": content.sha256,
        "valid_pixels": moments.count.astype(int).tolist(),
        "band_mean": moments.mean.tolist(),
        "band_m2": moments.m2.tolist(),
    }
    return CheckedChip(
        row,
        decoded.dtype,
        decoded.scaling,
        *hash_pixels(spectra),
        ground,
        decoded.patch_fraction if decoded.patch_may_be_cloud else 0.0,
        measure_darkest(values),
        find_equal_bands(values),
        None if is_named or not spec.checks.band_order else measure_spectrum(values),
        find_other_level(values, spec),
        measure_traits(values, moments, spec),
        sketch_squares(spectra, valid.all(axis=0)),
        measure_pattern(values),
        decoded.simulated,
        None if is_named or not spec.checks.band_descriptions else decoded.wrong_colours,
        BandNames(decoded.all_descriptions).find_satellite(),
        names.find_satellites_meant(spec.bands),
    )


def _describe_places(rows: Sequence[dict[str, Any]], spec: DatasetSpec) -> dict[str, Any]:
    """Return how many chips have a place, and where from: the columns of the table, LUCAS ids, or the files."""
    source = "columns" if has_columns(spec) else "ids" if spec.point_ids == "lucas" else "files"
    return {"from": source, "chips": sum(math.isfinite(row["easting_m"]) for row in rows)}


def _describe_folders(rows: Sequence[dict[str, Any]], spec: DatasetSpec) -> str | None:
    """Return a sentence about chips in folders of other classes than a table says that names files; None without any.

    Where the table does not name the files, such chips have a problem instead (`folder_disagrees`).
    """
    lookup = spec.class_lookup()
    folders = ((row, normalise_name(PurePosixPath(row["file"]).parent.name)) for row in rows)
    found = [(row, folder) for row, folder in folders if lookup.get(folder, row["label"]) != row["label"]]
    if not found or spec.layout.labels == "folders":
        return None
    row, folder = found[0]
    return (
        f"{len(found)} of {len(rows)} chips are in a folder with the name of another class than the labels table gives "
        f"them ({row['file']} is in {folder!r}, and the table says {row['class_code']!r}): the table counts"
    )


def _group_traits(chips: Sequence[CheckedChip]) -> dict[str, list[Traits]]:
    """Return the traits of the chips of each class, by its code."""
    groups: dict[str, list[Traits]] = {}
    for chip in chips:
        if chip.traits is not None:
            groups.setdefault(chip.row["class_code"], []).append(chip.traits)
    return groups


def _group_satellites(chips: Sequence[CheckedChip]) -> dict[str, list[str]]:
    """Return the satellites that the files of each class name, by its code."""
    groups: dict[str, list[str]] = {chip.row["class_code"]: [] for chip in chips}
    for chip in chips:
        if chip.satellite is not None:
            groups[chip.row["class_code"]].append(chip.satellite)
    return groups


def _describe_scaling(chips: Sequence[CheckedChip]) -> list[dict[str, Any]]:
    """Return each different set of scale and offset tags, which the values contain already, with its chips by class.

    `scale` and `offset` are one number if all bands have the same, otherwise one for each band.
    """
    groups: dict[tuple[tuple[float, float], ...], Counter[str]] = {}
    for chip in chips:
        groups.setdefault(chip.scaling, Counter())[chip.row["class_code"]] += 1
    described = []
    for factors, counts in groups.items():
        scales, offsets = (list(values) for values in zip(*factors, strict=True))
        described.append({
            "scale": scales[0] if len(set(scales)) == 1 else scales,
            "offset": offsets[0] if len(set(offsets)) == 1 else offsets,
            "chips": counts.total(),
            "class_counts": dict(counts),
        })  # fmt: skip
    return described


def _handle_invalid_chips(problems: Sequence[Problem], n_valid: int, spec: DatasetSpec) -> None:
    """Raise a StudyError if there are invalid chips, unless `on_invalid` is `drop` and at most half are invalid.

    Rows without a file, and chips of classes that the study does not have, do not count for the half.
    """
    if not problems:
        return
    n_invalid = count_chips(problems)
    kinds = _count_kinds(problems)
    # A table may have the rows of a whole country, and a folder may have more classes than the study.
    n_exempt = _count_rows_alone(problems) + kinds["unknown_label"]
    n_found, is_majority_invalid = n_invalid + n_valid, n_valid == 0 or n_invalid - n_exempt > n_valid
    tally = _tally(kinds)
    if spec.on_invalid == "drop" and not is_majority_invalid:
        logger.warning("dropped %d of %d chips: %s", n_invalid, n_found, tally)
        return
    remedies = "; ".join(REMEDIES[kind] for kind, _ in kinds.most_common(3))
    if not is_majority_invalid:
        remedies += "; or drop these chips with dataset.on_invalid: drop"
    shown = _select_examples(problems, kinds)
    lines = [_line(problem) for problem in shown]
    if len(problems) > len(shown):
        lines.append(f"... and {len(problems) - len(shown)} more")
    raise StudyError(
        f"{n_invalid} of {n_found} chips of dataset {spec.name!r} cannot be used"
        + (": more than half, so the cause is probably the same for all of them" if is_majority_invalid else ""),
        found="\n    ".join([tally, *lines]),
        expected=f"chips with a label, {len(spec.bands)} bands ({', '.join(spec.bands)}) and values in {spec.unit}",
        remedy=remedies,
    )


def count_chips(problems: Sequence[Problem]) -> int:
    """Return how many chips have a problem.

    A row without a file and a file without a row are one chip, one of whose names is wrong or missing: where there are
    both, the fewest chips that explain them count.
    """
    rows, files = _count_unmatched(problems)
    return sum(problem.n_chips for problem in problems) - min(rows, files)


def _count_rows_alone(problems: Sequence[Problem]) -> int:
    """Return how many rows without a file are left, if each file without a row belongs to one of them."""
    rows, files = _count_unmatched(problems)
    return max(rows - files, 0)


def _count_unmatched(problems: Sequence[Problem]) -> tuple[int, int]:
    """Return the number of rows without a file, and of files without a row."""
    without_file = _count_kinds([problem for problem in problems if problem.file is None])
    rows = without_file["label_without_file"] + without_file["missing_id"]
    return rows, sum(problem.n_chips for problem in problems if not problem.has_row)


def _count_kinds(problems: Sequence[Problem]) -> Counter[str]:
    """Return how many chips each kind of problem leaves out."""
    kinds: Counter[str] = Counter()
    for problem in problems:
        kinds[problem.kind] += problem.n_chips
    return kinds


def _tally(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())


def _line(problem: Problem) -> str:
    """Return a problem as a line of an error message."""
    file = f" ({problem.file})" if problem.file else ""
    return f"{problem.point_id or '(no id)'}{file}: {problem.kind}: {problem.message}"


def _select_examples(problems: Sequence[Problem], kinds: Counter[str]) -> list[Problem]:
    """Return about `PROBLEMS_SHOWN` problems at most, with at least one of each kind."""
    seen: Counter[str] = Counter()
    shown = []
    for problem in problems:
        seen[problem.kind] += 1
        if seen[problem.kind] <= max(1, PROBLEMS_SHOWN // len(kinds)):
            shown.append(problem)
    return shown


def _check_classes(
    counts: Counter[int],
    minimum: int,
    problems: Sequence[Problem],
    left_out: Mapping[str, int],
    spec: DatasetSpec,
) -> None:
    """Raise a StudyError if a class has fewer chips than the split needs."""
    short = [
        f"{entry.code} {entry.name}: {counts[label]}"
        for label, entry in enumerate(spec.classes)
        if counts[label] < max(1, minimum)
    ]
    if short:
        fewest = min(counts[label] for label in range(len(spec.classes)))
        # With three chips of a class, three folds are possible, and two are not.
        folds = f"set split.folds to {fewest}, " if 3 <= fewest < minimum else ""
        found = join_first(short, 12)
        if problems:
            kinds = _count_kinds(problems)
            examples = [_line(next(problem for problem in problems if problem.kind == kind)) for kind in kinds]
            found += "\n    ".join([f", after {count_chips(problems)} chips were dropped: {_tally(kinds)}", *examples])
        if left_out:
            found += f"; left out {describe_left_out(left_out)}"
        raise StudyError(
            f"The dataset {spec.name!r} has too few chips of {len(short)} class(es).",
            found=found,
            expected=f"at least {max(1, minimum)} chips of every class",
            remedy=f"{'see why chips were dropped, ' if problems else ''}add chips, {folds}or take the class out of "
            "dataset.classes and set dataset.on_invalid: drop, which leaves out its chips",
        )
