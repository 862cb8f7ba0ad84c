"""Spatial correlation of correctness: whether neighbouring chips of a class are right or wrong together.

Intervals that resample single chips hold if the predictions of chips are independent, given their classes. Moran's I of
correctness at several distances shows whether they are (Moran 1950, Biometrika 37).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from terralucas.randomness import Stream, generator
from terralucas.statistics.run_predictions import RunPredictions
from terralucas.tables.tidy_csv import by_recipe, tidy_table
from terralucas.tables.vocabulary import RECIPE

# Bounds of the distances between two chips in km.
DISTANCES_KM = (0.0, 5.0, 10.0, 25.0, 50.0, 100.0)
# With fewer pairs, Moran's I is noise.
FEWEST_PAIRS = 30
# Of more chips a random part is used: pairs grow with the square of the number.
MOST_CHIPS = 3000
PERMUTATIONS = 199
COLUMNS = (
    *(*RECIPE, "distance_km_low", "distance_km_high", "n_pairs"),
    *("moran_i", "independent_low", "independent_high", "p_value", "level"),
)


def correlation_table(runs: Sequence[RunPredictions], places_m: np.ndarray, level: float, seed: int) -> pd.DataFrame:
    """Compute Moran's I of correctness within classes, with one row for each recipe and bin of distances.

    The value of a chip is the share of the recipe's runs that predict it rightly, minus the mean of its class. Moran's
    I of a bin is the mean product of the values of two chips of one class at such a distance, divided by the mean
    square of the values: 0 without correlation, 1 if neighbours are always equal. What independent chips would show
    comes from random permutations of the values within each class.

    Args:
        runs: test predictions of the runs.
        places_m: (n, 2) metres, of `terralucas.geography.ground_places`; NaN without coordinates.
        level: level of the range that independent chips would show.
        seed: seed of the permutations, and of the choice of chips where there are more than `MOST_CHIPS`.

    Returns:
        Columns of `COLUMNS`: `independent_low` and `independent_high` are quantiles of the permutations; `p_value` is
        one-sided, for a positive correlation. No rows where a chip has no place.
    """
    if not np.isfinite(places_m).all():
        return pd.DataFrame(columns=["schema_version", *COLUMNS])
    rows = []
    pairs: _Pairs | None = None
    for names, group in by_recipe(pd.DataFrame([run.names for run in runs])):
        chips, labels, values = _values([runs[i] for i in group.index])
        if pairs is None or not np.array_equal(pairs.chips, chips):
            # Once for all recipes of a study, which test the same chips.
            pairs = _Pairs.of(chips, labels, places_m, seed)
        statistics = pairs.moran(values)
        for (low, high), (n_pairs, statistic) in zip(itertools.pairwise(DISTANCES_KM), statistics, strict=True):
            row = {**names, "distance_km_low": low, "distance_km_high": high, "n_pairs": n_pairs, "level": level}
            if n_pairs >= FEWEST_PAIRS and np.isfinite(statistic).all():
                ends = np.quantile(statistic[1:], [0.5 - level / 2.0, 0.5 + level / 2.0])
                row |= {
                    "moran_i": statistic[0],
                    "independent_low": ends[0],
                    "independent_high": ends[1],
                    "p_value": (statistic >= statistic[0]).sum() / len(statistic),
                }
            rows.append(row)
    table = tidy_table(rows)
    return table.reindex(columns=["schema_version", *COLUMNS])


def _values(runs: Sequence[RunPredictions]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the tested chips, their labels, and their shares of right runs minus the means of classes, each (m,)."""
    every = np.concatenate([run.test.chips for run in runs])
    labels = np.concatenate([run.test.labels for run in runs])
    hits = np.concatenate([run.test.logits.argmax(axis=1) == run.test.labels for run in runs])
    chips, first, place = np.unique(every, return_index=True, return_inverse=True)
    share = np.bincount(place, weights=hits) / np.bincount(place)
    own = labels[first]
    means = np.bincount(own, weights=share) / np.maximum(np.bincount(own), 1)
    return chips, own, share - means[own]


@dataclass(frozen=True)
class _Pairs:
    """The pairs of tested chips of one class in each bin of distances, and random orders of the chips.

    Attributes:
        chips: (n,) the tested chips.
        kept: (m,) positions in `chips` that are used.
        orders: (m, P + 1) orders of the used chips: first as they are, then at random within each class.
        counts: number of pairs of each bin.
        weights: (m, m) for each bin, 1 for each pair.
    """

    chips: np.ndarray
    kept: np.ndarray
    orders: np.ndarray
    counts: tuple[int, ...]
    weights: tuple[csr_matrix, ...]

    @classmethod
    def of(cls, chips: np.ndarray, labels: np.ndarray, places_m: np.ndarray, seed: int) -> _Pairs:
        random = generator(seed, Stream.SPATIAL)
        kept = np.arange(len(chips))
        if len(chips) > MOST_CHIPS:
            kept = np.sort(random.choice(len(chips), MOST_CHIPS, replace=False))
        used, places_km = labels[kept], places_m[chips[kept]] / 1000.0
        unchanged = np.arange(len(kept))
        orders = np.stack([unchanged, *(_permuted(unchanged, used, random) for _ in range(PERMUTATIONS))], axis=1)
        pairs = cKDTree(places_km).query_pairs(DISTANCES_KM[-1], output_type="ndarray")
        pairs = pairs[used[pairs[:, 0]] == used[pairs[:, 1]]]
        distance = np.linalg.norm(places_km[pairs[:, 0]] - places_km[pairs[:, 1]], axis=1)
        # A bin excludes its upper bound, but for the last one.
        numbers = np.searchsorted(DISTANCES_KM[1:-1], distance, side="right")
        bins = [pairs[numbers == number] for number in range(len(DISTANCES_KM) - 1)]
        weights = [
            csr_matrix((np.ones(len(each)), (each[:, 0], each[:, 1])), shape=(len(kept), len(kept))) for each in bins
        ]
        return cls(chips, kept, orders, tuple(map(len, bins)), tuple(weights))

    def moran(self, values: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Return for each bin the number of pairs, and Moran's I (P + 1,) of each order of the values (n,)."""
        ordered = values[self.kept][self.orders]
        mean_square = np.mean(ordered**2, axis=0)
        result = []
        for count, weights in zip(self.counts, self.weights, strict=True):
            products = (ordered * (weights @ ordered)).sum(axis=0)
            with np.errstate(divide="ignore", invalid="ignore"):
                result.append((count, products / (count * mean_square)))
        return result


def _permuted(values: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the values with those of each class in random order."""
    result = values.copy()
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        result[rows] = random.permutation(values[rows])
    return result
