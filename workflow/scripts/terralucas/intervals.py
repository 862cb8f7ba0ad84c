"""Intervals for a mean over seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

NADEAU_BENGIO = "nadeau_bengio_t"
FIXED_SPLIT = "t_fixed_split"


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
        scores: (J,) one score, or paired difference, for each replicate.
        test_to_train: n_test / n_train; 0 gives the ordinary t interval.
        level: e.g. 0.95.
    """
    scores = np.asarray(scores, dtype=np.float64)
    n = len(scores)
    mean = float(scores.mean())
    if n < 2 or not np.isfinite(mean):
        return MeanInterval(mean, np.nan, n, np.nan, np.nan, np.nan)
    sd = float(scores.std(ddof=1))
    # Scores that agree over a few seeds are no certainty; rounding leaves a mean of equal scores a spread of 1e-17.
    if sd <= 1e-12 * max(1.0, abs(mean)):
        return MeanInterval(mean, 0.0, n, np.nan, np.nan, np.nan)
    error = float(np.sqrt(1.0 / n + test_to_train) * sd)
    half = float(stats.t.ppf(0.5 + level / 2.0, n - 1)) * error
    return MeanInterval(mean, sd, n, mean - half, mean + half, float(2.0 * stats.t.sf(abs(mean) / error, n - 1)))
