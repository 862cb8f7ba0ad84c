"""A linear mixed model of the runs' scores, as a cross-check of the contrasts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from terralucas.statistics.contrasts import Contrast
from terralucas.statistics.spread import known_variance
from terralucas.tables.vocabulary import RECIPE, Recipe


def mixed_model_table(
    runs: pd.DataFrame, contrasts: Sequence[Contrast], contrasts_table: pd.DataFrame, metric: str, level: float
) -> pd.DataFrame:
    """Estimate each contrast with a mixed model, and compare it with the result of `contrasts.contrasts_table`.

    Each recipe has its own mean, so that all factors and their interactions are fixed effects. Each seed has a random
    intercept. The parameters are estimated by REML (Laird & Ware 1982). The model takes runs as independent given their
    seed, with the same variance for all recipes. It ignores the overlap of training sets and the sampling of chips.

    Every recipe has a run with each seed. The estimates of REML are then those of the two-way analysis of variance
    (Searle, Casella & McCulloch 1992, Variance Components, ch. 4): the intercepts of seeds cancel in a contrast, and
    its variance is Σw² σ²/J, with σ² the mean square of what recipes and seeds leave. Where seeds differ less than that
    lets expect, their variance is 0, and σ² is the mean square within recipes.

    Args:
        runs: one row for each run: backbone, loss, decoder, seed and the score; each recipe has the same seeds.
        contrasts: the contrasts to estimate.
        contrasts_table: the rows of these contrasts.
        metric: name of the score.
        level: confidence level of the intervals.

    Returns:
        Columns: contrast, scope, metric, difference and crossed interval as given, mixed_difference, mixed_low,
        mixed_high, mixed_p_value, discrepancy. The discrepancy is empty if both methods agree: both show a difference
        with the same sign or neither shows one, and the estimates differ by less than a tenth of the width of the
        crossed interval. With one seed or one recipe, σ² is unknown, and only the difference is there.
    """
    means, variance = _fit(runs, metric)
    given = contrasts_table[contrasts_table["metric"] == metric].set_index(["contrast", "scope"])
    rows = []
    for contrast in contrasts:
        weights = contrast.coefficients
        estimate = sum(weight * means[recipe] for recipe, weight in weights.items())
        error = float(np.sqrt(variance * sum(weight**2 for weight in weights.values())))
        half = float(stats.norm.ppf(0.5 + level / 2.0)) * error
        row = given.loc[(contrast.name, contrast.scope)]
        largest = contrast.largest(metric)
        limits = tuple(np.clip([estimate - half, estimate + half], -largest, largest))
        rows.append(
            {
                "contrast": contrast.name,
                "scope": contrast.scope,
                "metric": metric,
                "difference": row["difference"],
                "crossed_low": row["crossed_low"],
                "crossed_high": row["crossed_high"],
                "mixed_difference": estimate,
                "mixed_low": limits[0],
                "mixed_high": limits[1],
                "mixed_p_value": float(2.0 * stats.norm.sf(abs(estimate) / error)),
                "discrepancy": _discrepancy(row, estimate, limits) if np.isfinite(error) else "",
            }
        )
    return pd.DataFrame(rows)


def _fit(runs: pd.DataFrame, metric: str) -> tuple[dict[Recipe, float], float]:
    """Return the mean of each recipe, and σ²/J; NaN if the latter is unknown, or if nothing varies."""
    scores = runs.pivot(index="seed", columns=RECIPE, values=metric)
    values = scores.to_numpy()
    n_seeds, n_recipes = values.shape
    by_recipe = values.mean(axis=0)
    means = dict(zip(scores.columns, by_recipe, strict=True))
    if n_seeds < 2 or n_recipes < 2:
        return means, np.nan
    size = float(np.abs(values).max())
    of_seeds = values.mean(axis=1, keepdims=True) - values.mean()
    between = n_recipes * float((of_seeds**2).sum())
    rest = float(((values - by_recipe - of_seeds) ** 2).sum())
    free = (n_seeds - 1) * (n_recipes - 1)
    if between / (n_seeds - 1) < rest / free:
        rest, free = rest + between, n_recipes * (n_seeds - 1)
    # Without spread there is no interval and no test, as for the crossed interval.
    return means, float(known_variance(np.asarray(rest / free), size)) / n_seeds or np.nan


def _discrepancy(row: pd.Series, estimate: float, limits: tuple[float, float]) -> str:
    """Describe how the two methods disagree; empty if they agree, or if there is no crossed interval."""
    notes = []
    width = row["crossed_high"] - row["crossed_low"]
    if np.isnan(width):
        return ""
    if not abs(estimate - row["difference"]) < 0.1 * width:
        notes.append("estimates differ")
    if _side(*limits) != _side(row["crossed_low"], row["crossed_high"]):
        notes.append("one of them shows a difference, the other none")
    return "; ".join(notes)


def _side(low: float, high: float) -> int:
    """Return the sign of all values in the interval, or 0 if the interval contains zero."""
    return int(low > 0) - int(high < 0)
