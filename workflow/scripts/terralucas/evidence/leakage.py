"""Overlap of test chips with training chips, and scores by the distance to the nearest training chip.

A chip is a square around its point. If the square of a test chip overlaps the square of a training chip, the run was
trained on pixels on which it is tested. Squares are taken to be parallel to the axes of EPSG:3035, or, far
from Europe, to the directions east and north. Chips that were cut in another projection are rotated by at most a few
degrees, which only matters for squares that hardly overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from statsmodels.stats.proportion import proportion_confint

from terralucas.geography import along_the_ground, east_and_north
from terralucas.statistics.run_predictions import RunPredictions
from terralucas.tables.tidy_csv import by_recipe, tidy_table
from terralucas.tables.vocabulary import RECIPE

# Bounds of the distances, in sides of a chip. Squares overlap at distances below 1, and never from √2 on.
DISTANCES_IN_SIDES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, np.inf)
_OVERLAP_COLUMNS = (
    *("seed", "chip_side_m", "n_test", "n_train", "n_overlapping", "share_overlapping"),
    *("distance_m_min", "distance_m_median", "distance_m_max"),
)
_DISTANCE_COLUMNS = (
    *(*RECIPE, "distance_m_low", "distance_m_high", "metric", "value"),
    *("n", "n_chips", "n_classes", "ci_low", "ci_high", "interval", "level"),
)


@dataclass(frozen=True)
class Nearest:
    """The training chip nearest to each test chip of one seed.

    Attributes:
        chips: (m,) rows of the test chips in the index.
        distance_m: (m,) Euclidean distance between the points in metres.
        overlaps: (m,) whether the square of the chip overlaps the square of any training chip.
    """

    chips: np.ndarray
    distance_m: np.ndarray
    overlaps: np.ndarray


def has_places(places_m: np.ndarray) -> bool:
    """Return whether every chip has coordinates."""
    return bool(np.isfinite(places_m).all())


def nearest_training(
    places_m: np.ndarray, parts: np.ndarray, chip_side_m: float, on_earth_m: np.ndarray | None = None
) -> Nearest:
    """Find the distance of each test chip to the nearest training chip, and whether it overlaps any training chip.

    Validation chips do not count, because no weights were fitted to them.

    Args:
        places_m: (n, 2) metres, of `terralucas.geography.ground_places`.
        parts: (n,) "train", "validation" or "test".
        chip_side_m: side of a chip on the ground in metres.
        on_earth_m: (n, 3) metres, of `terralucas.geography.earth_points`, where a place is far from Europe: no plane
            has the distances between all places of the Earth.
    """
    chips, trained = np.flatnonzero(parts == "test"), np.flatnonzero(parts == "train")
    if on_earth_m is not None:
        chord, _ = cKDTree(on_earth_m[trained]).query(on_earth_m[chips])
        return Nearest(chips, along_the_ground(chord), _overlap_on_earth(on_earth_m, chips, trained, chip_side_m))
    training = cKDTree(places_m[trained])
    distance, _ = training.query(places_m[chips])
    # Two squares of equal size overlap if their centres are less than a side apart along both axes (maximum norm).
    along_axes, _ = training.query(places_m[chips], p=np.inf)
    return Nearest(chips, distance, along_axes < chip_side_m)


def _overlap_on_earth(on_earth_m: np.ndarray, chips: np.ndarray, trained: np.ndarray, side_m: float) -> np.ndarray:
    """Return (m,) whether the square of each chip, along east and north, overlaps that of any chip trained on."""
    # The diagonal: squares further apart cannot overlap.
    near = cKDTree(on_earth_m[trained]).query_ball_point(on_earth_m[chips], np.sqrt(2) * side_m)
    counts = np.array([len(each) for each in near], dtype=int)
    row = np.repeat(np.arange(len(chips)), counts)
    other = trained[np.concatenate([np.asarray(each, dtype=int) for each in near])]
    apart = on_earth_m[other] - on_earth_m[chips[row]]
    along = [np.abs((apart * axis[row]).sum(axis=1)) for axis in east_and_north(on_earth_m[chips])]
    overlaps = np.zeros(len(chips), dtype=bool)
    overlaps[row[np.maximum(*along) < side_m]] = True
    return overlaps


def overlap_table(
    places_m: np.ndarray,
    parts: Mapping[int, np.ndarray],
    chip_side_m: float,
    on_earth_m: np.ndarray | None = None,
) -> pd.DataFrame:
    """Count the test chips that overlap a training chip, with one row for each seed; no rows without coordinates.

    Args:
        places_m: (n, 2) metres, of `terralucas.geography.ground_places`; NaN without coordinates.
        parts: seed → (n,) part of each chip.
        chip_side_m: side of a chip on the ground.
        on_earth_m: (n, 3), as for `nearest_training`.
    """
    rows = []
    for seed, split in parts.items() if has_places(places_m) else ():
        nearest = nearest_training(places_m, split, chip_side_m, on_earth_m)
        values = (
            *(seed, chip_side_m, len(nearest.chips), int((split == "train").sum())),
            *(int(nearest.overlaps.sum()), float(nearest.overlaps.mean())),
            *(nearest.distance_m.min(), float(np.median(nearest.distance_m)), nearest.distance_m.max()),
        )
        rows.append(dict(zip(_OVERLAP_COLUMNS, values, strict=True)))
    return tidy_table(rows, _OVERLAP_COLUMNS)


def distance_table(
    runs: Sequence[RunPredictions],
    places_m: np.ndarray,
    parts: Mapping[int, np.ndarray],
    chip_side_m: float,
    level: float,
    on_earth_m: np.ndarray | None = None,
) -> pd.DataFrame:
    """Compute the scores by distance to the nearest training chip, over the test predictions of all seeds.

    The table has one row for each recipe, distance and score. Micro accuracy has a Wilson interval; its number of
    trials is the number of different chips, however many seeds tested them. The interval is for new chips at that
    distance, not for new seeds. Distant chips lie in other places and have other classes than near chips, so a lower
    score at a greater distance does not prove leakage. Macro accuracy is over the classes that occur.

    Args:
        runs: predictions of the runs.
        places_m: (n, 2) metres, of `terralucas.geography.ground_places`; the table has no rows if any is NaN.
        parts: seed → (n,) part of each chip.
        chip_side_m: side of a chip on the ground.
        level: confidence level of the interval.
        on_earth_m: (n, 3), as for `nearest_training`.
    """
    if not has_places(places_m):
        return tidy_table([], _DISTANCE_COLUMNS)
    distance = {seed: np.full(len(places_m), np.nan) for seed in parts}
    for seed, split in parts.items():
        nearest = nearest_training(places_m, split, chip_side_m, on_earth_m)
        distance[seed][nearest.chips] = nearest.distance_m
    bounds = np.array(DISTANCES_IN_SIDES) * chip_side_m
    rows = []
    # Recipe by recipe: the predictions of thousands of runs in one table would take gigabytes.
    for names, group in by_recipe(pd.DataFrame([run.names for run in runs])):
        tests = np.concatenate([_hits(runs[i], distance[runs[i].names["seed"]], bounds) for i in group.index], axis=1)
        for index in range(len(bounds) - 1):
            ends = {"distance_m_low": bounds[index], "distance_m_high": bounds[index + 1]}
            chips, labels, hits = tests[1:, tests[0] == index]
            rows += [{**names, **ends, **row} for row in _bin_scores(chips, labels, hits, level)]
    return tidy_table(rows, _DISTANCE_COLUMNS)


def _hits(run: RunPredictions, distance_m: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return the distance class, chip, label and hit (0 or 1) of each test prediction of a run, as (4, n) integers.

    Args:
        run: predictions of the run.
        distance_m: distance of each chip of the index.
        bounds: of the distance classes.
    """
    test = run.test
    place = np.searchsorted(bounds, distance_m[test.chips], side="right") - 1
    return np.stack([place, test.chips, test.labels, test.logits.argmax(axis=1) == test.labels])


def _bin_scores(chips: np.ndarray, labels: np.ndarray, hits: np.ndarray, level: float) -> list[dict[str, object]]:
    """Compute macro and micro accuracy of the predictions at one distance; the arrays are (n,)."""
    n_chips, counts = len(np.unique(chips)), np.bincount(labels)
    occurs = counts > 0
    sizes = {"n": len(chips), "n_chips": n_chips, "n_classes": int(occurs.sum()), "level": level}
    micro = float(hits.mean()) if n_chips else np.nan
    recalls = np.bincount(labels, weights=hits)[occurs] / counts[occurs]
    macro = float(recalls.mean()) if n_chips else np.nan
    low, high = proportion_confint(micro * n_chips, n_chips, 1 - level, "wilson") if n_chips else (np.nan, np.nan)
    return [
        {"metric": "macro_accuracy", "value": macro, **sizes},
        {"metric": "micro_accuracy", "value": micro, **sizes, "ci_low": low, "ci_high": high, "interval": "wilson"},
    ]
