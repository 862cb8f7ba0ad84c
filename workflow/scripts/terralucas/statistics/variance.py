"""How much of the spread of a score is chips, and how much is training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from terralucas.statistics.resampling import Design, Scores
from terralucas.tables.vocabulary import CHIPS, INITIALISATION, SPLIT, SPLIT_AND_INITIALISATION


@dataclass(frozen=True)
class SeedSpread:
    """The spread of a score over seeds and its part that test chips alone would make; arrays are (M,).

    Attributes:
        n: seeds with a score.
        observed: s², divisor n − 1; NaN with one seed.
        from_chips: what s² would be on average if all runs were equally good and only their test chips differed, by
            jackknife.
        chips: variance of one run's score from its test chips.
    """

    n: np.ndarray
    observed: np.ndarray
    from_chips: np.ndarray
    chips: np.ndarray

    @property
    def seeds(self) -> np.ndarray:
        """Variance of one run's score from its training: observed − from_chips, 0 where that is negative or unknown."""
        return np.nan_to_num(np.maximum(self.observed - self.from_chips, 0.0))


def seed_spread(design: Design, scores: Scores) -> SeedSpread:
    """Method of moments: what chips alone would make of the variance between seeds, and what is left.

    With Σ the jackknife covariance of the J runs' scores over chips, chips alone give s² the expectation
    (tr Σ − 1ᵀΣ1 / J) / (J − 1). Under k folds Σ is diagonal within a repetition; under a holdout all runs are tested on
    the same chips, which cancel as far as the runs agree on them.
    """
    seed, unit = design.run_units()
    n = np.isfinite(scores.seeds).sum(axis=0)
    own = (scores.deviations**2).sum(axis=0)
    together = np.zeros((len(scores.left_out), scores.deviations.shape[1]))
    np.add.at(together, unit, scores.deviations)
    free = np.maximum(n - 1, 1)
    centred = np.where(np.isfinite(scores.seeds), scores.seeds, 0.0)
    centred = np.where(np.isfinite(scores.seeds), centred - centred.sum(axis=0) / np.maximum(n, 1), 0.0)
    observed = np.where(n > 1, (centred**2).sum(axis=0) / free, np.nan)
    count = len(np.unique(seed))
    from_chips = (own - (together**2).sum(axis=0) / count) / free
    return SeedSpread(n, observed, from_chips, own / count)


def variance_table(design: Design, scores: Scores, level: float) -> pd.DataFrame:
    """Variance components of the score of one run, one row for each score and component.

    Columns: metric, component, variance (NaN where the design can't tell), sd, share (of the parts that are known),
    low, high (of the variance; from the χ² limits of s², for the seed component alone), note.

    Under k folds every seed has a split and an initialisation of its own, also over repetitions, so that these two are
    one component. Under a holdout all seeds share the split, so that it has no variance to be seen. The moment estimate
    can be negative, which means that chips alone explain the spread; it is then shown as 0 and said so.
    """
    spread = seed_spread(design, scores)
    fixed = design.test_to_train == 0
    free = np.maximum(spread.n - 1, 1)
    tails = stats.chi2.ppf([[0.5 + level / 2.0], [0.5 - level / 2.0]], free)
    limits = np.maximum(spread.observed * free / tails - spread.from_chips, 0.0)
    rows = []
    for index, name in enumerate(design.names):
        known = spread.n[index] > 1
        raw = spread.observed[index] - spread.from_chips[index]
        seed_part = float(spread.seeds[index]) if known else np.nan
        total = spread.chips[index] + np.nan_to_num(seed_part)
        note = "" if known else "one seed: can't be told"
        if known and raw < 0:
            note = "estimate below 0: test chips alone explain the spread"
        component = INITIALISATION if fixed else SPLIT_AND_INITIALISATION
        low, high = limits[:, index]
        rows.append(_row(name, component, seed_part, total, low, high, note))
        if fixed:
            rows.append(_row(name, SPLIT, np.nan, total, np.nan, np.nan, "one split for all seeds: can't be told"))
        rows.append(_row(name, CHIPS, float(spread.chips[index]), total, np.nan, np.nan, ""))
    return pd.DataFrame(rows)


def _row(
    name: str, component: str, variance: float, total: float, low: float, high: float, note: str
) -> dict[str, str | float]:
    share = variance / total if total > 0 else np.nan
    return {
        "metric": name, "component": component, "variance": variance, "sd": float(np.sqrt(variance)), "share": share,
        "low": low, "high": high, "note": note,
    }  # fmt: skip
