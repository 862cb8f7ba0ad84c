"""Formulas of the scores, as functions of sums over chips.

A resampled study is a weighting of the same chips, so each formula computes the score of B weightings at once.
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
        confusion: (B, K, K) counts, rows are true classes.
        nll: (B,) sum of −log p of the true class.
        brier: (B,) sum over chips and classes of (p − 1{true})².
        gaps: (B, 1 + K, bins) sum of probability minus hit in each bin of probability: first of the predicted class,
            then of each class.
    """

    confusion: np.ndarray
    nll: np.ndarray
    brier: np.ndarray
    gaps: np.ndarray

    @cached_property
    def total(self) -> np.ndarray:
        """(B,) chips."""
        return self.confusion.sum(axis=(1, 2))

    @cached_property
    def hits(self) -> np.ndarray:
        """(B, K) right predictions of each class."""
        return np.diagonal(self.confusion, axis1=1, axis2=2)

    @cached_property
    def true(self) -> np.ndarray:
        """(B, K) chips of each class."""
        return self.confusion.sum(axis=2)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(B, K) predictions of each class."""
        return self.confusion.sum(axis=1)

    @cached_property
    def present(self) -> np.ndarray:
        """(B, K) whether a class has chips. Means over classes are over these, as in scikit-learn."""
        return self.true > 0

    @cached_property
    def recall(self) -> np.ndarray:
        """(B, K) NaN for a class without chips."""
        return ratio(self.hits, self.true)

    @cached_property
    def calibration_gaps(self) -> np.ndarray:
        """(B, 1 + K) gap between probability and accuracy, added up over bins, as a share of all chips."""
        return np.abs(self.gaps).sum(axis=2) / self.total[:, None]


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient, NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def recall(sums: Sums) -> np.ndarray:
    """(B, K) share of a class's chips that are predicted as this class."""
    return sums.recall


def precision(sums: Sums) -> np.ndarray:
    """(B, K) share of the predictions of a class that are right; NaN where there are none."""
    return ratio(sums.hits, sums.predicted)


def f1(sums: Sums) -> np.ndarray:
    """(B, K) harmonic mean of recall and precision."""
    return ratio(2.0 * sums.hits, sums.true + sums.predicted)


def macro_accuracy(sums: Sums) -> np.ndarray:
    """(B,) mean recall of the classes with chips (balanced accuracy)."""
    return np.where(sums.present, sums.recall, 0.0).sum(axis=1) / sums.present.sum(axis=1)


def micro_accuracy(sums: Sums) -> np.ndarray:
    """(B,) share of chips that are right (overall accuracy)."""
    return sums.hits.sum(axis=1) / sums.total


def macro_f1(sums: Sums) -> np.ndarray:
    """(B,) mean F1 of the classes with chips."""
    return np.where(sums.present, f1(sums), 0.0).sum(axis=1) / sums.present.sum(axis=1)


def mcc(sums: Sums) -> np.ndarray:
    """(B,) Gorodkin's R_K (2004, eq. 8); 0 where one class is predicted throughout, as in scikit-learn."""
    covariance = sums.hits.sum(axis=1) * sums.total - _chance(sums)
    true, predicted = (sums.total**2 - (counts**2).sum(axis=1) for counts in (sums.true, sums.predicted))
    return np.nan_to_num(ratio(covariance, np.sqrt(true * predicted)))


def cohen_kappa(sums: Sums) -> np.ndarray:
    """(B,) Cohen (1960): agreement beyond that of independent marginals."""
    chance = _chance(sums)
    return ratio(sums.hits.sum(axis=1) * sums.total - chance, sums.total**2 - chance)


def geometric_mean(sums: Sums) -> np.ndarray:
    """(B,) geometric mean of the recalls of the classes with chips; 0 if one of them is 0."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(sums.present, sums.recall, 1.0)).sum(axis=1)
    return np.exp(logs / sums.present.sum(axis=1))


def worst_class_recall(sums: Sums) -> np.ndarray:
    """(B,) smallest recall of the classes with chips."""
    return np.where(sums.present, sums.recall, 1.0).min(axis=1)


def nll(sums: Sums) -> np.ndarray:
    """(B,) mean negative log-likelihood."""
    return sums.nll / sums.total


def brier(sums: Sums) -> np.ndarray:
    """(B,) Brier (1950), the sum over classes, 0 to 2."""
    return sums.brier / sums.total


def ece(sums: Sums) -> np.ndarray:
    """(B,) expected calibration error over equal-width bins of confidence (Guo et al. 2017, eq. 3)."""
    return sums.calibration_gaps[:, 0]


def classwise_ece(sums: Sums) -> np.ndarray:
    """(B,) mean over classes of the calibration error of their probabilities (Kull et al. 2019, eq. 2)."""
    return sums.calibration_gaps[:, 1:].mean(axis=1)


def _chance(sums: Sums) -> np.ndarray:
    return (sums.true * sums.predicted).sum(axis=1)
