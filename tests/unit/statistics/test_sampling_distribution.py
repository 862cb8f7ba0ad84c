"""Draws of chips with training integrated out: against scipy's t and normal, and against simulation."""

import numpy as np
import pytest
from scipy import stats

from terralucas.statistics.sampling_distribution import NODES, WEIGHTS, SamplingDistribution, training_quantiles

CHIPS = np.random.default_rng(1).normal(0.3, 0.02, 20_000)


def test_the_nodes_are_a_rule_for_means():
    assert WEIGHTS.sum() == pytest.approx(1)
    assert WEIGHTS @ stats.norm.ppf(NODES) ** 2 == pytest.approx(1, abs=1e-3)
    assert WEIGHTS @ stats.chi2.ppf(NODES, 4) == pytest.approx(4, abs=1e-3)


def test_without_training_it_is_the_draws():
    only = SamplingDistribution(np.append(CHIPS, np.nan), np.nan, np.nan, 0.0, 0.5)
    assert only.quantile(0.975) == np.quantile(CHIPS, 0.975)
    assert only.below(0.3) == np.mean(CHIPS <= 0.3)
    steps = SamplingDistribution(np.array([0.0, 1.0, 1.0, 2.0]), np.nan, np.nan, 0.0, 0.5)
    assert (steps.below(1.0), steps.below(1.0, strictly=True)) == (0.75, 0.25)


@pytest.mark.parametrize("free", [4.0, 12.0, 60.0])
def test_against_draws_of_both(free):
    between, chips, overlap = 0.0012, 0.0008, 0.45
    shares = np.random.default_rng(2).random(400_000)
    variance = training_quantiles(between, chips, free, shares)
    random = np.random.default_rng(3)
    both = random.choice(CHIPS, 400_000) + np.sqrt(overlap * variance) * random.normal(size=400_000)
    ours = SamplingDistribution(CHIPS, between, chips, free, overlap)
    for share in (0.005, 0.025, 0.5, 0.975):
        assert ours.quantile(share) == pytest.approx(np.quantile(both, share), abs=6e-4)
        assert ours.below(ours.quantile(share)) == pytest.approx(share, abs=1e-4)


def test_where_chips_explain_nothing_it_is_students_t():
    alone = SamplingDistribution(np.zeros(10), 0.04, 0.0, 4.0, 0.5)
    for share in (0.025, 0.5, 0.9, 0.995):
        expected = np.sqrt(0.04 * 0.5) * stats.t.ppf(share, 4)
        assert alone.quantile(share) == pytest.approx(expected, abs=2e-3)
    assert alone.below(0.3) == pytest.approx(stats.t.cdf(0.3 / np.sqrt(0.02), 4), abs=1e-3)


def test_a_variance_that_chips_explain_still_leaves_training_possible():
    """P(v > 0) = P(χ² < ν s²/f)."""
    found = training_quantiles(0.3, 1.0, 4.0)
    assert (found >= 0).all()
    assert WEIGHTS @ (found > 0) == pytest.approx(stats.chi2.cdf(4 * 0.3, 4), abs=0.03)


@pytest.mark.parametrize("share", [0.0, 0.025, 1.0])
def test_quantiles_end_though_the_spread_is_less_than_the_spacing_of_numbers(share):
    """A search to a share of the width would never end where no number lies between the ends."""
    narrow = SamplingDistribution(np.full(100, 0.7), 1e-35, 0.0, 4.0, 0.5)
    assert narrow.quantile(share) == pytest.approx(0.7)
    wide = SamplingDistribution(np.array([0.7, 0.7 + 1e-16]), 1e-33, 0.0, 4.0, 0.5)
    assert wide.quantile(share) == pytest.approx(0.7)


@pytest.mark.parametrize("free", [1, 2, 4, 40])
@pytest.mark.parametrize("share", [0.001, 0.025, 0.5, 0.975])
def test_the_share_below_a_quantile_is_that_share(free, share):
    """With two seeds the distribution reaches millions of deviations far; its limits must be as exact as others."""
    draws = np.random.default_rng(5).normal(0.5, 0.01, 4_000)
    distribution = SamplingDistribution(draws, 2e-4, 1e-4, free, 0.45)
    assert distribution.below(distribution.quantile(share)) == pytest.approx(share, abs=3e-5)
