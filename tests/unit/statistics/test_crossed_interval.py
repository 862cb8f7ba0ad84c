"""The crossed interval against scipy's bootstrap and t interval."""

import numpy as np
import pytest
from scipy import stats

from helpers.small_study import HOLDOUT, SMALL, score_recipe, scored
from terralucas.statistics.crossed_interval import (
    bca,
    crossed,
    equivalence_p,
    limits,
    two_sided_p,
)
from terralucas.statistics.resampling import combine, make_design
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.training_variance import SeedScores, training_variances

DRAWS = 20_000


def crossed_alone(design, scores, of="recipe"):
    """The distributions of a recipe or contrast that is alone in its study."""
    (training,) = training_variances([SeedScores.of(design, scores)], design.test_to_train)
    return crossed(design, scores, training, of)


def one_seed(recall, counts, seed=0):
    """Runs of one seed whose share of right chips in each class is given."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    right = np.concatenate([np.arange(n) < round(p * n) for p, n in zip(recall, counts, strict=True)])
    logits = random.normal(size=(len(labels), len(counts)))
    best = np.where(right, labels, (labels + 1) % len(counts))
    logits[np.arange(len(labels)), best] = 10.0
    return {0: Part(np.arange(len(labels)), labels, logits)}, right, labels


def macro(*hits, axis=-1):
    return np.mean([each.mean(axis=axis) for each in hits], axis=0)


@pytest.mark.parametrize(("name", "ours"), [("percentile", limits), ("BCa", bca)])
def test_chips_within_classes_against_scipy(name, ours):
    counts = (40, 25, 12)
    runs, right, labels = one_seed((0.9, 0.6, 0.25), counts)
    design = make_design(runs, 3, 0.25)
    draws = crossed_alone(design, score_recipe(design, runs, DRAWS, 1), "recipe")
    place = design.names.index("macro_accuracy")
    samples = [right[labels == label].astype(float) for label in range(3)]
    theirs = stats.bootstrap(samples, macro, method=name, n_resamples=DRAWS, rng=np.random.default_rng(2), axis=-1)
    expected = (theirs.confidence_interval.low, theirs.confidence_interval.high)
    # Two Monte Carlo quantiles of 20,000 draws, whose standard error is about 0.0008 and whose grid is 1/120.
    assert ours(draws, 0.95)[:, place] == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("name", ["geometric_mean", "ece", "classwise_ece"])
def test_scores_that_pooling_changes_have_no_crossed_interval(name):
    runs, _, _ = one_seed((0.9, 0.6, 0.4), (40, 25, 20))
    design = make_design(runs, 3, 0.25)
    draws = crossed_alone(design, score_recipe(design, runs, 200, 1))
    assert np.isnan(limits(draws, 0.95)[:, design.names.index(name)]).all()


def test_bca_of_a_skewed_score_against_scipy():
    """The mean of −log p of few chips: far from symmetric, so that acceleration and bias both matter."""
    runs, _, labels = one_seed((0.9, 0.5), (18, 15), seed=3)
    design = make_design(runs, 2, 0.25)
    scores = score_recipe(design, runs, DRAWS, 1)
    place = design.names.index("nll")
    logits = runs[0].logits
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]

    def pooled(*samples, axis=-1):
        sizes = [sample.shape[axis] for sample in samples]
        return sum(sample.mean(axis=axis) * n for sample, n in zip(samples, sizes, strict=True)) / sum(sizes)

    samples = [loss[labels == label] for label in range(2)]
    theirs = stats.bootstrap(samples, pooled, method="BCa", n_resamples=DRAWS, rng=np.random.default_rng(2), axis=-1)
    expected = theirs.confidence_interval
    draws = crossed_alone(design, scores, "recipe")
    # Scipy's draws have (n − 1) / n of the variance: of 18 and 15 chips the limits are 3 % nearer.
    tolerance = 0.05 * (expected.high - expected.low)
    assert bca(draws, 0.95)[:, place] == pytest.approx((expected.low, expected.high), abs=tolerance)
    assert abs(limits(draws, 0.95)[1, place] - bca(draws, 0.95)[1, place]) > 0.05, "no skew, nothing shown"


def test_one_seed_has_chips_alone_and_says_so():
    runs, _, _ = one_seed((0.5, 0.5), (20, 20))
    design = make_design(runs, 2, 0.25)
    scores = score_recipe(design, runs, 100, 1)
    draws = crossed_alone(design, scores)
    assert not draws.with_seeds.any()
    place = design.names.index("macro_accuracy")
    assert draws.drawn[place].quantile(0.9) == np.quantile(scores.drawn[:, place], 0.9)


def test_where_training_is_all_that_varies_it_is_the_t_interval():
    """A holdout of many chips whose runs differ by far more than chips do."""
    random = np.random.default_rng(1)
    labels = np.arange(2_000) % 2
    runs = {}
    for seed, share in enumerate([0.3, 0.5, 0.6, 0.75, 0.9]):
        logits = np.zeros((len(labels), 2))
        right = random.random(len(labels)) < share
        logits[np.arange(len(labels)), np.where(right, labels, 1 - labels)] = 3.0
        runs[seed] = Part(np.arange(len(labels)), labels, logits)
    design = make_design(runs, 2, 0.0)
    scores = score_recipe(design, runs, DRAWS, 1)
    place = design.names.index("macro_accuracy")
    seeds = scores.seeds[:, place]
    theirs = stats.ttest_1samp(seeds, 0.0).confidence_interval(0.95)
    ours = limits(crossed_alone(design, scores, "recipe"), 0.95)[:, place]
    assert ours == pytest.approx((theirs.low, theirs.high), rel=0.05)


def test_overlapping_training_sets_widen_the_part_of_training():
    _, design, scores = scored(SMALL)
    member = SeedScores.of(design, scores["a"])
    narrow, wide = (training_variances([member], ratio)[0] for ratio in (0.0, 0.25))
    known = narrow.of_pooled > 0
    assert known.any()
    assert wide.of_pooled[known] / narrow.of_pooled[known] == pytest.approx((0.2 + 0.25) / 0.2)
    widths = [np.diff(limits(crossed(design, scores["a"], each, "recipe"), 0.95), axis=0)[0] for each in (narrow, wide)]
    # Training hardly adds to macro accuracy in this study.
    place = design.names.index("micro_accuracy")
    assert widths[1][place] > 1.01 * widths[0][place]


def test_identical_recipes_show_neither_a_difference_nor_equivalence():
    _, design, scores = scored()
    none = combine({"a": 1.0, "same": -1.0}, lambda name: scores["a"])
    draws = crossed_alone(design, none, "contrast")
    assert np.isnan(limits(draws, 0.95)).all()
    assert np.isnan(bca(draws, 0.95)).all()
    assert np.isnan([two_sided_p(draws), equivalence_p(draws, np.full(len(design.names), 0.02))]).all()


@pytest.mark.parametrize("world", [SMALL, HOLDOUT])
def test_p_values_and_intervals_agree(world):
    """Zero outside the 95 % interval where p < 0.05; the 90 % interval within the margin where equivalence is shown."""
    for number in range(12):
        _, design, scores = scored(world, number)
        draws = crossed_alone(design, combine({"a": 1.0, "c": -1.0}, scores.__getitem__), "contrast")
        wide, narrow = limits(draws, 0.95), limits(draws, 0.90)
        p, shown = two_sided_p(draws), equivalence_p(draws, np.full(len(design.names), 0.08))
        clear = draws.varies & (np.abs(p - 0.05) > 0.01) & (np.abs(shown - 0.05) > 0.01)
        assert np.array_equal((p < 0.05)[clear], ((wide[0] > 0) | (wide[1] < 0))[clear])
        assert np.array_equal((shown < 0.05)[clear], (np.abs(narrow) < 0.08).all(axis=0)[clear])
