"""The crossed interval of a score or a difference: seeds × test chips.

Test chips are resampled. The uncertainty from training is added to each draw as a Student t variable; its variance is
the part of the spread over seeds that test chips do not explain. Seeds are not resampled: with k folds every chip
belongs to one seed, so that resampled seeds would count the spread of the chips twice; see docs/statistics.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from terralucas.randomness import Stream, generator
from terralucas.statistics.resampling import Design, Scores
from terralucas.statistics.variance import seed_spread
from terralucas.tables.scores import score_of


@dataclass(frozen=True)
class Crossed:
    """Draws of the scores over seeds and chips.

    Attributes:
        estimate: (M,) pooled scores.
        draws: (B, M) draws of the scores.
        basic: (M,) whether interval and tests use the draws reflected at the estimate (the basic interval).
        seed_variance: (M,) what training adds to the variance of the estimate.
        acceleration: (M,) acceleration of the BCa interval.
        with_seeds: (M,) whether the draws contain the uncertainty from training; False with one seed.
    """

    estimate: np.ndarray
    draws: np.ndarray
    basic: np.ndarray
    seed_variance: np.ndarray
    acceleration: np.ndarray
    with_seeds: np.ndarray

    @property
    def shown(self) -> np.ndarray:
        """(B, M) draws from which the interval and the tests are computed."""
        return np.where(self.basic, 2.0 * self.estimate - self.draws, self.draws)

    @property
    def varies(self) -> np.ndarray:
        """(M,) whether the draws differ. Equal draws give no interval, because they do not mean certainty."""
        defined = np.isfinite(self.draws)
        top = np.where(defined, self.draws, -np.inf).max(axis=0)
        return top - np.where(defined, self.draws, np.inf).min(axis=0) > 1e-7


def crossed(design: Design, scores: Scores, seed: int, of: Literal["recipe", "contrast"]) -> Crossed:
    """Draw the pooled scores with the uncertainty from chips and from training.

    The variance from training is (1/J + n_test/n_train) times the seed component. The second term is the overlap term
    of Nadeau and Bengio (2003); it is 0 if all seeds share one split. The Student t has J − 1 degrees of freedom.

    Args:
        design: the design of the study.
        scores: Scores of a recipe or of a contrast.
        seed: seed of the random numbers.
        of: whether `scores` are of a recipe or of a contrast; this decides which scores have a basic interval.
    """
    spread = seed_spread(design, scores)
    known = spread.n > 1
    variance = np.where(known, (1.0 / np.maximum(spread.n, 1) + design.test_to_train) * spread.seeds, 0.0)
    draws = scores.drawn.astype(np.float64)
    for n in np.unique(spread.n[known]):
        columns = known & (spread.n == n)
        t = generator(seed, Stream.SEED_EFFECT).standard_t(n - 1, size=len(draws))
        draws[:, columns] += t[:, None] * np.sqrt(variance[columns])
    kinds = [getattr(score_of(name), f"{of}_interval") for name in design.names]
    reflected = np.array([kind == "basic" for kind in kinds])
    acceleration = _acceleration(scores.left_out, design.strata, variance)
    return Crossed(scores.pooled, draws, reflected, variance, acceleration, known)


def limits(crossed: Crossed, level: float) -> np.ndarray:
    """Compute the (2, M) limits of the crossed interval; NaN where the draws do not vary.

    Limits are basic where `crossed.basic` is True, otherwise percentile. The calibration error of few chips is too
    large on average. The draws add about the same bias once more, and the basic interval (Davison & Hinkley 1997,
    ch. 5) subtracts it.
    """
    shares = np.broadcast_to(np.array([[0.5 - level / 2.0], [0.5 + level / 2.0]]), (2, len(crossed.estimate)))
    return _quantiles(crossed, crossed.shown, shares)


def method(crossed: Crossed) -> list[str]:
    """Return the name of each interval of `limits`.

    The name starts with `chips` if there is one seed, because the interval then does not contain the uncertainty from
    training.
    """
    return [
        ("crossed" if seeds else "chips") + ("_basic" if basic else "_percentile")
        for basic, seeds in zip(crossed.basic, crossed.with_seeds, strict=True)
    ]


def bca(crossed: Crossed, level: float) -> np.ndarray:
    """Compute the (2, M) bias-corrected and accelerated limits; NaN where the draws do not vary.

    Efron (1987), Better bootstrap confidence intervals, JASA 82; several strata are treated as in
    scipy.stats.bootstrap. The bias is computed from the draws, and the acceleration from the jackknife over chips or
    blocks. The part from training is symmetric, so it only enters the denominator of the acceleration.
    """
    below = (_share(crossed, crossed.draws < crossed.estimate) + _share(crossed, crossed.draws <= crossed.estimate)) / 2
    # If all draws lie on one side of the estimate, the bias is infinite, and the limits are undefined.
    bias = stats.norm.ppf(np.where((below > 0) & (below < 1), below, np.nan))
    z = bias + stats.norm.ppf([[0.5 - level / 2.0], [0.5 + level / 2.0]])
    return _quantiles(crossed, crossed.draws, stats.norm.cdf(bias + z / (1.0 - crossed.acceleration * z)))


def two_sided_p(crossed: Crossed) -> np.ndarray:
    """Return the (M,) p values for a true value of zero, by inverting the interval.

    p < 1 − level where zero lies outside the interval of that level.
    """
    return np.minimum(2.0 * np.minimum(_tail(crossed, 0.0, True), _tail(crossed, 0.0, False)), 1.0)


def equivalence_p(crossed: Crossed, margin: np.ndarray) -> np.ndarray:
    """Return the (M,) p values of the two one-sided tests (TOST, Schuirmann 1987).

    The rejected hypothesis is a difference beyond ± margin. p < α where the interval of level 1 − 2α lies within the
    margin.
    """
    return np.maximum(_tail(crossed, margin, True), _tail(crossed, -margin, False))


def exceeding_p(crossed: Crossed, margin: np.ndarray) -> np.ndarray:
    """Return the (M,) two-sided p values of the hypothesis that the difference lies within ± margin.

    p < 1 − level where the whole interval lies beyond the margin on one side.
    """
    return np.minimum(2.0 * np.minimum(_tail(crossed, margin, False), _tail(crossed, -margin, True)), 1.0)


def probability_greater(crossed: Crossed) -> np.ndarray:
    """Return P(A > B) of the differences A − B: the (M,) share of draws above zero; a draw of zero counts half."""
    share = _share(crossed, crossed.shown > 0) + _share(crossed, crossed.shown == 0) / 2.0
    return np.where(crossed.varies, share, np.nan)


def _quantiles(crossed: Crossed, draws: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the (2, M) quantiles of the defined draws; NaN where they do not vary or a share is undefined."""
    quantiles = np.full(shares.shape, np.nan)
    for index in np.flatnonzero(crossed.varies & np.isfinite(shares).all(axis=0)):
        column = draws[:, index]
        quantiles[:, index] = np.quantile(column[np.isfinite(column)], shares[:, index])
    return quantiles


def _share(crossed: Crossed, selected: np.ndarray) -> np.ndarray:
    """Return the (M,) share of selected draws among the defined ones.

    A draw can be undefined: a precision is undefined if the class is never predicted in the draw.
    """
    return selected.sum(axis=0) / np.maximum(np.isfinite(crossed.draws).sum(axis=0), 1)


def _tail(crossed: Crossed, bound: float | np.ndarray, above: bool) -> np.ndarray:
    """Return the (M,) share of draws at or beyond the bound, which is never 0 (Davison & Hinkley 1997, ch. 4)."""
    beyond = crossed.shown >= bound if above else crossed.shown <= bound
    share = (beyond.sum(axis=0) + 1.0) / (np.isfinite(crossed.draws).sum(axis=0) + 1.0)
    return np.where(crossed.varies & np.isfinite(bound), share, np.nan)


def _acceleration(left_out: np.ndarray, strata: np.ndarray, seed_variance: np.ndarray) -> np.ndarray:
    """Return (M,) one sixth of the skewness of the jackknife's influence values, summed over strata."""
    third, second = np.zeros(left_out.shape[1]), seed_variance.copy()
    for n, rows in zip(strata, np.split(left_out, np.cumsum(strata)[:-1]), strict=True):
        # A score can be undefined without a unit, for example a recall without the only chip of its class.
        defined = np.isfinite(rows)
        centre = np.where(defined, rows, 0.0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
        influence = (n - 1.0) * np.where(defined, centre - rows, 0.0)
        third += (influence**3).sum(axis=0) / n**3
        second += (influence**2).sum(axis=0) / n**2
    return np.divide(third, 6.0 * second**1.5, out=np.zeros_like(third), where=second > 0)
