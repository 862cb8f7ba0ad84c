"""A linear mixed model of the runs' scores, as a cross-check of the contrasts."""

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
    """Estimate each contrast with a mixed model, and compare it with the result of `contrasts.contrasts_table`.

    Each recipe has its own mean, so that all factors and their interactions are fixed effects. Each seed has a random
    intercept. The parameters are estimated by REML (Laird & Ware 1982). The model takes runs as independent given their
    seed, with the same variance for all recipes. It ignores the overlap of training sets and the sampling of chips.

    Args:
        runs: one row for each run: backbone, loss, decoder, seed and the score.
        contrasts: the contrasts to estimate.
        contrasts_table: the rows of these contrasts.
        metric: name of the score.
        level: confidence level of the intervals.

    Returns:
        Columns: contrast, scope, metric, difference and crossed interval as given, mixed_difference, mixed_low,
        mixed_high, mixed_p_value, converged, discrepancy. The discrepancy is empty if both methods agree: both show a
        difference with the same sign or neither shows one, and the estimates differ by less than a tenth of the width
        of the crossed interval.
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
                "mixed_p_value": float(2.0 * stats.norm.sf(abs(estimate) / error)) if error > 0 else np.nan,
                "converged": bool(fit.converged),
                "discrepancy": _discrepancy(row, estimate, limits),
            }
        )
    return pd.DataFrame(rows)


def _fit(runs: pd.DataFrame, metric: str) -> tuple[MixedLM, list[tuple[str, str, str]]]:
    recipes = list(dict.fromkeys(runs[RECIPE].itertuples(index=False, name=None)))
    means = np.array([[float(row == recipe) for recipe in recipes] for row in runs[RECIPE].itertuples(False, None)])
    with warnings.catch_warnings():
        # A seed variance of 0, the bound of its range, is a valid result here. `converged` reports other problems.
        for category in (ConvergenceWarning, UserWarning, RuntimeWarning):
            warnings.simplefilter("ignore", category)
        # Powell's method needs no gradient. L-BFGS fails in studies without seed effects, because it moves to a point
        # where the matrix is singular.
        fit = MixedLM(runs[metric].to_numpy(), means, groups=runs["seed"].to_numpy()).fit(reml=True, method="powell")
    return fit, recipes


def _discrepancy(row: pd.Series, estimate: float, limits: tuple[float, float]) -> str:
    """Describe how the two methods disagree; empty if they agree."""
    notes = []
    width = row["crossed_high"] - row["crossed_low"]
    if not abs(estimate - row["difference"]) < 0.1 * width:
        notes.append("estimates differ")
    if _side(*limits) != _side(row["crossed_low"], row["crossed_high"]):
        notes.append("one of them shows a difference, the other none")
    return "; ".join(notes)


def _side(low: float, high: float) -> int:
    """Return the sign of all values in the interval, or 0 if the interval contains zero."""
    return int(low > 0) - int(high < 0)
