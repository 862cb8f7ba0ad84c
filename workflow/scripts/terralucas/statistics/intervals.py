"""Intervals for a mean over seeds, and for a share of chips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint


@dataclass(frozen=True)
class MeanInterval:
    """A mean over seeds with its interval; bounds and `p_value` are NaN with one seed (`sd` too), and where
    all scores are the same.

    Attributes:
        mean, sd, n: of the scores; sd has the divisor n − 1.
        low, high: confidence limits of the mean.
        p_value: two-sided, for a mean of zero.
    """

    mean: float
    sd: float
    n: int
    low: float
    high: float
    p_value: float


def corrected_t(scores: np.ndarray, test_to_train: float, level: float) -> MeanInterval:
    """Student-t interval of a mean over J replicates whose training sets overlap.

    Nadeau & Bengio (2003), Inference for the generalization error, Machine Learning 52: the corrected resampled t,
    whose variance of the mean is (1/J + n_test/n_train) s² instead of s²/J. It was derived for random resampling; for
    the folds of a cross-validation it is the usual, somewhat conservative approximation.

    Args:
        scores: (J,) one score, or paired difference, for each replicate; of none all but n is NaN.
        test_to_train: n_test / n_train; 0 gives the ordinary t interval.
        level: e.g. 0.95.
    """
    scores = np.asarray(scores, dtype=np.float64)
    n = len(scores)
    mean = float(scores.mean()) if n else np.nan
    if n < 2 or not np.isfinite(mean):
        return MeanInterval(mean, np.nan, n, np.nan, np.nan, np.nan)
    sd = float(scores.std(ddof=1))
    # Scores that agree over a few seeds are no certainty; rounding leaves a mean of equal scores a spread of 1e-17.
    if sd <= 1e-12 * max(1.0, abs(mean)):
        return MeanInterval(mean, 0.0, n, np.nan, np.nan, np.nan)
    error = float(np.sqrt(1.0 / n + test_to_train) * sd)
    half = float(stats.t.ppf(0.5 + level / 2.0, n - 1)) * error
    return MeanInterval(mean, sd, n, mean - half, mean + half, float(2.0 * stats.t.sf(abs(mean) / error, n - 1)))


def equivalence_t(scores: np.ndarray, test_to_train: float, margin: float) -> float:
    """p value of the two one-sided t tests (TOST) that a mean lies beyond ± margin; arguments as `corrected_t`.

    Schuirmann (1987), J. Pharmacokinetics and Biopharmaceutics 15, with the variance of `corrected_t`.
    """
    at_margin = [corrected_t(np.asarray(scores) - bound, test_to_train, 0.95) for bound in (-margin, margin)]
    if not all(np.isfinite(each.p_value) for each in at_margin):
        return np.nan
    above, below = (each.p_value / 2.0 if each.mean * sign > 0 else 1.0 - each.p_value / 2.0
                    for each, sign in zip(at_margin, (1.0, -1.0), strict=True))  # fmt: skip
    return float(max(above, below))


def wilson(successes: float, n: float, level: float) -> tuple[float, float]:
    """Wilson's score interval for a share of n chips that one run was tested on (Wilson 1927).

    It knows the chance of the chips alone: not that of another split or initialisation.

    Args:
        successes: chips that are right.
        n: chips; both may be effective numbers, which are no integers.
        level: e.g. 0.95.

    Returns:
        Limits; (NaN, NaN) without chips.
    """
    if n <= 0:
        return np.nan, np.nan
    low, high = proportion_confint(successes, n, alpha=1.0 - level, method="wilson")
    return float(low), float(high)
