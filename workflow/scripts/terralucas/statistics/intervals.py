"""Intervals for a mean over seeds and for a share of chips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit
from statsmodels.stats.proportion import proportion_confint

from terralucas.statistics.spread import known_variance


@dataclass(frozen=True)
class MeanInterval:
    """A mean over seeds with its interval.

    Limits and `p_value` are NaN if there is one seed, or if all scores are equal. With one seed, `sd` is NaN too.

    Attributes:
        mean: mean of the scores.
        sd: standard deviation of the scores, with divisor n − 1.
        n: number of scores.
        low, high: confidence limits of the mean.
        p_value: two-sided p value for a mean of zero.
    """

    mean: float
    sd: float
    n: int
    low: float
    high: float
    p_value: float


def corrected_t(scores: np.ndarray, test_to_train: float, level: float) -> MeanInterval:
    """Compute the Student t interval of a mean over J replicates whose training sets overlap.

    This is the corrected resampled t of Nadeau & Bengio (2003), Inference for the generalization error, Machine
    Learning 52: the variance of the mean is (1/J + n_test/n_train) s² instead of s²/J. It was derived for random
    resampling. For the folds of a cross-validation it is the usual approximation, and somewhat conservative.

    Args:
        scores: (J,) one score or paired difference for each replicate. If there are none, all fields but n are NaN.
        test_to_train: n_test / n_train; 0 gives the ordinary t interval.
        level: confidence level, e.g. 0.95.
    """
    scores = np.asarray(scores, dtype=np.float64)
    n = len(scores)
    mean = float(scores.mean()) if n else np.nan
    if n < 2 or not np.isfinite(mean):
        return MeanInterval(mean, np.nan, n, np.nan, np.nan, np.nan)
    sd = float(np.sqrt(known_variance(scores.var(ddof=1), abs(mean))))
    # Equal scores over a few seeds do not mean certainty, so there is no interval.
    if not sd:
        return MeanInterval(mean, 0.0, n, np.nan, np.nan, np.nan)
    error = float(np.sqrt(1.0 / n + test_to_train) * sd)
    # scipy.stats.t has the same functions, but takes forty times as long for one number.
    half = float(stdtrit(n - 1, 0.5 + level / 2.0)) * error
    return MeanInterval(mean, sd, n, mean - half, mean + half, float(2.0 * stdtr(n - 1, -abs(mean) / error)))


def equivalence_t(scores: np.ndarray, test_to_train: float, margin: float) -> float:
    """Return the p value of the two one-sided t tests (TOST) with the hypothesis that a mean lies beyond ± margin.

    Schuirmann (1987), J. Pharmacokinetics and Biopharmaceutics 15, with the variance of `corrected_t`; `scores` and
    `test_to_train` are as there.
    """
    at_margin = [corrected_t(np.asarray(scores) - bound, test_to_train, 0.95) for bound in (-margin, margin)]
    if not all(np.isfinite(each.p_value) for each in at_margin):
        return np.nan
    above, below = (
        each.p_value / 2.0 if each.mean * sign > 0 else 1.0 - each.p_value / 2.0
        for each, sign in zip(at_margin, (1.0, -1.0), strict=True)
    )
    return float(max(above, below))


def correlated_t_probabilities(scores: np.ndarray, test_to_train: float, margin: float) -> tuple[float, float, float]:
    """Return P(mean < −margin), P(−margin ≤ mean ≤ margin) and P(mean > margin) by the Bayesian correlated t test.

    Corani & Benavoli (2015), A Bayesian approach for comparing cross-validated algorithms on multiple data sets,
    Machine Learning 100; Benavoli et al. (2017), Time for a change, JMLR 18. With their prior, the mean is distributed
    as Student's t around the observed mean, with the variance of `corrected_t`. The margin is their region of practical
    equivalence.

    Args:
        scores: (J,) paired differences.
        test_to_train: n_test / n_train; 0 gives the ordinary t.
        margin: largest difference that does not matter.

    Returns:
        Three probabilities; NaN if `corrected_t` has no interval.
    """
    found = corrected_t(scores, test_to_train, 0.95)
    if not np.isfinite(found.p_value):
        return np.nan, np.nan, np.nan
    error = float(np.sqrt(1.0 / found.n + test_to_train)) * found.sd
    below = float(stdtr(found.n - 1, (-margin - found.mean) / error))
    above = float(stdtr(found.n - 1, -(margin - found.mean) / error))
    return below, 1.0 - below - above, above


def wilson(successes: float, n: float, level: float) -> tuple[float, float]:
    """Compute Wilson's score interval for a share of n test chips (Wilson 1927).

    The interval contains only the uncertainty from the chips, not the uncertainty from another split or
    initialisation.

    Args:
        successes: number of chips that are predicted rightly.
        n: number of chips. Both numbers may be effective sample sizes, which are not integers.
        level: confidence level, e.g. 0.95.

    Returns:
        Lower and upper limit; (NaN, NaN) if n is 0.
    """
    if n <= 0:
        return np.nan, np.nan
    low, high = proportion_confint(successes, n, alpha=1.0 - level, method="wilson")
    return float(low), float(high)
