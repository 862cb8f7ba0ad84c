"""The crossed interval of a score or a difference: seeds × test chips.

Test chips are resampled; to each draw the uncertainty from training is added, as a Student t with the variance that
the spread over seeds has beyond what chips explain. docs/statistics.md says why this and not a resampling of seeds:
under k folds every chip belongs to one seed, so that resampled seeds bring the chips' own spread in a second time.
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
    """The draws of a score over seeds and chips.

    Attributes:
        estimate: (M,) pooled scores.
        draws: (B, M).
        basic: (M,) whether the interval and the tests are of the draws reflected at the estimate.
        seed_variance: (M,) what training adds to the variance of the estimate.
        acceleration: (M,) of the BCa interval.
        with_seeds: (M,) whether the draws hold the uncertainty of training; False with one seed.
    """

    estimate: np.ndarray
    draws: np.ndarray
    basic: np.ndarray
    seed_variance: np.ndarray
    acceleration: np.ndarray
    with_seeds: np.ndarray

    @property
    def shown(self) -> np.ndarray:
        """(B, M) the draws that the interval and the tests are made of."""
        return np.where(self.basic, 2.0 * self.estimate - self.draws, self.draws)

    @property
    def varies(self) -> np.ndarray:
        """(M,) False where no draw differs from another: no spread is no certainty."""
        defined = np.isfinite(self.draws)
        top = np.where(defined, self.draws, -np.inf).max(axis=0)
        return top - np.where(defined, self.draws, np.inf).min(axis=0) > 1e-7


def crossed(design: Design, scores: Scores, seed: int, of: Literal["recipe", "contrast"]) -> Crossed:
    """Draws of the pooled scores with the uncertainty of chips and of training.

    The variance from training is (1/J + n_test/n_train) times the seed component, with the overlap term of Nadeau and
    Bengio (2003), which is 0 where all seeds share one split; its J − 1 degrees of freedom are those of the Student t.

    Args:
        design: of the study.
        scores: of a recipe or a contrast.
        seed: of the random numbers.
        of: which of the two; it decides which scores have a basic interval.
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
    """(2, M) limits: basic for the scores asked for, percentile for the others; NaN where the draws do not vary.

    A calibration error of few chips is too large, and that of their draws is again too large by about as much; the
    basic interval (Davison & Hinkley 1997, ch. 5) takes off what the draws add.
    """
    shares = np.broadcast_to(np.array([[0.5 - level / 2.0], [0.5 + level / 2.0]]), (2, len(crossed.estimate)))
    return _quantiles(crossed, crossed.shown, shares)


def method(crossed: Crossed) -> list[str]:
    """Name of each interval of `limits`. One seed says nothing about training: its interval is over chips alone."""
    return [
        ("crossed" if seeds else "chips") + ("_basic" if basic else "_percentile")
        for basic, seeds in zip(crossed.basic, crossed.with_seeds, strict=True)
    ]


def bca(crossed: Crossed, level: float) -> np.ndarray:
    """(2, M) bias-corrected and accelerated limits; NaN where the draws do not vary.

    Efron (1987), Better bootstrap confidence intervals, JASA 82, for samples of several strata as in
    scipy.stats.bootstrap. The bias comes from the draws, the acceleration from the jackknife over chips (or blocks);
    the part of training is symmetric, so that it enters the acceleration's denominator alone.
    """
    below = (_share(crossed, crossed.draws < crossed.estimate) + _share(crossed, crossed.draws <= crossed.estimate)) / 2
    # Where all draws lie on one side of the estimate the bias is without bounds, and so are the limits.
    bias = stats.norm.ppf(np.where((below > 0) & (below < 1), below, np.nan))
    z = bias + stats.norm.ppf([[0.5 - level / 2.0], [0.5 + level / 2.0]])
    return _quantiles(crossed, crossed.draws, stats.norm.cdf(bias + z / (1.0 - crossed.acceleration * z)))


def two_sided_p(crossed: Crossed) -> np.ndarray:
    """(M,) p value of zero, by inversion of the interval: p < 1 − level where zero lies outside it."""
    return np.minimum(2.0 * np.minimum(_tail(crossed, 0.0, True), _tail(crossed, 0.0, False)), 1.0)


def equivalence_p(crossed: Crossed, margin: np.ndarray) -> np.ndarray:
    """(M,) p value of the two one-sided tests of a difference beyond ± margin (Schuirmann 1987).

    p < α where the interval of level 1 − 2α lies within the margin.
    """
    return np.maximum(_tail(crossed, margin, True), _tail(crossed, -margin, False))


def exceeding_p(crossed: Crossed, margin: np.ndarray) -> np.ndarray:
    """(M,) p value of a difference within ± margin, two-sided.

    p < 1 − level where the interval lies beyond the margin, on either side.
    """
    return np.minimum(2.0 * np.minimum(_tail(crossed, margin, False), _tail(crossed, -margin, True)), 1.0)


def probability_greater(crossed: Crossed) -> np.ndarray:
    """(M,) share of draws above zero, ties counted half: P(A > B) of a difference A − B."""
    share = _share(crossed, crossed.shown > 0) + _share(crossed, crossed.shown == 0) / 2.0
    return np.where(crossed.varies, share, np.nan)


def _quantiles(crossed: Crossed, draws: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(2, M) quantiles of the defined draws; NaN where they do not vary or a share is undefined."""
    found = np.full(shares.shape, np.nan)
    for index in np.flatnonzero(crossed.varies & np.isfinite(shares).all(axis=0)):
        column = draws[:, index]
        found[:, index] = np.quantile(column[np.isfinite(column)], shares[:, index])
    return found


def _share(crossed: Crossed, those: np.ndarray) -> np.ndarray:
    """(M,) share among the defined draws; a precision is undefined in draws without predictions."""
    return those.sum(axis=0) / np.maximum(np.isfinite(crossed.draws).sum(axis=0), 1)


def _tail(crossed: Crossed, bound: float | np.ndarray, above: bool) -> np.ndarray:
    """(M,) share of draws at or beyond the bound, never 0 (Davison & Hinkley 1997, ch. 4)."""
    beyond = crossed.shown >= bound if above else crossed.shown <= bound
    share = (beyond.sum(axis=0) + 1.0) / (np.isfinite(crossed.draws).sum(axis=0) + 1.0)
    return np.where(crossed.varies & np.isfinite(bound), share, np.nan)


def _acceleration(left_out: np.ndarray, strata: np.ndarray, seed_variance: np.ndarray) -> np.ndarray:
    """(M,) one sixth of the skewness of the jackknife's influence values, summed over strata."""
    third, second = np.zeros(left_out.shape[1]), seed_variance.copy()
    for n, rows in zip(strata, np.split(left_out, np.cumsum(strata)[:-1]), strict=True):
        # A score without a unit may be undefined, as a recall without its only chip.
        defined = np.isfinite(rows)
        centre = np.where(defined, rows, 0.0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
        influence = (n - 1.0) * np.where(defined, centre - rows, 0.0)
        third += (influence**3).sum(axis=0) / n**3
        second += (influence**2).sum(axis=0) / n**2
    return np.divide(third, 6.0 * second**1.5, out=np.zeros_like(third), where=second > 0)
