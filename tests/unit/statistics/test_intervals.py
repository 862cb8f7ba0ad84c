"""Intervals against scipy and a worked example."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from terralucas.statistics.intervals import corrected_t, correlated_t_probabilities, equivalence_t, wilson

SCORES = np.array([0.40, 0.43, 0.37, 0.41, 0.44])


def test_without_correction_it_is_scipys_t_interval():
    ours = corrected_t(SCORES, 0.0, 0.95)
    theirs = stats.ttest_1samp(SCORES, 0.0)
    bounds = theirs.confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((bounds.low, bounds.high))
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert (ours.mean, ours.sd, ours.n) == pytest.approx((SCORES.mean(), SCORES.std(ddof=1), 5))


def test_correction_by_hand():
    # Variance of the mean (1/5 + 1/4) s² for five folds; t_{0.975, 4} = 2.776445.
    ours = corrected_t(SCORES, 0.25, 0.95)
    half = 2.776445105 * np.sqrt((0.2 + 0.25) * SCORES.var(ddof=1))
    assert (ours.low, ours.high) == pytest.approx((SCORES.mean() - half, SCORES.mean() + half))


def test_p_value_and_interval_agree_on_zero():
    differences = np.array([0.02, 0.05, 0.01, 0.04, 0.03])
    for ratio in (0.0, 0.25, 3.0):
        interval = corrected_t(differences, ratio, 0.95)
        assert (interval.low > 0) == (interval.p_value < 0.05)


def test_one_seed_has_no_interval():
    interval = corrected_t(np.array([0.4]), 0.25, 0.95)
    assert interval.mean == 0.4
    assert np.isnan([interval.sd, interval.low, interval.high, interval.p_value]).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_scores_without_spread_claim_no_certainty(value):
    interval = corrected_t(np.full(5, value), 0.25, 0.95)
    assert (interval.mean, interval.sd) == (pytest.approx(value), 0.0)
    assert np.isnan([interval.low, interval.high, interval.p_value]).all()


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.25, 0.93, 0.999)])
def test_coverage_for_overlapping_training_sets(ratio, low, high):
    """Means of folds with the correlation the correction assumes, ρ = n_test / (n_test + n_train): nominal coverage."""
    random = np.random.default_rng(1)
    rho = ratio / (1 + ratio)
    covered = 0
    for _ in range(2000):
        shared, own = random.normal(), random.normal(size=5)
        interval = corrected_t(np.sqrt(rho) * shared + np.sqrt(1 - rho) * own, ratio, 0.95)
        covered += interval.low <= 0 <= interval.high
    assert low <= covered / 2000 <= high


@pytest.mark.parametrize("margin", [0.01, 0.03, 0.06])
@pytest.mark.parametrize("shift", [-0.05, -0.01, 0.0, 0.02])
def test_equivalence_without_correction_is_statsmodels_paired_tost(margin, shift):
    other = SCORES + shift + np.array([0.01, -0.02, 0.015, 0.0, -0.01])
    theirs = ttost_paired(SCORES, other, -margin, margin)[0]
    assert equivalence_t(SCORES - other, 0.0, margin) == pytest.approx(theirs)


def test_equivalence_is_the_corrected_interval_within_the_margin():
    differences = np.array([0.004, -0.003, 0.001, 0.002, -0.005])
    for ratio in (0.0, 0.3):
        interval = corrected_t(differences, ratio, 0.90)
        bound = max(-interval.low, interval.high)
        assert equivalence_t(differences, ratio, bound * 1.01) < 0.05 < equivalence_t(differences, ratio, bound * 0.99)
    assert np.isnan(equivalence_t(np.zeros(5), 0.3, 0.02))


@pytest.mark.parametrize(("successes", "n"), [(0, 4), (3, 4), (4, 4), (11, 141)])
def test_wilson_against_scipy(successes, n):
    theirs = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n, 0.95) == pytest.approx((theirs.low, theirs.high))


def test_wilson_without_chips():
    assert np.isnan(wilson(0, 0, 0.95)).all()


def test_no_scores_have_no_interval():
    interval = corrected_t(np.array([]), 0.3, 0.95)
    assert interval.n == 0
    assert np.isnan([interval.mean, interval.low, interval.p_value]).all()


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        (0.01, (0.01924728788745711, 0.43706604947050953, 0.5436866626420334)),
        (0.02, (0.005419951167318193, 0.8694520487881031, 0.1251280000445787)),
    ],
)
def test_the_bayesian_correlated_t_test_is_baycomps(margin, expected):
    """baycomp 1.0.3: `two_on_single(a, b, rope=margin)` for five folds; it lists `a better` first."""
    a, b = np.array([0.712, 0.698, 0.731, 0.705, 0.689]), np.array([0.690, 0.701, 0.712, 0.694, 0.684])
    assert correlated_t_probabilities(a - b, 1 / 4, margin) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(correlated_t_probabilities(a - a, 1 / 4, margin)).all()
