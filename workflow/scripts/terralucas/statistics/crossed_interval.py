"""The crossed interval of a score or a difference: seeds × test chips.

Test chips are resampled. The uncertainty from training is added to the distribution of the draws; its variance is
estimated from all recipes of the study (`training_variance`). Seeds are not resampled: with k folds every chip belongs
to one seed, so that resampled seeds would count the spread of the chips twice; see docs/statistics.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from terralucas.statistics.resampling import Design, Scores
from terralucas.statistics.sampling_distribution import SamplingDistribution
from terralucas.statistics.training_variance import TrainingVariance
from terralucas.tables.scores import score_of


@dataclass(frozen=True)
class Crossed:
    """The distributions of M pooled scores over seeds and chips.

    Attributes:
        estimate: (M,) pooled scores.
        drawn: for each score its distribution: draws of chips, with the uncertainty from training.
        acceleration: (M,) acceleration of the BCa interval.
        with_seeds: (M,) whether the uncertainty from training is contained; False with one seed.
        varies: (M,) whether there is an interval: its score has one (`Score.recipe_interval`), and draws of chips
            differ or training adds to them, and no class has too few chips (`Design.shows_spread`). Equal draws do not
            mean certainty.
    """

    estimate: np.ndarray
    drawn: tuple[SamplingDistribution, ...]
    acceleration: np.ndarray
    with_seeds: np.ndarray
    varies: np.ndarray


def crossed(design: Design, scores: Scores, training: TrainingVariance, of: Literal["recipe", "contrast"]) -> Crossed:
    """Make the distributions of pooled scores with the uncertainty from chips and from training.

    Args:
        design: the design of the study.
        scores: Scores of a recipe or of a contrast.
        training: what is known about its variance from training.
        of: whether `scores` are of a recipe or of a contrast; this decides which scores have an interval.
    """
    kinds = [getattr(score_of(name), f"{of}_interval") for name in design.names]
    drawn = []
    for place in range(len(scores.pooled)):
        parts = (training.between, training.from_chips, training.free, training.overlap)
        known = tuple(float(part[place]) for part in parts)
        drawn.append(SamplingDistribution(scores.drawn[:, place], *known))
    varies = has_spread(scores, training) & design.shows_spread
    varies &= np.array([kind not in ("seeds", "none") for kind in kinds])
    acceleration = _acceleration(scores.left_out, design.strata, training.of_pooled)
    return Crossed(scores.pooled, tuple(drawn), acceleration, training.known, varies)


def has_spread(scores: Scores, training: TrainingVariance) -> np.ndarray:
    """Return for each score whether draws of chips differ, or training adds to them, by more than rounding (M,)."""
    return (scores.drawn_variance > 0) | (training.of_pooled > 0)


def limits(crossed: Crossed, level: float) -> np.ndarray:
    """Compute the (2, M) percentile limits of the crossed interval; NaN where there is none."""
    shares = np.broadcast_to(np.array([[0.5 - level / 2.0], [0.5 + level / 2.0]]), (2, len(crossed.estimate)))
    return _quantiles(crossed, shares)


def method(crossed: Crossed) -> list[str]:
    """Return the name of each interval of `limits`.

    The name starts with `chips` if there is one seed, because the interval then does not contain the uncertainty from
    training.
    """
    return [f"{'crossed' if seeds else 'chips'}_percentile" for seeds in crossed.with_seeds]


def bca(crossed: Crossed, level: float) -> np.ndarray:
    """Compute the (2, M) bias-corrected and accelerated limits; NaN where there is none.

    Efron (1987), Better bootstrap confidence intervals, JASA 82; several strata are treated as in
    scipy.stats.bootstrap. The bias is computed from the distribution, and the acceleration from the jackknife over
    chips or blocks. The part from training is symmetric, so it only enters the denominator of the acceleration.
    """
    pairs = list(zip(crossed.drawn, crossed.estimate, strict=True))
    below = np.array([(each.below(value) + each.below(value, strictly=True)) / 2.0 for each, value in pairs])
    # If all draws lie on one side of the estimate, the bias is infinite, and the limits are undefined.
    bias = stats.norm.ppf(np.where((below > 0) & (below < 1), below, np.nan))
    z = bias + stats.norm.ppf([[0.5 - level / 2.0], [0.5 + level / 2.0]])
    return _quantiles(crossed, stats.norm.cdf(bias + z / (1.0 - crossed.acceleration * z)))


def two_sided_p(crossed: Crossed) -> np.ndarray:
    """Return the (M,) p values for a true value of zero, by inverting the interval.

    p < 1 − level where zero lies outside the interval of that level.
    """
    zero = np.zeros(len(crossed.estimate))
    return np.minimum(2.0 * np.minimum(_tail(crossed, zero, True), _tail(crossed, zero, False)), 1.0)


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


def _quantiles(crossed: Crossed, shares: np.ndarray) -> np.ndarray:
    """Return the (2, M) quantiles; NaN where there is no interval or a share is undefined."""
    quantiles = np.full(shares.shape, np.nan)
    for index in np.flatnonzero(crossed.varies & np.isfinite(shares).all(axis=0)):
        quantiles[:, index] = [crossed.drawn[index].quantile(float(share)) for share in shares[:, index]]
    return quantiles


def _tail(crossed: Crossed, bounds: np.ndarray, above: bool) -> np.ndarray:
    """Return the (M,) probability at or beyond the bounds, which is never 0 (Davison & Hinkley 1997, ch. 4)."""
    shares = np.full(len(bounds), np.nan)
    for index in np.flatnonzero(crossed.varies & np.isfinite(bounds)):
        each, bound = crossed.drawn[index], float(bounds[index])
        share = 1.0 - each.below(bound, strictly=True) if above else each.below(bound)
        shares[index] = (share * len(each.draws) + 1.0) / (len(each.draws) + 1.0)
    return shares


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
