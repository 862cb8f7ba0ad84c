"""A linear mixed model of the runs' scores as a cross-check of the contrasts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from terralucas.statistics.contrasts import Contrast
from terralucas.tables.vocabulary import RECIPE


def mixed_model_table(
    runs: pd.DataFrame, contrasts: Sequence[Contrast], contrasts_table: pd.DataFrame, metric: str, level: float
) -> pd.DataFrame:
    """Each contrast from a mixed model beside what `contrasts.contrasts_table` says.

    The model gives every recipe a mean of its own, so that all factors and their interactions are fixed effects, and
    every seed a random intercept; its parameters are estimated by REML (Laird & Ware 1982). It takes runs as
    independent given their seed, with one variance for all recipes: without the overlap of training sets, and without
    chips.

    Args:
        runs: one row for each run: backbone, loss, decoder, seed and the metric.
        contrasts: to compute.
        contrasts_table: their rows.
        metric: score.
        level: of the intervals.

    Returns:
        Columns: contrast, scope, metric, difference and crossed interval as given, mixed_difference, mixed_low,
        mixed_high, mixed_p_value, converged, discrepancy (empty where both come to the same: the same side of zero
        shown, or neither, and estimates that differ by less than a tenth of the crossed interval).
    """
    fit, recipes = _fit(runs, metric)
    given = contrasts_table[contrasts_table["metric"] == metric].set_index(["contrast", "scope"])
    rows = []
    for contrast in contrasts:
        weights = np.array([contrast.coefficients.get(recipe, 0.0) for recipe in recipes])
        estimate = float(weights @ fit.fe_params)
        error = float(np.sqrt(weights @ np.asarray(fit.cov_params())[: len(recipes), : len(recipes)] @ weights))
        half = float(stats.norm.ppf(0.5 + level / 2.0)) * error
        row = given.loc[(contrast.name, contrast.scope)]
        limits = (estimate - half, estimate + half)
        rows.append({
            "contrast": contrast.name, "scope": contrast.scope, "metric": metric,
            "difference": row["difference"], "crossed_low": row["crossed_low"], "crossed_high": row["crossed_high"],
            "mixed_difference": estimate, "mixed_low": limits[0], "mixed_high": limits[1],
            "mixed_p_value": float(2.0 * stats.norm.sf(abs(estimate) / error)) if error > 0 else np.nan,
            "converged": bool(fit.converged),
            "discrepancy": _discrepancy(row, estimate, limits),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _fit(runs: pd.DataFrame, metric: str) -> tuple[MixedLM, list[tuple[str, str, str]]]:
    recipes = list(dict.fromkeys(runs[RECIPE].itertuples(index=False, name=None)))
    means = np.array([[float(row == recipe) for recipe in recipes] for row in runs[RECIPE].itertuples(False, None)])
    with warnings.catch_warnings():
        # A seed variance at its bound of 0 is a result here, not a fault; `converged` tells the rest.
        for category in (ConvergenceWarning, UserWarning, RuntimeWarning):
            warnings.simplefilter("ignore", category)
        # Powell needs no gradient: L-BFGS steps to where the matrix is singular in every study without seed effects.
        fit = MixedLM(runs[metric].to_numpy(), means, groups=runs["seed"].to_numpy()).fit(reml=True, method="powell")
    return fit, recipes


def _discrepancy(row: pd.Series, estimate: float, limits: tuple[float, float]) -> str:
    notes = []
    width = row["crossed_high"] - row["crossed_low"]
    if not abs(estimate - row["difference"]) < 0.1 * width:
        notes.append("estimates differ")
    if _side(*limits) != _side(row["crossed_low"], row["crossed_high"]):
        notes.append("one of them shows a difference, the other none")
    return "; ".join(notes)


def _side(low: float, high: float) -> int:
    return int(low > 0) - int(high < 0)
