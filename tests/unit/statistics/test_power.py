"""Power against statsmodels, and against simulation of the very test."""

import itertools
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from benchmarks.simulated_studies import simulate
from helpers.small_study import HOLDOUT, SMALL, score_recipe, scored
from terralucas.statistics import comparison, power
from terralucas.statistics.power import Spreads
from terralucas.statistics.resampling import combine, make_design
from terralucas.statistics.sampling_distribution import NODES
from terralucas.statistics.training_variance import SeedScores, training_variances

LUCAS = (511, 178, 205, 704, 126, 57, 125, 43, 20, 25)
BOTH = Spreads(seeds=5, test_to_train=0.29, chips=2e-4, run_chips=1e-3, training=4e-4)


@pytest.mark.parametrize("seeds", [3, 5, 20])
def test_where_only_training_varies_it_is_the_t_test_of_statsmodels(seeds):
    spreads = Spreads(seeds, 0.0, chips=0.0, run_chips=0.0, training=0.02**2)
    for difference in (0.005, 0.01, 0.02):
        theirs = TTestPower().power(difference / 0.02, seeds, 0.05)
        assert power.power(spreads, difference, 0.05) == pytest.approx(theirs, abs=0.004)
    found = power.smallest_difference(spreads, 0.05)
    assert found == pytest.approx(0.02 * TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8), rel=0.01)


def test_where_only_chips_vary_it_is_the_normal_test():
    spreads = Spreads(5, 0.29, chips=0.01**2, run_chips=0.0, training=0.0)
    # (1.959964 + 0.841621) σ: the textbook's 2.80.
    assert power.smallest_difference(spreads, 0.05) == pytest.approx(2.8016 * 0.01, rel=1e-3)
    assert power.power(spreads, 0.0, 0.05) == pytest.approx(0.05, abs=1e-4)


def test_against_simulation_of_the_test():
    """p is the share of x + √(chips + κ max(0, ν s²/χ² − f)) z beyond zero, for 20,000 estimates and variances s²."""
    random, n = np.random.default_rng(1), 20_000
    estimate = random.normal(0.05, np.sqrt(BOTH.chips + BOTH.overlap * BOTH.training), n)
    s2 = (BOTH.training + BOTH.run_chips) * random.chisquare(4, n) / 4
    scale = np.sort(random.chisquare(4, 400_000))[500::1000] / 4

    def below(values):
        part = BOTH.overlap * np.maximum(s2[:, None] / scale - BOTH.run_chips, 0)
        return stats.norm.cdf(values[:, None] / np.sqrt(BOTH.chips + part)).mean(axis=1)

    p_values = 2 * below(-np.abs(estimate))
    assert power.power(BOTH, 0.05, 0.05) == pytest.approx(np.mean(p_values < 0.05), abs=0.012)
    shift = estimate - 0.05
    shown = np.maximum(below(shift - 0.05), below(-0.05 - shift)) < 0.05
    assert power.equivalence_power(BOTH, 0.05, 0.05) == pytest.approx(shown.mean(), abs=0.012)


def test_the_plan_in_the_terms_of_the_design():
    spreads = power.planned_spreads(LUCAS, 5, 5, 0.29, [0.5] * 10, 0.6, 0.01)
    by_hand = sum(2 * 0.25 * 0.4 / n for n in LUCAS) / 100
    assert spreads.chips == pytest.approx(by_hand)
    assert spreads.run_chips == pytest.approx(5 * by_hand), "a fold has a fifth of the chips"
    assert spreads.training == pytest.approx(1e-4)
    ten = power.planned_spreads(LUCAS, 5, 10, 0.29, [0.5] * 10, 0.6, 0.01)
    assert ten == pytest.approx(power.with_seeds(spreads, 10))
    assert ten.chips == spreads.chips, "repetitions test no new chips"
    two = power.planned_spreads(LUCAS, 5, 2, 0.29, [0.5] * 10, 0.6, 0.01)
    assert two.chips == pytest.approx(2.5 * by_hand)
    assert asdict(power.with_seeds(two, 5)) == pytest.approx(asdict(spreads)), "five seeds test all chips"
    holdout = power.planned_spreads(LUCAS, 1, 5, 0.0, [0.5] * 10, 0.6, 0.01)
    assert holdout.run_chips == pytest.approx(0, abs=1e-12), "the same chips for all seeds"


def test_more_is_never_worse():
    found = [power.smallest_difference(power.with_seeds(BOTH, n), 0.05) for n in (5, 10, 20, 50)]
    assert all(a > b for a, b in itertools.pairwise(found))
    assert power.smallest_difference(BOTH, 0.01) > found[0]


def test_seeds_and_chips_that_a_margin_needs():
    small = replace(BOTH, chips=2e-5, run_chips=1e-4)
    found = power.seeds_needed(lambda n: power.with_seeds(small, n), 0.05, 0.05, folds=5)
    assert found % 5 == 0
    assert power.decides(power.with_seeds(small, found), 0.05, 0.05)
    assert found == 5 or not power.decides(power.with_seeds(small, found - 5), 0.05, 0.05)
    few_chips = replace(BOTH, chips=4e-4)
    assert power.seeds_needed(lambda n: power.with_seeds(few_chips, n), 0.02, 0.05, folds=5) is None

    only_chips = replace(few_chips, training=0.0, run_chips=0.0)
    factor = power.chips_needed(only_chips, 0.02, 0.05)
    # Equivalence needs (1.645 + 1.282) σ ≤ margin, more than a difference's 2.80 σ.
    assert factor == pytest.approx(4e-4 / (0.02 / 2.9264) ** 2, rel=0.01)
    assert power.chips_needed(replace(only_chips, chips=1e-8), 0.02, 0.05) == 1.0
    assert power.chips_needed(replace(few_chips, training=0.1), 0.02, 0.05) is None
    # No more times the chips than words and tables of the page both take for possible.
    times = (0.02 / 2.9264) ** 2
    assert power.chips_needed(replace(only_chips, chips=900 * times), 0.02, 0.05) == pytest.approx(900, rel=0.01)
    assert power.chips_needed(replace(only_chips, chips=1200 * times), 0.02, 0.05) is None


@pytest.mark.parametrize("number", range(12))
def test_the_number_of_seeds_is_the_first_that_decides(number):
    """As a search through all numbers finds it."""
    random = np.random.default_rng(number)
    chips = 10 ** random.uniform(-5.5, -3.5)
    spreads = Spreads(
        5, 0.29, chips, chips * random.uniform(0, 6), 10 ** random.uniform(-6, -3), random.choice([4, 30])
    )
    folds = int(random.choice([1, 5]))
    numbers = [n for n in range(folds, 100 * folds + 1, folds) if n > 1]
    expected = next((n for n in numbers if power.decides(power.with_seeds(spreads, n), 0.03, 0.05)), None)
    assert power.seeds_needed(lambda n: power.with_seeds(spreads, n), 0.03, 0.05, folds) == expected


@pytest.mark.parametrize("spreads", [BOTH, replace(BOTH, chips=0.0), replace(BOTH, chips=0.0, run_chips=1e-2)])
def test_an_estimate_at_the_bound_has_the_p_value_of_the_tail(spreads):
    """The definition of the bound, with quantiles of v from SciPy's χ² distribution."""
    bounds, _ = power._bounds(spreads, 0.025)
    s2 = (spreads.training + spreads.run_chips) * stats.chi2.ppf(NODES, 4) / 4
    v = np.maximum(s2[:, None] * 4 / stats.chi2.ppf(NODES, 4) - spreads.run_chips, 0.0)
    sd = np.sqrt(spreads.chips + spreads.overlap * v)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.nan_to_num(stats.norm.sf(bounds[:, None] / sd)) @ power.WEIGHTS
    is_positive = bounds > 0
    assert is_positive.sum() > 10
    assert np.allclose(p[is_positive], 0.025, rtol=1e-9)
    # Otherwise training adds something too rarely for any positive estimate to have so large a p value.
    assert np.all(0.5 * ((sd > 0) @ power.WEIGHTS)[~is_positive] <= 0.025)


# A fifth of the 15 chips are 3, the fewest that show how much macro accuracy varies.
@pytest.mark.parametrize("world", [SMALL, replace(HOLDOUT, name="holdout of 15", counts=(60, 34, 17, 15))])
def test_spreads_that_were_observed(world):
    _, design, scores = scored(world)
    difference = combine({"a": 1.0, "c": -1.0}, scores.__getitem__)
    place = design.names.index("macro_accuracy")
    (training,) = training_variances([SeedScores.of(design, difference)], design.test_to_train)
    spreads = comparison.observed_spreads(design, difference, training, 1 if world.holdout else world.folds)[place]
    assert spreads.tested == 1.0
    assert spreads.chips == pytest.approx(difference.drawn[:, place].var(ddof=1), rel=1e-4)
    assert 0.02 < power.smallest_difference(spreads, 0.05) < 0.6


def test_more_seeds_test_the_chips_that_no_seed_has_tested():
    """The spreads of studies of two folds of five, with five seeds, beside those of the studies with all five folds."""

    def spreads_of(number, seeds):
        study = simulate(SMALL, number)
        runs = {name: {seed: parts[seed] for seed in range(seeds)} for name, parts in study.recipes.items()}
        design = make_design(runs["a"], len(SMALL.counts), SMALL.test_to_train)
        scores = {name: score_recipe(design, runs[name], 400, 1) for name in "ac"}
        difference = combine({"a": 1.0, "c": -1.0}, scores.__getitem__)
        (training,) = training_variances([SeedScores.of(design, difference)], design.test_to_train)
        place = design.names.index("micro_accuracy")
        return comparison.observed_spreads(design, difference, training, SMALL.folds)[place]

    two = [spreads_of(number, 2) for number in range(12)]
    assert np.mean([each.tested for each in two]) == pytest.approx(0.4, abs=0.01)
    expected = np.mean([spreads_of(number, 5).chips for number in range(12)])
    assert np.mean([power.with_seeds(each, 5).chips for each in two]) == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("seeds", [[0, 1, 2], [0, 3, 6], [0, 1, 3], [5], range(7), [0, 4, 5, 9, 20]])
def test_the_share_that_seeds_of_several_repetitions_test_is_that_of_folds_that_are_drawn(seeds):
    random, folds, chips = np.random.default_rng(0), 3, 30_000
    times = np.zeros(chips)
    of_repetition = {}
    for seed in seeds:
        fold = of_repetition.setdefault(seed // folds, random.permutation(np.arange(chips) % folds))
        times += fold == seed % folds
    assert power.share_of_seeds(seeds, folds) == pytest.approx(power.effective_share(times, chips), abs=0.01)


def test_the_share_of_chips_that_is_tested():
    """Of ten chips, as the variance of a mean of values that are counted as often as their chips are tested."""
    for times in ([1] * 10, [3] * 10, [1] * 4, [1] * 6 + [2] * 4, [2, 2, 1, 1]):
        weights = np.array(times) / sum(times)
        of_all = 1 / 10
        assert power.effective_share(times, 10) == pytest.approx(of_all / (weights**2).sum())


def test_other_recipes_of_the_study_give_more_power():
    assert power.power(replace(BOTH, free=16.0), 0.05, 0.05) > power.power(BOTH, 0.05, 0.05) + 0.1


def test_one_seed_detects_nothing():
    assert np.isnan(power.smallest_difference(replace(BOTH, seeds=1), 0.05))
