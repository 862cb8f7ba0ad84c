"""The best recipe against the best control, in pairs, with an interval that allows for their selection."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from terralucas.statistics.crossed_interval import has_spread
from terralucas.statistics.resampling import Design, Scores, combine
from terralucas.statistics.sampling_distribution import SamplingDistribution
from terralucas.statistics.training_variance import SeedScores, training_variances
from terralucas.tables.scores import MAIN_SCORES, SCORES
from terralucas.tables.vocabulary import RECIPE, Recipe

COLUMNS = (
    *(*RECIPE, "control_backbone", "control", "metric", "pooled", "control_pooled"),
    *("difference", "low", "high", "n_pairs", "n_seeds", "level"),
)


def best_pair_table(
    design: Design,
    recipes: Sequence[Recipe],
    controls: Sequence[Recipe],
    load: Callable[[Recipe], Scores],
    level: float,
) -> pd.DataFrame:
    """Compare the recipe and the control with the best pooled scores, with one row for each score in `MAIN_SCORES`.

    The best of several recipes is partly the luckiest. The interval is therefore simultaneous over all pairs of a
    recipe and a control: with the given probability it holds for every pair, and so for the pair that was selected.
    The largest standardised deviation of a draw over all pairs has the quantile q (single-step max-T; Westfall & Young
    1993, Resampling-based multiple testing, ch. 2), that of the pair alone q₁. The crossed interval of the pair is
    widened by q / q₁. This takes training to select as chips do: its own tails of few degrees of freedom are in the
    crossed interval already, and pairs share the seeds.

    Args:
        design: the design of the study.
        recipes, controls: names of the recipes, and of the controls in the form of recipes.
        load: returns the Scores of a recipe or control.
        level: confidence level.

    Returns:
        The columns of `COLUMNS`: the best recipe, the best control, their pooled scores, the difference with its
        limits, and the number of pairs. No rows without controls.
    """
    pairs = list(itertools.product(recipes, controls))
    if not pairs:
        return pd.DataFrame(columns=list(COLUMNS))
    places = [design.names.index(name) for name in MAIN_SCORES]
    of_controls = {control: load(control).only(places) for control in controls}
    pooled = {control: scores.pooled for control, scores in of_controls.items()}
    # A study can have thousands of pairs, so that their draws are not kept.
    members, largest = [], np.zeros((0, 0))
    for recipe in recipes:
        scores = load(recipe).only(places)
        pooled[recipe] = scores.pooled
        for control in controls:
            difference = combine({recipe: 1.0, control: -1.0}, {recipe: scores, **of_controls}.__getitem__)
            members.append(SeedScores.of(design, difference))
            scaled = _scaled_deviations(difference)
            largest = np.fmax(largest, scaled) if largest.size else scaled
    training = training_variances(members, design.test_to_train)
    rows = []
    for column, name in enumerate(MAIN_SCORES):
        sign = 1.0 if SCORES[name].higher_is_better else -1.0
        recipe, control = (
            max(names, key=lambda each: sign * pooled[each][column]) for names in (recipes, controls)
        )  # fmt: skip
        chosen = pairs.index((recipe, control))
        difference = combine({recipe: 1.0, control: -1.0}, load).only(places)
        estimate = pooled[recipe][column] - pooled[control][column]
        factor = _widening(largest[:, column], _scaled_deviations(difference)[:, column], level)
        known = training[chosen]
        shown = design.shows_spread[places] & has_spread(difference, known)
        distribution = SamplingDistribution(
            difference.drawn[:, column].astype(np.float64),
            *(float(part[column]) for part in (known.between, known.from_chips, known.free, known.overlap)),
        )
        ends = np.array([distribution.quantile(end) for end in (0.5 - level / 2.0, 0.5 + level / 2.0)])
        values = (*recipe, control[0], control[2], name, pooled[recipe][column], pooled[control][column])
        span = SCORES[name].span
        limits = np.clip(estimate + factor * (ends - estimate), -span, span) if shown[column] else (np.nan, np.nan)
        rows.append((*values, estimate, *limits, len(pairs), int(members[chosen].spread.n[column]), level))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _scaled_deviations(difference: Scores) -> np.ndarray:
    """Return how far each draw is from the estimate, in standard deviations: (B, scores), NaN without spread."""
    deviations = np.abs(difference.drawn.astype(np.float64) - difference.pooled)
    spread = np.sqrt(difference.drawn_variance)
    return np.divide(deviations, spread, out=np.full_like(deviations, np.nan), where=spread > 0)


def _widening(largest: np.ndarray, alone: np.ndarray, level: float) -> float:
    """Return the simultaneous bound of a pair's deviation over its bound alone; NaN without spread.

    Args:
        largest: (B,) largest scaled deviation of all pairs in each draw.
        alone: (B,) scaled deviation of the pair.
        level: probability with which all pairs stay within the simultaneous bound.
    """
    bound = float(np.quantile(alone, level))
    # Where few chips tell the two apart, most draws may equal the estimate.
    return float(np.quantile(largest, level)) / bound if bound > 0 else np.nan
