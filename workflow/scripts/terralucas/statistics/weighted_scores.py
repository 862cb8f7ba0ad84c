"""Scores from weighted sums over chips, for many weightings at once.

Every score here is a function of sums over chips: counts of (true class, predicted class), the sum of −log p, of the
Brier terms, and of probability minus hit in each bin of probability. A resampled study is a weighting of the same
chips, so thousands of them are one matrix product. `metrics.evaluate` scores a single run with scikit-learn; tests hold
the two together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from terralucas.statistics.run_scores import CALIBRATION_BINS

SCORES = (
    "macro_accuracy",
    "micro_accuracy",
    "macro_f1",
    "mcc",
    "cohen_kappa",
    "geometric_mean",
    "worst_class_recall",
    "nll",
    "brier",
    "ece",
    "classwise_ece",
)
CLASS_SCORES = ("recall", "precision", "f1")
_SMALLEST = np.finfo(np.float64).eps


def score_names(classes: Sequence[int]) -> tuple[str, ...]:
    """Names of the columns of `scores`: `SCORES`, then `recall:0`, … for each class."""
    return (*SCORES, *(f"{name}:{index}" for name in CLASS_SCORES for index in classes))


def cells(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """What each chip adds to the sums.

    Args:
        labels: (n,) positions in 0 … K − 1.
        logits: (n, K).

    Returns:
        (n, K + 2 + 15 + 15K): predicted class as indicator (K), −log p (1), Brier term (1), confidence minus hit in
        the bin of the confidence (15), and for each class probability minus hit in the bin of its probability (15 K).
    """
    n, n_classes = logits.shape
    rows = np.arange(n)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    truth = np.zeros((n, n_classes))
    truth[rows, labels] = 1.0
    predicted = np.zeros((n, n_classes))
    winner = logits.argmax(axis=1)
    predicted[rows, winner] = 1.0
    # Clipped as scikit-learn's log_loss, so that one certain error does not make the mean infinite.
    nll = -np.log(np.maximum(probabilities[rows, labels], _SMALLEST))
    brier = ((probabilities - truth) ** 2).sum(axis=1)

    gaps = np.zeros((n, n_classes, CALIBRATION_BINS))
    number = np.clip(np.ceil(probabilities * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gaps[rows[:, None], np.arange(n_classes), number] = probabilities - truth
    return np.column_stack([predicted, nll, brier, gaps[rows, winner], gaps.reshape(n, -1)])


def scores(weights: np.ndarray, labels: np.ndarray, cells: np.ndarray, n_classes: int) -> np.ndarray:
    """Scores of each weighting.

    Args:
        weights: (B, n) how often each chip counts.
        labels: (n,) positions of true classes, ascending.
        cells: (n, …) of `cells`, in the type the product is to be computed in.
        n_classes: K.

    Returns:
        (B, 11 + 3K) in the order of `score_names`. Means over classes are over those with chips, as in scikit-learn
        with the labels that occur; a recall without chips, and a precision without predictions, are NaN.
    """
    bounds = np.searchsorted(labels, np.arange(n_classes + 1))
    confusion = np.stack(
        [weights[:, a:b] @ cells[a:b, :n_classes] for a, b in itertools.pairwise(bounds)], axis=1
    ).astype(np.float64)
    sums = (weights @ cells[:, n_classes:]).astype(np.float64)
    total = confusion.sum(axis=(1, 2))
    gaps = np.abs(sums[:, 2:]).reshape(len(sums), n_classes + 1, CALIBRATION_BINS).sum(axis=2) / total[:, None]
    overall, per_class = _of_confusion(confusion, total)
    return np.column_stack([overall, sums[:, :2] / total[:, None], gaps[:, 0], gaps[:, 1:].mean(axis=1), per_class])


def _of_confusion(confusion: np.ndarray, total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, 7) scores of the whole table, and (B, 3K) of its classes."""
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    recall, precision, f1 = _ratio(hits, true), _ratio(hits, predicted), _ratio(2.0 * hits, true + predicted)
    present = true > 0
    n_present = present.sum(axis=1)

    chance = (true * predicted).sum(axis=1)
    covariance = hits.sum(axis=1) * total - chance
    spreads = (total**2 - (true**2).sum(axis=1)) * (total**2 - (predicted**2).sum(axis=1))
    with np.errstate(divide="ignore"):
        logs = np.log(np.where(present, recall, 1.0)).sum(axis=1)
    overall = [
        np.where(present, recall, 0.0).sum(axis=1) / n_present,
        hits.sum(axis=1) / total,
        np.where(present, f1, 0.0).sum(axis=1) / n_present,
        # Gorodkin (2004), R_K; 0 where one class is predicted throughout, as in scikit-learn.
        np.nan_to_num(_ratio(covariance, np.sqrt(spreads))),
        _ratio(covariance, total**2 - chance),
        np.exp(logs / n_present),
        np.where(present, recall, 1.0).min(axis=1),
    ]
    return np.stack(overall, axis=1), np.concatenate([recall, precision, f1], axis=1)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
