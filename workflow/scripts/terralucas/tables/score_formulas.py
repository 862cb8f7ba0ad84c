"""Formulas of the scores, as functions of weighted sums over chips.

A bootstrap draw is a weighting of the same chips. Each formula computes its score for B weightings at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Sums:
    """Weighted sums over chips, for B weightings.

    Attributes:
        confusion: (B, K, K) counts; rows are true classes.
        nll: (B,) sum of −log p of the true class.
        brier: (B,) sum over chips and classes of (p − 1{true})².
        gaps: (B, 1 + K, bins) sum of probability minus hit in each bin of the probability: first for the predicted
            class, then for each class.
    """

    confusion: np.ndarray
    nll: np.ndarray
    brier: np.ndarray
    gaps: np.ndarray

    @cached_property
    def total(self) -> np.ndarray:
        """(B,) number of chips."""
        return self.confusion.sum(axis=(1, 2))

    @cached_property
    def hits(self) -> np.ndarray:
        """(B, K) number of right predictions of each class."""
        return np.diagonal(self.confusion, axis1=1, axis2=2)

    @cached_property
    def true(self) -> np.ndarray:
        """(B, K) number of chips of each class."""
        return self.confusion.sum(axis=2)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(B, K) number of predictions of each class."""
        return self.confusion.sum(axis=1)

    @cached_property
    def present(self) -> np.ndarray:
        """(B, K) whether a class has chips. Means over classes use only these classes, as in scikit-learn."""
        return self.true > 0

    @cached_property
    def recall(self) -> np.ndarray:
        """(B, K) recall of each class; NaN for a class without chips."""
        return ratio(self.hits, self.true)

    @cached_property
    def calibration_gaps(self) -> np.ndarray:
        """(B, 1 + K) absolute gaps between probability and accuracy, summed over bins, divided by the chips."""
        return np.abs(self.gaps).sum(axis=2) / self.total[:, None]


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def recall(sums: Sums) -> np.ndarray:
    """Return the (B, K) share of the chips of a class that are predicted as this class."""
    return sums.recall


def precision(sums: Sums) -> np.ndarray:
    """Return the (B, K) share of the predictions of a class that are right; NaN without predictions."""
    return ratio(sums.hits, sums.predicted)


def f1(sums: Sums) -> np.ndarray:
    """Return the (B, K) harmonic mean of recall and precision."""
    return ratio(2.0 * sums.hits, sums.true + sums.predicted)


def macro_accuracy(sums: Sums) -> np.ndarray:
    """Return the (B,) mean recall of the classes with chips (balanced accuracy)."""
    return np.where(sums.present, sums.recall, 0.0).sum(axis=1) / sums.present.sum(axis=1)


def micro_accuracy(sums: Sums) -> np.ndarray:
    """Return the (B,) share of chips that are predicted rightly (overall accuracy)."""
    return sums.hits.sum(axis=1) / sums.total


def macro_f1(sums: Sums) -> np.ndarray:
    """Return the (B,) mean F1 of the classes with chips."""
    return np.where(sums.present, f1(sums), 0.0).sum(axis=1) / sums.present.sum(axis=1)


def mcc(sums: Sums) -> np.ndarray:
    """Return Gorodkin's R_K (2004, eq. 8), (B,); 0 if all predictions are of one class, as in scikit-learn."""
    covariance = sums.hits.sum(axis=1) * sums.total - _chance(sums)
    true, predicted = (sums.total**2 - (counts**2).sum(axis=1) for counts in (sums.true, sums.predicted))
    return np.nan_to_num(ratio(covariance, np.sqrt(true * predicted)))


def cohen_kappa(sums: Sums) -> np.ndarray:
    """Return Cohen's kappa (1960), (B,): the agreement beyond that of independent predictions."""
    chance = _chance(sums)
    return ratio(sums.hits.sum(axis=1) * sums.total - chance, sums.total**2 - chance)


def geometric_mean(sums: Sums) -> np.ndarray:
    """Return the (B,) geometric mean of the recalls of the classes with chips; 0 if one recall is 0."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(sums.present, sums.recall, 1.0)).sum(axis=1)
    return np.exp(logs / sums.present.sum(axis=1))


def worst_class_recall(sums: Sums) -> np.ndarray:
    """Return the (B,) smallest recall of the classes with chips."""
    return np.where(sums.present, sums.recall, 1.0).min(axis=1)


def nll(sums: Sums) -> np.ndarray:
    """Return the (B,) mean negative log-likelihood."""
    return sums.nll / sums.total


def brier(sums: Sums) -> np.ndarray:
    """Return the Brier score (1950), (B,), as the sum over classes, which lies between 0 and 2."""
    return sums.brier / sums.total


def ece(sums: Sums) -> np.ndarray:
    """Return the (B,) expected calibration error over equal-width bins of confidence (Guo et al. 2017, eq. 3)."""
    return sums.calibration_gaps[:, 0]


def classwise_ece(sums: Sums) -> np.ndarray:
    """Return the (B,) mean over classes of the calibration error of their probabilities (Kull et al. 2019, eq. 2)."""
    return sums.calibration_gaps[:, 1:].mean(axis=1)


def _chance(sums: Sums) -> np.ndarray:
    """Return (B,) the expected number of hits of independent predictions, times the number of chips."""
    return (sums.true * sums.predicted).sum(axis=1)
