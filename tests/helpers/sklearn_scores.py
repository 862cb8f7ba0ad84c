"""Scores of a run by scikit-learn, to which tests compare those of the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn import metrics as sk


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Compute the mean gap between confidence and accuracy over equal-width bins, weighted by the chips in each bin.

    Guo et al. (2017), On calibration of modern neural networks, eq. 3.

    Args:
        labels: (n,) class indices.
        probabilities: (n, K), rows sum to 1.
        bins: number of bins of (0, 1].
    """
    confidence = probabilities.max(axis=1)
    hit = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(number, weights=confidence - hit, minlength=bins)
    return float(np.abs(gap).sum() / len(labels))


def reference_scores(labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """Compute all scores of a run on one set of chips.

    Args:
        labels: (n,) class indices.
        logits: (n, K).

    Returns:
        The scores of runs.csv, `n`, `per_class` and `confusion`. `per_class` has (K,) lists of recall, precision, f1
        and n; a recall without chips and a precision without predictions are None. `confusion` has K × K counts; its
        rows are true classes.
    """
    n_classes = logits.shape[1]
    every = np.arange(n_classes)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    predictions = logits.argmax(axis=1)
    precision, recall, f1, count = sk.precision_recall_fscore_support(
        labels, predictions, labels=every, zero_division=np.nan
    )
    return {
        "n": len(labels),
        "macro_accuracy": float(sk.recall_score(labels, predictions, average="macro", labels=np.unique(labels))),
        "micro_accuracy": float(sk.accuracy_score(labels, predictions)),
        "macro_f1": float(sk.f1_score(labels, predictions, average="macro", labels=np.unique(labels), zero_division=0)),
        "mcc": float(sk.matthews_corrcoef(labels, predictions)),
        "cohen_kappa": float(sk.cohen_kappa_score(labels, predictions, labels=every)),
        "nll": float(sk.log_loss(labels, probabilities, labels=every)),
        "brier": float(sk.brier_score_loss(labels, probabilities, labels=every, scale_by_half=False)),
        "ece": expected_calibration_error(labels, probabilities),
        "per_class": {
            "recall": _none_for_nan(recall),
            "precision": _none_for_nan(precision),
            "f1": _none_for_nan(f1),
            "n": [int(value) for value in count],
        },
        "confusion": sk.confusion_matrix(labels, predictions, labels=every).tolist(),
    }


def _none_for_nan(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
