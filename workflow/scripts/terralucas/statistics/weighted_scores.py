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

# The scores that need the gaps between probability and hits in bins.
CALIBRATION_SCORES = ("ece", "classwise_ece")
_CHIPS_AT_ONCE = 512
_UNITS_AT_ONCE = 4096


def score_names(classes: Sequence[int], only: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the names of the columns of `scores`: the registry's names, then `recall:0`, … for each class.

    Args:
        classes: index of each class.
        only: names of the registry, if only these scores are wanted.
    """
    if only is not None:
        return tuple(only)
    return (*SCORES, *(f"{name}:{index}" for name in CLASS_SCORES for index in classes))


def chip_terms(labels: np.ndarray, logits: np.ndarray, *, calibration: bool = True) -> np.ndarray:
    """Compute what each chip adds to the sums.

    Args:
        labels: (n,) positions in 0 … K − 1.
        logits: (n, K).
        calibration: whether the terms of `CALIBRATION_SCORES` are wanted, which are most of them.

    Returns:
        (n, K + 2 + 15 + 15 K) terms. They are: the predicted class as an indicator (K); −log p of the true class (1);
        the Brier term (1); confidence minus hit, in the bin of the confidence (15); and for each class, probability
        minus indicator of the class, in the bin of the probability (15 K). Without calibration, the first K + 2.
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
    if not calibration:
        return np.column_stack([predicted, nll, brier])

    gaps = np.zeros((n, n_classes, CALIBRATION_BINS))
    number = np.clip(np.ceil(probabilities * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gaps[rows[:, None], np.arange(n_classes), number] = probabilities - truth
    return np.column_stack([predicted, nll, brier, gaps[rows, winner], gaps.reshape(n, -1)])


def scores(
    weights: np.ndarray, labels: np.ndarray, terms: np.ndarray, n_classes: int, only: Sequence[str] | None = None
) -> np.ndarray:
    """Compute the scores for each weighting.

    Args:
        weights: (B, n) weight of each chip.
        labels: (n,) positions of true classes, ascending.
        terms: (n, …) result of `chip_terms`; its data type is the type of the matrix product. Without the terms of
            calibration, the scores of `CALIBRATION_SCORES` are NaN.
        n_classes: K.
        only: as for `score_names`.

    Returns:
        (B, columns) in the order of `score_names`.
    """
    return _formulas(weighted_sums(weights, labels, terms, n_classes), only)


def weighted_sums(weights: np.ndarray, labels: np.ndarray, terms: np.ndarray, n_classes: int) -> Sums:
    """Add up the terms of chips for each weighting; arguments as for `scores`."""
    bounds = np.searchsorted(labels, np.arange(n_classes + 1))
    confusion = [_add_up(weights[:, a:b], terms[a:b, :n_classes]) for a, b in itertools.pairwise(bounds)]
    return _as_sums(np.stack(confusion, axis=1), _add_up(weights, terms[:, n_classes:]))


def _add_up(weights: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Return the matrix product of weights (B, n) and terms (n, columns) as float64.

    Some libraries add all n products of float32 one after the other: with 9,000 equal chips, sums differed by 5e-6 of
    themselves. So blocks are added as float64.
    """
    total = np.zeros((len(weights), terms.shape[1]))
    for first in range(0, len(terms), _CHIPS_AT_ONCE):
        block = slice(first, first + _CHIPS_AT_ONCE)
        total += weights[:, block] @ terms[block]
    return total


def scores_without_units(
    units: np.ndarray,
    strata: np.ndarray,
    labels: np.ndarray,
    terms: np.ndarray,
    n_classes: int,
    only: Sequence[str] | None = None,
) -> np.ndarray:
    """Compute the scores without each unit; the stratum of the unit keeps its weight.

    In a stratum of m units, the others then have the weight m / (m − 1). The sums of such a weighting follow from those
    of the unit and of its stratum, without a matrix product. Some units at a time are computed, because their sums take
    thousands of bytes each.

    Args:
        units: (n,) unit of each chip, 0 … U − 1; each unit has a chip.
        strata: (U,) stratum of each unit, ascending.
        labels: (n,) positions of true classes.
        terms: (n, …) result of `chip_terms`.
        n_classes: K.
        only: as for `score_names`.

    Returns:
        (U, columns) in the order of `score_names`.
    """
    order = np.argsort(units, kind="stable")
    starts = np.searchsorted(units[order], np.arange(len(strata) + 1))
    blocks = [(first, min(first + _UNITS_AT_ONCE, len(strata))) for first in range(0, len(strata), _UNITS_AT_ONCE)]

    def sums_of_units(first: int, last: int) -> np.ndarray:
        rows = order[starts[first] : starts[last]]
        confusion = np.zeros((len(rows), n_classes, n_classes))
        confusion[np.arange(len(rows)), labels[rows]] = terms[rows, :n_classes]
        columns = np.column_stack([confusion.reshape(len(rows), -1), terms[rows, n_classes:]])
        return np.add.reduceat(columns, starts[first:last] - starts[first], axis=0)

    of_stratum = np.zeros((strata.max() + 1, n_classes**2 + terms.shape[1] - n_classes))
    for first, last in blocks:
        here, begins = np.unique(strata[first:last], return_index=True)
        of_stratum[here] += np.add.reduceat(sums_of_units(first, last), begins, axis=0)
    total, extra = of_stratum.sum(axis=0), 1.0 / np.maximum(np.bincount(strata)[strata] - 1.0, 1.0)
    without = []
    for first, last in blocks:
        of_unit = sums_of_units(first, last)
        sums = total - of_unit + extra[first:last, None] * (of_stratum[strata[first:last]] - of_unit)
        # Rounding could leave a trace of the chips of a class of which none remains, and the class would count as
        # present.
        counts = sums[:, : n_classes**2].reshape(-1, n_classes, n_classes)
        counts[counts < 1e-9] = 0.0
        without.append(_formulas(_as_sums(counts, sums[:, n_classes**2 :]), only))
    return np.concatenate(without)


def _as_sums(confusion: np.ndarray, others: np.ndarray) -> Sums:
    """Make `Sums` from the confusion matrix and the other sums (B, 2 + …); without calibration, the gaps are NaN."""
    n_rows, n_classes = confusion.shape[:2]
    gaps = others[:, 2:] if others.shape[1] > 2 else np.full((n_rows, n_classes + 1), np.nan)
    return Sums(confusion, others[:, 0], others[:, 1], gaps.reshape(n_rows, n_classes + 1, -1))


def _formulas(sums: Sums, only: Sequence[str] | None) -> np.ndarray:
    if only is not None:
        return np.column_stack([SCORES[name].formula(sums) for name in only])
    overall = [score.formula(sums) for score in SCORES.values()]
    return np.column_stack([*overall, *(score.formula(sums) for score in CLASS_SCORES.values())])
