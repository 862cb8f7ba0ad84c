"""The variance components of a score: the part from test chips and the part from training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from terralucas.statistics.resampling import Design, Scores
from terralucas.statistics.spread import known_variance
from terralucas.tables.vocabulary import CHIPS, INITIALISATION, SPLIT, SPLIT_AND_INITIALISATION


@dataclass(frozen=True)
class SeedSpread:
    """The spread of scores over seeds, and the part of it that comes from test chips; arrays are (M,).

    Attributes:
        n: number of seeds with a score.
        observed: observed variance s² with divisor n − 1; NaN with one seed.
        from_chips: expected value of s² if all runs were equally good and only their test chips differed, estimated by
            jackknife.
        chips: variance of one run's score from its test chips.

    Variances that rounding alone explains are exactly 0.
    """

    n: np.ndarray
    observed: np.ndarray
    from_chips: np.ndarray
    chips: np.ndarray

    @property
    def seeds(self) -> np.ndarray:
        """Variance of one run's score from its training: observed − from_chips, or 0 if that is negative or NaN."""
        return np.nan_to_num(np.maximum(self.observed - self.from_chips, 0.0))


def seed_spread(design: Design, scores: Scores) -> SeedSpread:
    """Estimate by the method of moments which part of the variance between seeds comes from test chips.

    Let Σ be the jackknife covariance of the J runs' scores over chips. If only chips varied, s² would have the
    expectation (tr Σ − 1ᵀΣ1 / J) / (J − 1). With k folds, Σ is diagonal within a repetition. With a holdout, all runs
    are tested on the same chips, so that the part of a chip on which runs agree cancels.
    """
    _, unit = design.run_units()
    n = np.isfinite(scores.seeds).sum(axis=0)
    own = (scores.deviations**2).sum(axis=0)
    together = np.zeros((len(scores.left_out), scores.deviations.shape[1]))
    np.add.at(together, unit, scores.deviations)
    free = np.maximum(n - 1, 1)
    centred = np.where(np.isfinite(scores.seeds), scores.seeds, 0.0)
    centred = np.where(np.isfinite(scores.seeds), centred - centred.sum(axis=0) / np.maximum(n, 1), 0.0)
    observed = np.where(n > 1, (centred**2).sum(axis=0) / free, np.nan)
    from_chips = (own - (together**2).sum(axis=0) / np.maximum(n, 1)) / free
    # Equal scores have variances of about 1e-33, from which intervals and tests would follow.
    parts = (known_variance(each, scores.size) for each in (observed, from_chips, own / np.maximum(n, 1)))
    return SeedSpread(n, *parts)


def variance_table(design: Design, scores: Scores, level: float) -> pd.DataFrame:
    """Compute the variance components of one run's score, with one row for each score and component.

    With k folds, every seed has its own split and its own initialisation, also in repetitions. These two therefore are
    one component. With a holdout, all seeds share the split, so that its variance is unknown. The estimate can be
    negative, which means that chips alone explain the spread; it is then set to 0, and the note says so. Where a class
    has too few chips to show how much a score varies with them (`Design.shows_spread`), no component is known.

    Returns:
        Columns: metric, component, variance (NaN if the design cannot estimate it), sd, share (of the sum of the known
        components), low, high (limits of the variance from the χ² limits of s², only for the component of training),
        note.
    """
    spread = seed_spread(design, scores)
    fixed = design.test_to_train == 0
    free = np.maximum(spread.n - 1, 1)
    tails = stats.chi2.ppf([[0.5 + level / 2.0], [0.5 - level / 2.0]], free)
    limits = np.maximum(spread.observed * free / tails - spread.from_chips, 0.0)
    rows = []
    for index, name in enumerate(design.names):
        shown = bool(design.shows_spread[index])
        known = shown and spread.n[index] > 1
        raw = spread.observed[index] - spread.from_chips[index]
        seed_part = float(spread.seeds[index]) if known else np.nan
        chips = float(spread.chips[index]) if shown else np.nan
        total = chips + np.nan_to_num(seed_part)
        few_chips = "" if shown else "unknown: a class has too few test chips"
        note = few_chips if spread.n[index] > 1 else "unknown: one seed"
        if known and raw < 0:
            note = "estimate below 0: test chips alone explain the spread"
        component = INITIALISATION if fixed else SPLIT_AND_INITIALISATION
        low, high = limits[:, index] if known else (np.nan, np.nan)
        rows.append(_row(name, component, seed_part, total, low, high, note))
        if fixed:
            rows.append(_row(name, SPLIT, np.nan, total, np.nan, np.nan, "unknown: all seeds share one split"))
        rows.append(_row(name, CHIPS, chips, total, np.nan, np.nan, few_chips))
    return pd.DataFrame(rows)


def _row(
    name: str, component: str, variance: float, total: float, low: float, high: float, note: str
) -> dict[str, str | float]:
    share = variance / total if total > 0 else np.nan
    return {
        "metric": name,
        "component": component,
        "variance": variance,
        "sd": float(np.sqrt(variance)),
        "share": share,
        "low": low,
        "high": high,
        "note": note,
    }
