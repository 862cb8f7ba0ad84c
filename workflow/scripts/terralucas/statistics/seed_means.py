"""Means over seeds with their intervals, as columns of tidy tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from terralucas.statistics.intervals import MeanInterval, corrected_t
from terralucas.tables.tidy_csv import by_recipe, tidy_table
from terralucas.tables.vocabulary import FIXED_SPLIT, NADEAU_BENGIO


@dataclass(frozen=True)
class SeedDesign:
    """The parameters of an interval over seeds.

    Attributes:
        test_to_train: n_test / n_train, or 0 if all seeds share one split.
        level: confidence level of the intervals, e.g. 0.95.
    """

    test_to_train: float
    level: float

    def interval(self, values: np.ndarray) -> MeanInterval:
        """Compute the interval of the mean of (J,) scores; NaN scores are left out."""
        known = np.asarray(values, dtype=np.float64)
        known = known[np.isfinite(known)]
        if not len(known):
            return MeanInterval(np.nan, np.nan, 0, np.nan, np.nan, np.nan)
        return corrected_t(known, self.test_to_train, self.level)

    def columns(self, interval: MeanInterval, lowest: float = -np.inf, highest: float = np.inf) -> dict[str, Any]:
        """Return the columns mean, sd, n_seeds, ci_low, ci_high, interval and level of a table.

        Args:
            interval: the mean with its interval.
            lowest, highest: ends of the range of the values; limits are clipped to it.
        """
        return {
            "mean": interval.mean,
            "sd": interval.sd,
            "n_seeds": interval.n,
            "ci_low": float(np.clip(interval.low, lowest, highest)),
            "ci_high": float(np.clip(interval.high, lowest, highest)),
            "interval": FIXED_SPLIT if self.test_to_train == 0 else NADEAU_BENGIO,
            "level": self.level,
        }


def mean_test_to_train(n_test: np.ndarray, n_train: np.ndarray) -> float:
    """Return the mean over runs of test chips per training chip, which the Nadeau–Bengio correction needs."""
    return float((n_test / n_train).mean())


def summary_over_seeds(
    runs: pd.DataFrame, metrics: Mapping[str, tuple[float, float]], design: SeedDesign
) -> pd.DataFrame:
    """Compute the mean over seeds with its interval, with one row for each recipe and metric.

    Args:
        runs: one row for each run, with the recipe's names and a column for each metric.
        metrics: the columns to summarise, each with the ends of its range.
        design: parameters of the intervals.
    """
    return tidy_table(
        {**names, "metric": metric, **design.columns(design.interval(group[metric].to_numpy()), *ends)}
        for names, group in by_recipe(runs)
        for metric, ends in metrics.items()
    )


def scopes_of(backbones: Iterable[str], contrast: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the values of the column `scope` for a contrast, each with the backbones that it averages over.

    The scope `all` has all backbones. If the contrast is not between backbones and there are several, each backbone is
    a scope as well.
    """
    names = list(dict.fromkeys(backbones))
    scopes = {"all": set(names)}
    if contrast["factor"] != "backbone" and len(names) > 1:
        scopes |= {name: {name} for name in names}
    return scopes
