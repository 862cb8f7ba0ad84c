"""Scores from weighted sums over chips, for many weightings at once.

A bootstrap draw is a weighting of the same chips. Therefore one matrix product computes the sums of thousands of draws.
The formulas of the registry compute the scores from these sums.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, softmax

from terralucas.tables.score_formulas import CALIBRATION_BINS, Sums
from terralucas.tables.scores import CLASS_SCORES, SCORES


def score_names(classes: Sequence[int]) -> tuple[str, ...]:
    """Return the names of the columns of `scores`: the registry's names, then `recall:0`, … for each class."""
    return (*SCORES, *(f"{name}:{index}" for name in CLASS_SCORES for index in classes))


def chip_terms(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Compute what each chip adds to the sums.

    Args:
        labels: (n,) positions in 0 … K − 1.
        logits: (n, K).

    Returns:
        (n, K + 2 + 15 + 15 K) terms. They are: the predicted class as an indicator (K); −log p of the true class (1);
        the Brier term (1); confidence minus hit, in the bin of the confidence (15); and for each class, probability
        minus indicator of the class, in the bin of the probability (15 K).
    """
    n, n_classes = logits.shape
    rows = np.arange(n)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    truth = np.zeros((n, n_classes))
    truth[rows, labels] = 1.0
    predicted = np.zeros((n, n_classes))
    winner = logits.argmax(axis=1)
    predicted[rows, winner] = 1.0
    # From the logits and not from the probabilities, of which the smallest are rounded to zero.
    nll = -log_softmax(logits.astype(np.float64), axis=1)[rows, labels]
    brier = ((probabilities - truth) ** 2).sum(axis=1)

    gaps = np.zeros((n, n_classes, CALIBRATION_BINS))
    number = np.clip(np.ceil(probabilities * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gaps[rows[:, None], np.arange(n_classes), number] = probabilities - truth
    return np.column_stack([predicted, nll, brier, gaps[rows, winner], gaps.reshape(n, -1)])


def scores(weights: np.ndarray, labels: np.ndarray, terms: np.ndarray, n_classes: int) -> np.ndarray:
    """Compute the scores for each weighting.

    Args:
        weights: (B, n) weight of each chip.
        labels: (n,) positions of true classes, ascending.
        terms: (n, …) result of `chip_terms`; its data type is the type of the matrix product.
        n_classes: K.

    Returns:
        (B, columns) in the order of `score_names`.
    """
    sums = weighted_sums(weights, labels, terms, n_classes)
    overall = [score.formula(sums) for score in SCORES.values()]
    return np.column_stack([*overall, *(score.formula(sums) for score in CLASS_SCORES.values())])


def weighted_sums(weights: np.ndarray, labels: np.ndarray, terms: np.ndarray, n_classes: int) -> Sums:
    """Add up the terms of chips for each weighting; arguments as for `scores`."""
    bounds = np.searchsorted(labels, np.arange(n_classes + 1))
    confusion = np.stack(
        [weights[:, a:b] @ terms[a:b, :n_classes] for a, b in itertools.pairwise(bounds)], axis=1
    ).astype(np.float64)
    sums = (weights @ terms[:, n_classes:]).astype(np.float64)
    gaps = sums[:, 2:].reshape(len(sums), n_classes + 1, CALIBRATION_BINS)
    return Sums(confusion, sums[:, 0], sums[:, 1], gaps)
