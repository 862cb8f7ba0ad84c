"""Sets of classes that contain the true class with a chosen probability, from predictions on held-out chips.

A class is in the set of a chip unless the model finds it less probable there than on most held-out chips of that class.
The sets are class-conditional (Mondrian; Vovk, Gammerman & Shafer 2005, section 4.5), so that rare classes are covered
as often as common ones. With several models, each compares a new chip with the chips that it was not trained on, and
their counts are added: cross-conformal prediction (Vovk 2015, Annals of Mathematics and Artificial Intelligence 74).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# P values are fractions of whole numbers of chips. One that equals 1 − coverage differs from it only by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Calibration:
    """Predictions of models on chips that they were not trained on; N rows, one for each model and chip.

    Attributes:
        member: (N,) position of the model.
        chip: (N,) number of the chip.
        label: (N,) class index of the chip.
        score: (N,) nonconformity: 1 minus the probability of the true class.
        n_classes: number of classes K.
    """

    member: np.ndarray
    chip: np.ndarray
    label: np.ndarray
    score: np.ndarray
    n_classes: int

    def without(self, rows: np.ndarray) -> Calibration:
        """Return the calibration without the rows of a mask (N,)."""
        kept = ~rows
        return Calibration(self.member[kept], self.chip[kept], self.label[kept], self.score[kept], self.n_classes)

    def chips_of_classes(self) -> np.ndarray:
        """Return the (K,) number of different chips of each class."""
        return np.array([len(np.unique(self.chip[self.label == label])) for label in range(self.n_classes)])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return float64 probabilities (…, K) of logits (…, K)."""
    shifted = np.exp(np.asarray(logits, dtype=np.float64) - np.max(logits, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def p_values(calibration: Calibration, probabilities: np.ndarray) -> np.ndarray:
    """Return for each chip and class a p value of the hypothesis that the chip has this class.

    For class k it is (1 + c / r) / (1 + n / r). n is the number of rows of the class in the calibration, c of them are
    at least as nonconforming under the same model as the new chip, and r is the number of rows of a chip. If chips and
    held-out chips are exchangeable, it is at most α with a probability of about α.

    Args:
        calibration: predictions on held-out chips.
        probabilities: (J, n, K) probabilities of the J models for n chips.

    Returns:
        (n, K) p values.
    """
    counts = np.zeros(probabilities.shape[1:])
    rows = np.bincount(calibration.label, minlength=calibration.n_classes).astype(np.float64)
    repeats = np.maximum(rows / np.maximum(calibration.chips_of_classes(), 1), 1.0)
    for label in range(calibration.n_classes):
        own = calibration.label == label
        for member, given in enumerate(probabilities[:, :, label]):
            scores = np.sort(calibration.score[own & (calibration.member == member)])
            counts[:, label] += len(scores) - np.searchsorted(scores, 1.0 - given, side="left")
    return np.asarray((1.0 + counts / repeats) / (1.0 + rows / repeats))


def in_sets(p_values: np.ndarray, coverage: float) -> np.ndarray:
    """Return whether each class is in the set of each chip: where its p value is larger than 1 − coverage.

    Args:
        p_values: (n, K) p values.
        coverage: share of chips whose set should contain the true class.
    """
    return np.asarray(p_values > 1.0 - coverage + _ROUNDING)


def expected_coverage(chips: np.ndarray, coverage: float, level: float = 0.95) -> tuple[float, float]:
    """Return the range in which the coverage of the sets of new chips lies with a probability.

    The sets depend on the held-out chips, so that their coverage of new chips differs from study to study. With n
    held-out chips of a class it is distributed as Beta(n + 1 − m, m), with m = ⌊(1 − coverage) (n + 1)⌋, for one model
    and exchangeable chips (Vovk 2012, Conditional validity of inductive conformal predictors, Machine Learning 92).
    That of several classes together is taken as a beta distribution with the mean and variance of their mean.

    Args:
        chips: (C,) number of held-out chips of each class; the classes are weighted by it.
        coverage: share of chips whose set should contain the true class.
        level: the probability.
    """
    from scipy.stats import beta

    n = np.asarray(chips, dtype=np.float64)
    left_out = np.floor((1.0 - coverage + _ROUNDING) * (n + 1.0))
    weights = n / n.sum()
    mean = 1.0 - left_out / (n + 1.0)
    variance = float(weights**2 @ (mean * (1.0 - mean) / (n + 2.0)))
    middle = float(weights @ mean)
    if variance == 0:
        return middle, middle
    size = middle * (1.0 - middle) / variance - 1.0
    low, high = beta.ppf([0.5 - level / 2.0, 0.5 + level / 2.0], middle * size, (1.0 - middle) * size)
    return float(low), float(high)


def held_out_p_values(calibration: Calibration, probabilities: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return p values of held-out chips, each from the calibration without the part of the chips that it is in.

    The scores of a chip under its own model are compared with those of other chips under the models that were not
    trained on these.

    Args:
        calibration: predictions on held-out chips.
        probabilities: (N, K) probabilities of the rows of the calibration.
        part: (N,) part of each row; all rows of a chip are in the same part, such as its test fold.

    Returns:
        (N, K) p values.
    """
    values = np.empty(probabilities.shape)
    for number in np.unique(part):
        inside = part == number
        others = calibration.without(inside)
        # Compared over all models: the model of a fold has no other held-out chips.
        pooled = Calibration(np.zeros_like(others.member), others.chip, others.label, others.score, others.n_classes)
        values[inside] = p_values(pooled, probabilities[inside][None])
    return values
