"""The table of one recipe's scores, with the crossed interval and the interval over seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit

from terralucas.statistics.crossed_interval import bca, crossed, limits, method
from terralucas.statistics.intervals import corrected_t, wilson
from terralucas.statistics.resampling import Design, Scores
from terralucas.statistics.training_variance import TrainingVariance
from terralucas.tables.scores import score_of
from terralucas.tables.vocabulary import FIXED_SPLIT, NADEAU_BENGIO


def scores_table(design: Design, scores: Scores, training: TrainingVariance, level: float) -> pd.DataFrame:
    """Compute the table of a recipe's scores, with one row for each score.

    Args:
        design: the design of the study.
        scores: the Scores of the recipe.
        training: what is known about its variance from training.
        level: confidence level of the intervals.

    Returns:
        Columns: metric (`recall:3` is the recall of class index 3), n (number of test chips; for scores of a class, of
        that class); pooled, crossed_low, crossed_high, crossed_interval (name of the method), bca_low, bca_high; mean,
        sd, n_seeds, seeds_low, seeds_high, seeds_interval; wilson_low, wilson_high (only for recalls); level.
    """
    draws = crossed(design, scores, training, "recipe")
    lowest = np.array([score_of(name).lowest for name in design.names])
    highest = np.array([score_of(name).highest for name in design.names])
    shown, corrected = (np.clip(each, lowest, highest) for each in (limits(draws, level), bca(draws, level)))
    by_seed = [corrected_t(column[np.isfinite(column)], design.test_to_train, level) for column in scores.seeds.T]
    shares = _recall_limits(design, scores, training, level)
    table = pd.DataFrame(
        {
            "metric": design.names,
            "n": _chip_counts(design),
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
        }
    )
    without = [score_of(name).recipe_interval == "none" for name in design.names]
    table.loc[without, ["seeds_low", "seeds_high"]] = np.nan
    return table


def _chip_counts(design: Design) -> np.ndarray:
    """Return the number of test chips of each score: all of them, or those of the class."""
    counts = np.bincount(design.labels, minlength=len(design.classes))
    own = dict(zip(design.classes, counts, strict=True))
    return np.array([own[int(name.partition(":")[2])] if ":" in name else len(design.labels) for name in design.names])


def _recall_limits(design: Design, scores: Scores, training: TrainingVariance, level: float) -> np.ndarray:
    """Compute the (2, M) Wilson limits of the recalls, with an effective number of chips.

    A share p of n independent chips has the variance p (1 − p) / n. Where blocks are drawn, it is that of the draws, if
    this is larger. With the variance V from training added, the sum is the variance of n* = p (1 − p) / (sum) chips
    (effective sample size; Korn & Graubard 1998, Survey Methodology 24). As there, n* of a class in m blocks is
    multiplied by (z / t)², with the quantiles of the normal distribution and of Student's t with m − 1 degrees of
    freedom. If all chips of a class have the same result, n* is the number of its blocks.
    """
    limits = np.full((2, len(design.names)), np.nan)
    added, units = training.of_pooled, _unit_counts(design)
    for index, n in enumerate(_chip_counts(design)):
        share, m = scores.pooled[index], units[index]
        if design.names[index].startswith("recall:") and n:
            variance, in_blocks = share * (1.0 - share), m < n
            of_chips = max(variance / n, float(scores.drawn_variance[index]) if in_blocks else 0.0)
            effective = variance / (of_chips + added[index]) if variance > 0 else float(m)
            if in_blocks and variance > 0:
                effective *= (ndtri(0.5 + level / 2.0) / stdtrit(m - 1, 0.5 + level / 2.0)) ** 2 if m > 1 else 0.0
                # One block, or few that differ much, say no more than one chip would.
                effective = max(effective, 1.0)
            limits[:, index] = wilson(share * effective, effective, level)
    return limits


def _unit_counts(design: Design) -> np.ndarray:
    """Return the number of units that are drawn, chips or blocks, of each score: all of them, or those of the class."""
    own = {each: len(np.unique(design.units[design.labels == place])) for place, each in enumerate(design.classes)}
    everything = len(np.unique(design.units))
    return np.array([own[int(name.partition(":")[2])] if ":" in name else everything for name in design.names])
