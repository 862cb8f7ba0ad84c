"""The recipes whose score is nearly the best: within one standard error."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy import stats

from terralucas.tables.scores import SCORES
from terralucas.tables.vocabulary import ALL_CLASSES


@dataclass(frozen=True)
class NearBest:
    """The recipes of a study in one score over all classes.

    Attributes:
        rows: rows of summary.csv, one a recipe, with the column `goodness`, which is higher for a better score.
        best: the row with the best score.
        error: standard error of the best score; NaN if it has no interval.
        n_equal: number of recipes with this score; `best` is the first of them.
        near: the rows whose score is at most `error` worse than the best; without a standard error, those of the best
            score.
    """

    rows: pd.DataFrame
    best: pd.Series
    error: float
    n_equal: int
    near: pd.DataFrame


def near_best(summary: pd.DataFrame, metric: str) -> NearBest | None:
    """Find the recipes within one standard error of the best; None if no recipe has the score.

    The standard error is half the width of the crossed interval, divided by the quantile of the normal distribution.
    The rule is that of Breiman et al. 1984, Classification and Regression Trees, section 3.4.3.

    Args:
        summary: the table summary.csv.
        metric: name of the score.
    """
    score = SCORES[metric]
    rows = summary[(summary["metric"] == metric) & (summary["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
    if rows.empty:
        return None
    rows = rows.assign(goodness=rows["pooled"] if score.higher_is_better else -rows["pooled"])
    best = rows.loc[rows["goodness"].idxmax()]
    width = best["crossed_high"] - best["crossed_low"]
    quantile = stats.norm.ppf((1.0 + best["level"]) / 2.0)
    error = float(width / (2.0 * quantile))
    reach = 0.0 if pd.isna(error) else error
    n_equal = int((rows["goodness"] == best["goodness"]).sum())
    return NearBest(rows, best, error, n_equal, rows[rows["goodness"] >= best["goodness"] - reach])
