"""What a design can decide: the smallest difference it detects, and the seeds or chips a margin needs.

The test is the one of `crossed`: estimate against √(chips + κ max(0, s² − chips of a run)), with Satterthwaite's
degrees of freedom. Its power is computed from what varies, the estimate and s², not from the observed difference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.optimize import brentq

_QUADRATURE = (np.arange(400) + 0.5) / 400
_MOST_SEEDS = 100


@dataclass(frozen=True)
class Spreads:
    """What a difference varies by.

    Attributes:
        seeds: J.
        test_to_train: n_test / n_train; 0 for one split.
        chips: variance of the pooled difference over test chips.
        run_chips: what chips add to the variance between seeds.
        training: variance of one run's difference from its training.
    """

    seeds: int
    test_to_train: float
    chips: float
    run_chips: float
    training: float

    @property
    def overlap(self) -> float:
        """κ = 1/J + n_test/n_train."""
        return 1.0 / self.seeds + self.test_to_train


def planned_spreads(
    class_counts: Sequence[float],
    folds: int,
    seeds: int,
    test_to_train: float,
    recall: Sequence[float],
    paired_correlation: float,
    training_sd: float,
) -> Spreads:
    """Spreads of the difference of two recipes in macro accuracy before the run, from stated assumptions.

    The variance of the paired difference of a chip is 2 p (1 − p) (1 − r). A chip that is tested again is taken to
    repeat its difference, so that repetitions lessen the part of training alone. A difference averaged over other
    factors varies less than this.

    Args:
        class_counts: chips of each class; of a holdout those of its test part.
        folds: K of the k folds; 1 for a holdout.
        seeds: J.
        test_to_train: n_test / n_train; 0 for a holdout.
        recall: p, assumed of each class.
        paired_correlation: r, of two recipes being right on the same chip.
        training_sd: assumed standard deviation over trainings of one run's difference in macro accuracy.
    """
    counts, share = np.asarray(class_counts, dtype=np.float64), np.asarray(recall, dtype=np.float64)
    all_chips = float((2.0 * share * (1.0 - share) * (1.0 - paired_correlation) / counts).sum()) / len(counts) ** 2
    of_run, pooled = folds * all_chips, all_chips * folds / min(seeds, folds)
    # The expectation of s² in `variance.seed_spread`, whose Σ has trace J of_run and sum J² pooled.
    between = (of_run - pooled) * seeds / max(seeds - 1, 1)
    return Spreads(seeds, test_to_train, pooled, between, training_sd**2)


def power(spreads: Spreads, difference: float, alpha: float) -> float:
    """Probability that the two-sided test at level alpha shows a true difference."""
    errors, critical, sd = _test(spreads, 1.0 - alpha / 2.0)
    bound = errors * critical
    return float(np.mean(stats.norm.sf((bound - difference) / sd) + stats.norm.cdf((-bound - difference) / sd)))


def equivalence_power(spreads: Spreads, margin: float, alpha: float) -> float:
    """Probability that the equivalence test at level alpha shows recipes without any difference to be equivalent."""
    errors, critical, sd = _test(spreads, 1.0 - alpha)
    room = np.maximum(margin - errors * critical, 0.0) / sd
    return float(np.mean(2.0 * stats.norm.cdf(room) - 1.0))


def smallest_difference(spreads: Spreads, alpha: float, wanted: float = 0.8) -> float:
    """Smallest true difference that is shown with the wanted power; NaN where nothing varies or seeds are one."""
    scale = float(np.sqrt(spreads.chips + spreads.overlap * (spreads.training + spreads.run_chips)))
    if spreads.seeds < 2 or not scale > 0:
        return np.nan
    return float(brentq(lambda difference: power(spreads, difference, alpha) - wanted, 0.0, 200.0 * scale))


def decides(spreads: Spreads, margin: float, alpha: float, wanted: float = 0.8) -> bool:
    """Whether a margin can be decided: a difference of its size is shown, and none at all is shown to be within it."""
    return power(spreads, margin, alpha) >= wanted and equivalence_power(spreads, margin, alpha) >= wanted


def seeds_needed(
    design_of: Callable[[int], Spreads], margin: float, alpha: float, folds: int, wanted: float = 0.8
) -> int | None:
    """Fewest seeds, in whole repetitions of the folds, that decide a margin.

    Args:
        design_of: seeds → spreads, as `with_seeds` or `planned_spreads` give them.
        margin: to be decided.
        alpha: level of the tests.
        folds: seeds of one repetition; 1 for a holdout.
        wanted: power.

    Returns:
        The number, or None where even 100 repetitions would not do, because test chips alone leave too much open.
    """
    numbers = range(folds, folds * _MOST_SEEDS + 1, folds)
    return next((n for n in numbers if n > 1 and decides(design_of(n), margin, alpha, wanted)), None)


def with_seeds(spreads: Spreads, seeds: int) -> Spreads:
    """The same study with more or fewer whole repetitions: what chips and one training vary by stays as it is."""
    factor = (spreads.seeds - 1) / spreads.seeds * seeds / (seeds - 1)
    return replace(spreads, seeds=seeds, run_chips=spreads.run_chips * factor)


def chips_needed(spreads: Spreads, margin: float, alpha: float, wanted: float = 0.8) -> float | None:
    """Factor by which the chips of every class would have to grow for these seeds to decide a margin.

    The part of training is taken to stay as it is, though more chips would lessen it. None where it alone leaves too
    much open; 1 where the chips suffice.
    """

    def with_chips(factor: float) -> Spreads:
        return replace(spreads, chips=spreads.chips / factor, run_chips=spreads.run_chips / factor)

    if decides(spreads, margin, alpha, wanted):
        return 1.0
    low, high = 1.0, 2.0
    while not decides(with_chips(high), margin, alpha, wanted):
        low, high = high, 2.0 * high
        if high > 1e6:
            return None
    while high / low > 1.001:
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if decides(with_chips(middle), margin, alpha, wanted) else (middle, high)
    return high


def _test(spreads: Spreads, quantile: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Standard errors and critical values over the distribution of s², and the true deviation of the estimate."""
    free = spreads.seeds - 1
    expected = spreads.training + spreads.run_chips
    observed = expected * stats.chi2.ppf(_QUADRATURE, free) / free
    part = spreads.overlap * np.maximum(observed - spreads.run_chips, 0.0)
    variance = spreads.chips + part
    # Satterthwaite: the chips' variance is known well, that of training with J − 1 degrees of freedom.
    freedom = np.divide(variance**2 * free, part**2, out=np.full_like(part, 1e9), where=part > 1e-6 * variance)
    truth = spreads.chips + spreads.overlap * spreads.training
    return np.sqrt(variance), stats.t.ppf(quantile, np.minimum(freedom, 1e9)), float(np.sqrt(truth))
