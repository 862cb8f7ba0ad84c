"""The best recipe against the best control, in pairs, with an interval that allows for their selection."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

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
    pooled = {name: load(name).pooled[places] for name in (*recipes, *controls)}
    members, drawn = [], []
    for recipe, control in pairs:
        difference = combine({recipe: 1.0, control: -1.0}, load)
        members.append(SeedScores.of(design, difference))
        drawn.append(difference.drawn[:, places].astype(np.float64))
    training = training_variances(members, design.test_to_train)
    rows = []
    for column, name in enumerate(MAIN_SCORES):
        sign = 1.0 if SCORES[name].higher_is_better else -1.0
        recipe, control = (
            max(names, key=lambda each: sign * pooled[each][column]) for names in (recipes, controls)
        )  # fmt: skip
        chosen, place = pairs.index((recipe, control)), places[column]
        estimates = np.array([pooled[a][column] - pooled[b][column] for a, b in pairs])
        deviations = np.stack([each[:, column] for each in drawn], axis=1) - estimates
        factor = _widening(deviations, chosen, level)
        known = training[chosen]
        distribution = SamplingDistribution(
            drawn[chosen][:, column],
            *(float(part[place]) for part in (known.between, known.from_chips, known.free, known.overlap)),
        )
        ends = np.array([distribution.quantile(end) for end in (0.5 - level / 2.0, 0.5 + level / 2.0)])
        values = (*recipe, control[0], control[2], name, pooled[recipe][column], pooled[control][column])
        limits = tuple(estimates[chosen] + factor * (ends - estimates[chosen]))
        rows.append((*values, estimates[chosen], *limits, len(pairs), int(members[chosen].spread.n[place]), level))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _widening(deviations: np.ndarray, chosen: int, level: float) -> float:
    """Return the simultaneous bound of a pair's deviation over its bound alone; NaN without spread.

    Args:
        deviations: (B, P) draws minus estimates of all pairs.
        chosen: the pair.
        level: probability with which all pairs stay within the simultaneous bound.
    """
    spread = deviations.std(axis=0)
    if not spread[chosen] > 0:
        return np.nan
    scaled = np.abs(deviations[:, spread > 0] / spread[spread > 0])
    alone = np.abs(deviations[:, chosen]) / spread[chosen]
    return float(np.quantile(scaled.max(axis=1), level) / np.quantile(alone, level))
