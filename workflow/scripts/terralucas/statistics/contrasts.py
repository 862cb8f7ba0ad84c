"""Paired comparisons of recipes, as linear combinations of their scores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar

from terralucas.processes import compute_each
from terralucas.statistics.crossed_interval import bca, crossed, equivalence_p, limits, two_sided_p
from terralucas.statistics.intervals import corrected_t, correlated_t_probabilities, equivalence_t
from terralucas.statistics.resampling import Design, Scores, combine
from terralucas.statistics.training_variance import SeedScores, TrainingVariance, training_variances
from terralucas.tables.scores import JUDGED_SCORES, SCORES, score_of
from terralucas.tables.vocabulary import (
    AVERAGED,
    CELL,
    EQUIVALENT,
    INCONCLUSIVE,
    INTERACTION,
    RECIPE,
    SHOWN,
    Difference,
    Recipe,
    difference_name,
    interaction_name,
)

COLUMNS = (
    *("contrast", "scope", "family", "n_recipes", "metric"),
    *("difference", "crossed_low", "crossed_high", "bca_low", "bca_high", "p_value", "p_holm"),
    *("seeds_difference", "seeds_low", "seeds_high", "seeds_p_value", "n_seeds"),
    *("margin", "p_equivalence", "p_equivalence_holm", "seeds_p_equivalence", "verdict"),
    *("bayes_a_better", "bayes_equivalent", "bayes_b_better"),
    *("only_a", "only_b", "mcnemar_exact", "mcnemar_mid"),
)


@dataclass(frozen=True)
class Contrast:
    """A linear combination of recipes.

    Attributes:
        name: e.g. `mlp − identity`.
        scope: `all` if averaged over the other factors, otherwise the settings of the other factors.
        family: `averaged`, `cell` or `interaction`; p values are adjusted over the contrasts of one family.
        coefficients: recipe → coefficient; the coefficients sum to 0.
    """

    name: str
    scope: str
    family: str
    coefficients: Mapping[Recipe, float]

    def largest(self, metric: str) -> float:
        """Return the largest value the contrast can have in a score: for a − b, the difference of its ends."""
        return sum(max(factor, 0.0) for factor in self.coefficients.values()) * score_of(metric).span


def simple_contrasts(recipes: Sequence[Recipe], difference: Difference) -> list[Contrast]:
    """Return the contrasts a − b of one factor.

    The first contrast averages over all combinations of the other factors' settings. If there are several combinations,
    one contrast for each of them follows.

    Args:
        recipes: (backbone, loss, decoder) of each recipe of the study.
        difference: factor (`backbone`, `loss` or `decoder`), a, b.

    Returns:
        The contrasts; none if no combination of the other settings has both a and b.
    """
    factor, a, b = difference
    combinations = _complete(recipes, {factor: (a, b)})
    if not combinations:
        return []
    coefficients = [{_recipe(other, factor, a): 1.0, _recipe(other, factor, b): -1.0} for other in combinations]
    average = Contrast(difference_name(difference), "all", AVERAGED, _average(coefficients))
    if len(combinations) == 1:
        return [average]
    return [average] + [
        Contrast(average.name, " × ".join(other), CELL, pair)
        for other, pair in zip(combinations, coefficients, strict=True)
    ]


def interaction(recipes: Sequence[Recipe], first: Difference, second: Difference) -> Contrast | None:
    """Return the interaction of two differences, averaged over the combinations of other settings that have both.

    For differences a − b and c − d of two factors, the interaction is (a − b at c) − (a − b at d). For two differences
    of one factor, it is (a − b) − (c − d). The latter is useful if the settings of the factor combine two properties,
    as in (weighted_focal − weighted_ce) − (focal − ce).

    Returns:
        None if no combination of other settings has all recipes that the interaction needs.
    """
    needed: dict[str, tuple[str, ...]] = {}
    for difference in (first, second):
        needed[difference[0]] = (*needed.get(difference[0], ()), *difference[1:])
    # Both differences are averaged over the same other settings: otherwise those would be a part of the interaction.
    others = set(_complete(recipes, needed))
    recipes = [recipe for recipe in recipes if _without(recipe, needed) in others]
    if not recipes:
        return None
    if first[0] == second[0]:
        parts = [simple_contrasts(recipes, each)[0].coefficients for each in (first, second)]
    else:
        place = RECIPE.index(second[0])
        subsets = [[recipe for recipe in recipes if recipe[place] == level] for level in second[1:]]
        parts = [simple_contrasts(subset, first)[0].coefficients for subset in subsets]
    total: dict[Recipe, float] = dict(parts[0])
    for recipe, factor in parts[1].items():
        total[recipe] = total.get(recipe, 0.0) - factor
    return Contrast(interaction_name(first, second), "all", INTERACTION, total)


def contrasts_table(
    design: Design,
    contrasts: Sequence[Contrast],
    load: Callable[[Recipe], Scores],
    training: Sequence[TrainingVariance],
    margins: Mapping[str, float],
    level: float,
    processes: int = 1,
) -> pd.DataFrame:
    """Compute the table of contrasts, with one row for each contrast and score.

    Args:
        design: the design of the study.
        contrasts: the contrasts, which the study named before its runs.
        load: returns the Scores of a recipe.
        training: for each contrast what is known about its variance from training (`contrasts_training`).
        margins: score → largest difference that does not matter; scores without a margin get no equivalence test.
        level: confidence level of the intervals; 1 − level is the level of the tests.
        processes: number of processes that compute.

    Returns:
        The columns of `COLUMNS`: the difference of pooled scores with its crossed and BCa intervals, its p value and
        the adjusted p value; the mean difference over seeds with Nadeau and Bengio's t interval; the margin
        and the p values of the equivalence tests; the verdict (empty for scores that are not judged); as a second
        opinion, the probabilities of the Bayesian correlated t test; and McNemar's test. McNemar's test is of micro
        accuracy alone, and only for two recipes whose chips are each tested once.
    """

    def rows_of(pair: tuple[Contrast, TrainingVariance]) -> pd.DataFrame:
        contrast, known = pair
        scores = combine(contrast.coefficients, load)
        head = {"contrast": contrast.name, "scope": contrast.scope, "family": contrast.family}
        return _rows(design, contrast, scores, known, margins, level).assign(**head)

    pairs = zip(contrasts, training, strict=True)
    table = pd.concat(compute_each(rows_of, pairs, processes), ignore_index=True)
    for source, target in (("p_value", "p_holm"), ("p_equivalence", "p_equivalence_holm")):
        table[target] = table.groupby(["family", "metric"])[source].transform(holm)
    table["verdict"] = verdicts(table["p_holm"], table["p_equivalence_holm"], 1.0 - level)
    # One run of each recipe tells these runs apart and not the recipes.
    table.loc[table["n_seeds"] < 2, "verdict"] = INCONCLUSIVE
    table.loc[~table["metric"].isin(JUDGED_SCORES), "verdict"] = ""
    return table[list(COLUMNS)]


def contrasts_training(
    design: Design, contrasts: Sequence[Contrast], load: Callable[[Recipe], Scores], processes: int = 1
) -> list[TrainingVariance]:
    """Estimate the variance from training of each contrast, from all contrasts of a study together."""

    def member_of(contrast: Contrast) -> SeedScores:
        return SeedScores.of(design, combine(contrast.coefficients, load))

    return training_variances(compute_each(member_of, contrasts, processes), design.test_to_train)


def holm(p_values: pd.Series) -> np.ndarray:
    """Return Holm-adjusted p values (Holm 1979). NaN values stay NaN and do not count as tests."""
    p = p_values.to_numpy()
    defined = np.flatnonzero(np.isfinite(p))
    # statsmodels' multipletests is not used: it runs the garbage collector, which takes longer than the whole table.
    order = defined[np.argsort(p[defined], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted


def verdicts(p_difference: pd.Series, p_equivalence: pd.Series, alpha: float) -> np.ndarray:
    """Return the verdict on each contrast from its adjusted p values.

    The verdict is `difference shown` even if the difference is also shown to be smaller than the margin.
    """
    return np.select([p_difference < alpha, p_equivalence < alpha], [SHOWN, EQUIVALENT], INCONCLUSIVE)


def mcnemar_test(design: Design, scores: Scores) -> tuple[int, int, float, float] | None:
    """Compute McNemar's test of the shares of right predictions of two recipes, over the test chips of all seeds.

    The test takes chips as independent and runs as given. It therefore compares these runs and not the recipes.

    Args:
        design: the design of the study.
        scores: Scores of a contrast of two recipes with coefficients 1 and −1.

    Returns:
        The number of chips that only the first recipe predicts rightly, the number that only the second predicts
        rightly, the exact p value and the mid-p value (Fagerland et al. 2013, BMC Medical Research Methodology 13).
        None if a chip is tested by several seeds, because its pairs are then not independent.
    """
    if not design.tested_once:
        return None
    a, b = int((scores.hits > 0.5).sum()), int((scores.hits < -0.5).sum())
    if a + b == 0:
        return a, b, 1.0, 1.0
    exact = float(mcnemar([[0, a], [b, 0]], exact=True).pvalue)
    return a, b, exact, _mid_p(a, b)


def _rows(
    design: Design,
    contrast: Contrast,
    scores: Scores,
    training: TrainingVariance,
    margins: Mapping[str, float],
    level: float,
) -> pd.DataFrame:
    draws = crossed(design, scores, training, "contrast")
    largest = np.array([contrast.largest(name) for name in design.names])
    shown, corrected = (np.clip(each, -largest, largest) for each in (limits(draws, level), bca(draws, level)))
    seeds = [column[np.isfinite(column)] for column in scores.seeds.T]
    by_seed = [corrected_t(column, design.test_to_train, level) for column in seeds]
    margin = np.array([margins.get(name, np.nan) for name in design.names])
    table = pd.DataFrame(
        {
            "metric": design.names,
            "n_recipes": len(contrast.coefficients),
            "difference": scores.pooled,
            "crossed_low": shown[0],
            "crossed_high": shown[1],
            "bca_low": corrected[0],
            "bca_high": corrected[1],
            "p_value": two_sided_p(draws),
            "seeds_difference": [each.mean for each in by_seed],
            "seeds_low": np.clip([each.low for each in by_seed], -largest, largest),
            "seeds_high": np.clip([each.high for each in by_seed], -largest, largest),
            "seeds_p_value": [each.p_value for each in by_seed],
            "n_seeds": [len(column) for column in seeds],
            "margin": margin,
            "p_equivalence": equivalence_p(draws, margin),
            "seeds_p_equivalence": [
                equivalence_t(column, design.test_to_train, bound) if np.isfinite(bound) else np.nan
                for column, bound in zip(seeds, margin, strict=True)
            ],
        }
    )
    without = [score_of(name).contrast_interval == "none" for name in design.names]
    table.loc[without, ["seeds_low", "seeds_high", "seeds_p_value"]] = np.nan
    second = [
        correlated_t_probabilities(column, design.test_to_train, bound)
        if len(column) and np.isfinite(bound)
        else (np.nan, np.nan, np.nan)
        for column, bound in zip(seeds, margin, strict=True)
    ]
    below, within, above = np.array(second).T
    higher = np.array([name not in SCORES or SCORES[name].higher_is_better for name in design.names])
    table["bayes_a_better"], table["bayes_b_better"] = np.where(higher, above, below), np.where(higher, below, above)
    table["bayes_equivalent"] = within
    is_pair = sorted(contrast.coefficients.values()) == [-1.0, 1.0]
    test = mcnemar_test(design, scores) if is_pair else None
    for name, value in zip(("only_a", "only_b", "mcnemar_exact", "mcnemar_mid"), test or [np.nan] * 4, strict=True):
        table[name] = np.where(table["metric"] == "micro_accuracy", value, np.nan)
    return table


def _mid_p(a: int, b: int) -> float:
    probability = binom.pmf(min(a, b), a + b, 0.5)
    if a == b:
        return float(1.0 - probability / 2.0)
    return float(2.0 * binom.cdf(min(a, b), a + b, 0.5) - probability)


def _complete(recipes: Sequence[Recipe], needed: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the combinations of the other factors' settings that have a recipe with every combination of `needed`.

    Args:
        recipes: (backbone, loss, decoder) of each recipe of the study.
        needed: factor → settings.
    """
    there: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    places = [RECIPE.index(factor) for factor in needed]
    for recipe in recipes:
        there.setdefault(_without(recipe, needed), set()).add(tuple(recipe[place] for place in places))
    wanted = set(itertools.product(*needed.values()))
    return [other for other, levels in there.items() if wanted <= levels]


def _without(recipe: Recipe, factors: Collection[str]) -> tuple[str, ...]:
    """Return the settings of a recipe in the other factors."""
    return tuple(level for factor, level in zip(RECIPE, recipe, strict=True) if factor not in factors)


def _recipe(other: tuple[str, ...], factor: str, level: str) -> Recipe:
    """Return the recipe with a setting (`level`) of one factor and the `other` settings."""
    place = RECIPE.index(factor)
    levels = [*other[:place], level, *other[place:]]
    backbone, loss, decoder = levels
    return backbone, loss, decoder


def _average(parts: Sequence[Mapping[Recipe, float]]) -> dict[Recipe, float]:
    """Return the mean coefficient of each recipe."""
    total: dict[Recipe, float] = {}
    for recipe, factor in itertools.chain.from_iterable(part.items() for part in parts):
        total[recipe] = total.get(recipe, 0.0) + factor / len(parts)
    return total
