"""The variance from training, pooled over recipes: against limma's values, and studies whose variances are known."""

import numpy as np
import pytest

from helpers.small_study import SMALL, scored
from terralucas.statistics.training_variance import SeedScores, fit_prior, pooled_freedom, training_variances


def test_the_prior_is_limmas():
    """inmoose 0.9.1, a port of R's limma: `fitFDist(x, 4)`."""
    variances = np.array([0.8, 1.9, 0.4, 3.1, 1.2, 6.5, 0.9, 2.2])
    scale, free = fit_prior(variances, np.full(8, 4.0))
    assert (scale, free) == pytest.approx((1.8881420883014157, 18.13642859338321), rel=1e-9)


def test_variances_that_differ_by_chance_alone_have_one_value():
    """inmoose 0.9.1: `fitFDist([0.8, 1.1, 0.9, 1.3], 4)` gives the mean and infinite degrees of freedom."""
    assert fit_prior(np.array([0.8, 1.1, 0.9, 1.3]), np.full(4, 4.0)) == (pytest.approx(1.025), np.inf)
    assert fit_prior(np.array([0.7]), np.array([4.0])) == (0.7, 0.0)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_the_freedom_of_a_pooled_variance(correlation):
    """The variance of the pooled variance of normal scores is 2 σ⁴ / ν̃."""
    random, found, pooled = np.random.default_rng(3), [], []
    for _ in range(3_000):
        shared = random.normal(size=(1, 5))
        scores = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * random.normal(size=(6, 5))
        found.append(pooled_freedom(scores))
        pooled.append(scores.var(axis=1, ddof=1).mean())
    true = 2.0 / np.var(pooled)
    # The estimate is a ratio and too large by a quarter for some correlations. For uncorrelated recipes it is limited.
    assert 1.0 / np.mean(1.0 / np.array(found)) == pytest.approx(true, rel=0.35)
    assert all(4.0 <= each <= 24.0 for each in np.round(found, 9))


def test_recipes_inform_each_other():
    _, design, scores = scored(SMALL)
    members = [SeedScores.of(design, scores[name]) for name in "abc"]
    together, alone = training_variances(members, 0.25), training_variances(members[:1], 0.25)[0]
    place = design.names.index("macro_accuracy")
    own = members[0].spread
    assert alone.between[place] == pytest.approx(own.observed[place])
    assert alone.free[place] == 4
    ratios = [member.spread.observed[place] / member.spread.from_chips[place] for member in members]
    moderated = [each.between[place] / each.from_chips[place] for each in together]
    assert np.ptp(moderated) < np.ptp(ratios)
    assert min(ratios) <= min(moderated) <= max(moderated) <= max(ratios)
    assert all(4 < each.free[place] <= 12 for each in together)
    assert together[0].overlap[place] == pytest.approx(0.2 + 0.25)


def test_one_seed_tells_nothing_of_training():
    _, design, scores = scored(SMALL)
    spread = SeedScores.of(design, scores["a"])
    one = SeedScores(
        type(spread.spread)(np.ones_like(spread.spread.n), spread.spread.observed * np.nan, *[spread.spread.chips] * 2),
        spread.seeds[:1],
    )
    (known,) = training_variances([one], 0.25)
    assert not known.known.any()
    assert (known.of_pooled == 0).all()
    assert training_variances([], 0.25) == []
