"""The power of a design: the smallest difference it detects, and the seeds or chips that are needed to decide a margin.

The test is that of `crossed_interval`, with normal draws of chips: the estimate is compared with the quantiles of the
sum of the uncertainty from chips and from training. The power follows from the distributions of the estimate and of s².
The observed difference is not used.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from terralucas.statistics.sampling_distribution import WEIGHTS, chi_square_quantiles, training_quantiles

# The wanted power: the probability that a difference of the size asked for is shown.
POWER = 0.8
_MOST_SEEDS = 100
# No study can collect more times its chips than this. The factor is computed to 0.1 per cent, in doublings.
_MOST_CHIPS, _DOUBLINGS_TOLERANCE = 1000.0, 0.0007
# Newton's method stops at this relative step; the remaining error is about its square. Six steps are usual; more than
# a hundred, if variances differ by many orders of magnitude.
_TOLERANCE, _MOST_STEPS = 1e-7, 1000


@dataclass(frozen=True)
class Spreads:
    """The sources of variance of a difference.

    Attributes:
        seeds: number of seeds J.
        test_to_train: n_test / n_train; 0 if all seeds share one split.
        chips: variance of the pooled difference over test chips.
        run_chips: what test chips add to the variance between seeds.
        training: variance of one run's difference over trainings.
        free: degrees of freedom of the estimated variance between seeds; None for J − 1, those of one recipe alone.
        tested: effective share of the chips that the seeds test; see `effective_share`.
    """

    seeds: int
    test_to_train: float
    chips: float
    run_chips: float
    training: float
    free: float | None = None
    tested: float = 1.0

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the estimated variance between seeds."""
        return self.seeds - 1.0 if self.free is None else self.free

    @property
    def overlap(self) -> float:
        """κ = 1/J + n_test/n_train."""
        return 1.0 / self.seeds + self.test_to_train


def effective_share(times: Sequence[float] | np.ndarray, chips: float) -> float:
    """Return the effective number of tested chips (Kish), divided by the number of chips: 1 if all are tested alike.

    A chip that is tested again is assumed to have the same difference again. The variance of a pooled difference is
    then proportional to Σ c² / (Σ c)², for chips that are tested c times, and 1 / n if all n are tested equally often.

    Args:
        times: c of each chip that is tested.
        chips: n.

    Returns:
        (Σ c)² / (n Σ c²), at most 1.
    """
    counts = np.asarray(times, dtype=np.float64)
    return min(1.0, float(counts.sum() ** 2 / (chips * (counts**2).sum())))


def share_of_seeds(seeds: Sequence[int], folds: int) -> float:
    """Return the effective share of the chips that seeds are expected to test; see `effective_share`.

    Seed s tests the fold s mod K of the repetition s // K, which draws its folds anew. If m of the folds of a
    repetition are tested, it tests a chip with the probability m / K. So the number of tests of a chip has a variance
    of m / K · (1 − m / K) from each repetition.

    Args:
        seeds: different seeds.
        folds: number of folds K.
    """
    tested = np.array([*Counter(seed // folds for seed in seeds).values()]) / folds
    return float(tested.sum() ** 2 / (tested.sum() ** 2 + (tested * (1.0 - tested)).sum()))


def planned_spreads(
    class_counts: Sequence[float],
    folds: int,
    seeds: int,
    test_to_train: float,
    recall: Sequence[float],
    paired_correlation: float,
    training_sd: float,
    tested: float | None = None,
) -> Spreads:
    """Compute the spreads of the difference of two recipes in macro accuracy before the runs, from assumptions.

    The variance of the paired difference of a chip is 2 p (1 − p) (1 − r). A chip that is tested again is assumed to
    have the same difference again, so that repetitions reduce only the variance from training. A difference that is
    averaged over other factors varies less than this.

    Args:
        class_counts: number of chips of each class; for a holdout, only the test chips.
        folds: number of folds K; 1 for a holdout.
        seeds: number of seeds J.
        test_to_train: n_test / n_train; 0 for a holdout.
        recall: assumed recall p of each class.
        paired_correlation: correlation r between the two recipes' hits on the same chip.
        training_sd: assumed standard deviation, over trainings, of one run's difference in macro accuracy.
        tested: effective share of the chips that the seeds test (`share_of_seeds`); None for the seeds 0 to J − 1.
    """
    counts, share = np.asarray(class_counts, dtype=np.float64), np.asarray(recall, dtype=np.float64)
    all_chips = float((2.0 * share * (1.0 - share) * (1.0 - paired_correlation) / counts).sum()) / len(counts) ** 2
    tested = share_of_seeds(range(seeds), folds) if tested is None else tested
    of_run, pooled = folds * all_chips, all_chips / tested
    between = _between_runs(of_run, pooled, seeds)
    return Spreads(seeds, test_to_train, pooled, between, training_sd**2, tested=tested)


def _between_runs(of_run: float, pooled: float, seeds: int) -> float:
    """Return what test chips add to the variance between J seeds.

    It is the expectation of s² as in `variance.seed_spread`, for a Σ with trace J · of_run and sum J² · pooled.

    Args:
        of_run: variance of one run's difference over its test chips.
        pooled: variance of the pooled difference over test chips.
        seeds: number of seeds J.
    """
    return (of_run - pooled) * seeds / max(seeds - 1, 1)


def power(spreads: Spreads, difference: float, alpha: float) -> float:
    """Return the probability that the two-sided test at level alpha shows a true difference."""
    return _power(*_bounds(spreads, alpha / 2.0), difference)


def _power(bounds: np.ndarray, sd: float, difference: float) -> float:
    return float(WEIGHTS @ (ndtr((difference - bounds) / sd) + ndtr((-bounds - difference) / sd)))


def equivalence_power(spreads: Spreads, margin: float, alpha: float) -> float:
    """Return the probability that the equivalence test at level alpha succeeds if the true difference is zero."""
    bounds, sd = _bounds(spreads, alpha)
    return float(WEIGHTS @ (2.0 * ndtr(np.maximum(margin - bounds, 0.0) / sd) - 1.0))


def smallest_difference(spreads: Spreads, alpha: float, wanted: float = POWER) -> float:
    """Return the smallest true difference that is shown with the wanted power.

    The result is NaN if there is one seed, or if nothing varies.
    """
    scale = float(np.sqrt(spreads.chips + spreads.overlap * (spreads.training + spreads.run_chips)))
    if spreads.seeds < 2 or not scale > 0:
        return np.nan
    bounds, sd = _bounds(spreads, alpha / 2.0)

    def missing(difference: float) -> float:
        return _power(bounds, sd, difference) - wanted

    return float(brentq(missing, 0.0, 1000.0 * scale))


def _surplus(spreads: Spreads, margin: float, alpha: float, wanted: float) -> float:
    """Return the smaller of the two powers (difference, equivalence) minus the wanted power."""
    return min(power(spreads, margin, alpha), equivalence_power(spreads, margin, alpha)) - wanted


def decides(spreads: Spreads, margin: float, alpha: float, wanted: float = POWER) -> bool:
    """Return whether the design can decide a margin.

    It can if it has the wanted power to show a true difference of the size of the margin, and the wanted power to show
    that a true difference of zero lies within the margin.
    """
    return _surplus(spreads, margin, alpha, wanted) >= 0.0


def seeds_needed(
    design_of: Callable[[int], Spreads], margin: float, alpha: float, folds: int, wanted: float = POWER
) -> int | None:
    """Return the smallest number of seeds, in whole repetitions of the folds, that decides a margin.

    Args:
        design_of: maps a number of seeds to spreads, as `with_seeds` or `planned_spreads` return them.
        margin: the margin to decide.
        alpha: level of the tests.
        folds: number of seeds in one repetition; 1 for a holdout.
        wanted: wanted power.

    Returns:
        The number of seeds, or None if even 100 repetitions are not enough because test chips alone vary too much.
    """
    numbers = [number for number in range(folds, folds * _MOST_SEEDS + 1, folds) if number > 1]
    # More seeds never have less power, so that the first number that decides is found by bisection.
    if not decides(design_of(numbers[-1]), margin, alpha, wanted):
        return None
    return numbers[bisect_left(numbers, True, key=lambda number: decides(design_of(number), margin, alpha, wanted))]


def with_seeds(spreads: Spreads, seeds: int) -> Spreads:
    """Return the spreads of the same study with another number of seeds, in whole repetitions of the folds.

    The variances of one run from test chips and from training do not change. The variance of the pooled difference over
    test chips falls if the present seeds do not test all chips. The degrees of freedom grow as J − 1 does.
    """
    of_run = spreads.run_chips * (spreads.seeds - 1) / spreads.seeds + spreads.chips
    pooled = spreads.chips * spreads.tested
    free = None if spreads.free is None else spreads.free * (seeds - 1) / (spreads.seeds - 1)
    between = _between_runs(of_run, pooled, seeds)
    return replace(spreads, seeds=seeds, chips=pooled, run_chips=between, free=free, tested=1.0)


def chips_needed(spreads: Spreads, margin: float, alpha: float, wanted: float = POWER) -> float | None:
    """Return the factor by which the number of chips of every class must grow to decide a margin with these seeds.

    The variance from training is assumed to stay the same, although more chips would reduce it.

    Returns:
        The factor; 1 if the present chips are enough; None if even 1,000 times the chips are not, because training
        alone varies too much.
    """

    # The search computes its ends again.
    @cache
    def surplus(doublings: float) -> float:
        factor = 2.0**doublings
        more = replace(spreads, chips=spreads.chips / factor, run_chips=spreads.run_chips / factor)
        return _surplus(more, margin, alpha, wanted)

    if surplus(0.0) >= 0.0:
        return 1.0
    most = float(np.log2(_MOST_CHIPS))
    if surplus(most) < 0.0:
        return None
    found = float(brentq(surplus, 0.0, most, xtol=_DOUBLINGS_TOLERANCE))
    # The other end of the tolerance, where the margin is decided for certain.
    return float(2.0 ** (found + _DOUBLINGS_TOLERANCE))


def _bounds(spreads: Spreads, tail: float) -> tuple[np.ndarray, float]:
    """Return what an estimate must exceed for one tail's p value, at quantiles of s², and the estimate's deviation.

    The p value of an estimate x is the mean of Φ(−x / √(chips + κ v)) over the distribution of v given s².

    Args:
        spreads: the sources of variance.
        tail: p value of one tail, e.g. 0.025.

    Returns:
        (60,) bounds, at the nodes of the quadrature over s², and the true standard deviation of the estimate.
    """
    free = spreads.freedom
    observed = (spreads.training + spreads.run_chips) * chi_square_quantiles(free) / free
    part = spreads.overlap * training_quantiles(observed[:, None], spreads.run_chips, free)
    deviations = np.sqrt(spreads.chips + part)
    # Without any variance no estimate but 0 is possible, so that the bound is 0.
    weights = np.where(deviations > 0, WEIGHTS, 0.0)
    # Newton's method: the p value falls with x and is convex above 0, so that steps from below never pass the bound.
    # The p value is at least that of the k largest deviations if all of these were as small as the k-th, for each k.
    of_largest = -ndtri(np.minimum(tail / np.cumsum(WEIGHTS), 0.5))
    bounds = (deviations * of_largest).max(axis=1)
    deviations = np.where(deviations > 0, deviations, 1.0)
    for _ in range(_MOST_STEPS):
        scaled = bounds[:, None] / deviations
        missing = (weights * ndtr(-scaled)).sum(axis=1) - tail
        slope = (weights * np.exp(-0.5 * scaled**2) / deviations).sum(axis=1) / np.sqrt(2.0 * np.pi)
        step = np.divide(np.maximum(missing, 0.0), slope, out=np.zeros_like(bounds), where=slope > 0)
        bounds = bounds + step
        if np.all(step <= _TOLERANCE * bounds):
            break
    truth = spreads.chips + spreads.overlap * spreads.training
    return bounds, float(np.sqrt(truth))
