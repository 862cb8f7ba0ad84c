"""The scores of one recipe with both intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from terralucas.statistics.crossed_interval import bca, crossed, limits, method
from terralucas.statistics.intervals import corrected_t, wilson
from terralucas.statistics.resampling import Design, Scores
from terralucas.statistics.variance import seed_spread
from terralucas.tables.scores import score_of
from terralucas.tables.vocabulary import FIXED_SPLIT, NADEAU_BENGIO


def scores_table(design: Design, scores: Scores, level: float, seed: int) -> pd.DataFrame:
    """One row for each score of a recipe.

    Args:
        design: of the study.
        scores: of the recipe.
        level: of the intervals.
        seed: of the random numbers.

    Returns:
        Columns: metric (`recall:3` for that of class index 3), n (test chips; of the class for its scores); pooled,
        crossed_low, crossed_high, crossed_interval (how it is made), bca_low, bca_high; mean, sd, n_seeds,
        seeds_low, seeds_high, seeds_interval; wilson_low, wilson_high (recalls alone); level.
    """
    draws = crossed(design, scores, seed, "recipe")
    lowest = np.array([score_of(name).lowest for name in design.names])
    highest = np.array([score_of(name).highest for name in design.names])
    shown, corrected = (np.clip(each, lowest, highest) for each in (limits(draws, level), bca(draws, level)))
    by_seed = [corrected_t(column[np.isfinite(column)], design.test_to_train, level) for column in scores.seeds.T]
    shares = _recall_limits(design, scores, level)
    return pd.DataFrame({
        "metric": design.names,
        "n": _chips(design),
        "pooled": scores.pooled,
        "crossed_low": shown[0],
        "crossed_high": shown[1],
        "crossed_interval": method(draws),
        "bca_low": corrected[0],
        "bca_high": corrected[1],
        "mean": [each.mean for each in by_seed],
        "sd": [each.sd for each in by_seed],
        "n_seeds": [each.n for each in by_seed],
        "seeds_low": np.clip([each.low for each in by_seed], lowest, highest),
        "seeds_high": np.clip([each.high for each in by_seed], lowest, highest),
        "seeds_interval": FIXED_SPLIT if design.test_to_train == 0 else NADEAU_BENGIO,
        "wilson_low": shares[0],
        "wilson_high": shares[1],
        "level": level,
    })  # fmt: skip


def _chips(design: Design) -> np.ndarray:
    """Test chips behind each score: all of them, or those of the class."""
    counts = np.bincount(design.labels, minlength=len(design.classes))
    own = dict(zip(design.classes, counts, strict=True))
    return np.array([own[int(name.partition(":")[2])] if ":" in name else len(design.labels) for name in design.names])


def _recall_limits(design: Design, scores: Scores, level: float) -> np.ndarray:
    """(2, M) Wilson limits of the recalls, with as many chips as the spread over seeds makes them worth.

    The variance of a share p of n chips is p (1 − p) / n; with training's part V added, the same variance belongs to
    n* = p (1 − p) / (p (1 − p) / n + V) chips (effective sample size; Korn & Graubard 1998, Survey Methodology 24).
    """
    limits = np.full((2, len(design.names)), np.nan)
    spread = seed_spread(design, scores)
    training = (1.0 / np.maximum(spread.n, 1) + design.test_to_train) * spread.seeds
    for index, n in enumerate(_chips(design)):
        share = scores.pooled[index]
        if design.names[index].startswith("recall:") and n:
            variance = share * (1.0 - share)
            effective = variance / (variance / n + training[index]) if variance > 0 else float(n)
            limits[:, index] = wilson(share * effective, effective, level)
    return limits
