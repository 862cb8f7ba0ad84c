"""Scores of a run from labels and logits, by the formulas of the registry."""

from __future__ import annotations

from typing import Any

import numpy as np

from terralucas.statistics.weighted_scores import chip_terms, weighted_sums
from terralucas.tables.score_formulas import Sums
from terralucas.tables.scores import CLASS_SCORES, RUN_SCORES, SCORES


def sums_of_run(labels: np.ndarray, logits: np.ndarray) -> Sums:
    """Add up the terms of all chips, each counted once.

    Args:
        labels: (n,) class indices.
        logits: (n, K).

    Returns:
        Sums of one weighting (B = 1).
    """
    order = np.argsort(labels, kind="stable")
    labels, logits = labels[order], logits[order]
    return weighted_sums(np.ones((1, len(labels))), labels, chip_terms(labels, logits), logits.shape[1])


def evaluate(labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """Compute all scores of a run on one set of chips.

    Args:
        labels: (n,) class indices.
        logits: (n, K).

    Returns:
        The keys of `RUN_SCORES`, `n`, `per_class` and `confusion`. `per_class` has (K,) lists of recall, precision, f1
        and n; a recall without chips and a precision without predictions are None. `confusion` has K × K counts; its
        rows are true classes.
    """
    sums = sums_of_run(labels, logits)
    return {
        "n": len(labels),
        **{name: float(SCORES[name].formula(sums)[0]) for name in RUN_SCORES},
        "per_class": {
            **{name: _none_for_nan(score.formula(sums)[0]) for name, score in CLASS_SCORES.items()},
            "n": sums.true[0].astype(int).tolist(),
        },
        "confusion": sums.confusion[0].astype(int).tolist(),
    }


def _none_for_nan(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
