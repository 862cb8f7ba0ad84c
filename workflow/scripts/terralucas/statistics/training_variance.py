"""The variance that training adds to a score, estimated from all recipes (or contrasts) of a study together.

One recipe has few seeds, and the part of the variance between seeds that comes from training is a small difference of
two numbers. Estimated alone, it is negative for many recipes, and an interval that takes it as zero is too narrow. Here
the variances of all recipes inform each other, as in limma (Smyth 2004), and the estimate keeps its uncertainty: it is
never reduced to "zero, surely".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from terralucas.statistics.resampling import Design, Scores
from terralucas.statistics.variance import SeedSpread, seed_spread


@dataclass(frozen=True)
class TrainingVariance:
    """What is known about the variance from training of one recipe's pooled scores; arrays are (M,).

    The variance s² between seeds has the expectation v + f, with v from training and f from test chips.
    `sampling_distribution.training_quantiles` says how v is distributed given s².

    Attributes:
        between: moderated variance s² between seeds; NaN where no recipe has two seeds with a score.
        from_chips: f, the part of s² that test chips explain.
        free: degrees of freedom ν of `between`.
        overlap: κ = 1/J + n_test/n_train: the variance that training adds to the pooled score, in units of v.
        alone: v of this recipe alone, without moderation: s² − f, which can be negative; NaN with one seed.
    """

    between: np.ndarray
    from_chips: np.ndarray
    free: np.ndarray
    overlap: np.ndarray
    alone: np.ndarray

    @property
    def known(self) -> np.ndarray:
        """(M,) whether the study can tell anything about training."""
        return np.isfinite(self.between)

    @property
    def of_pooled(self) -> np.ndarray:
        """(M,) point estimate of what training adds to the variance of the pooled score; 0 where nothing is known."""
        return self.overlap * np.nan_to_num(np.maximum(self.between - self.from_chips, 0.0))


@dataclass(frozen=True)
class SeedScores:
    """What the estimate needs from each recipe or contrast: the spread over seeds, and the runs' scores (J, M)."""

    spread: SeedSpread
    seeds: np.ndarray

    @classmethod
    def of(cls, design: Design, scores: Scores) -> SeedScores:
        """Take both from the Scores of a recipe or contrast."""
        return cls(seed_spread(design, scores), scores.seeds)


def training_variances(members: Sequence[SeedScores], test_to_train: float) -> list[TrainingVariance]:
    """Estimate the variance from training for each recipe of a study, or each contrast.

    The ratios s² / f are moderated: each is replaced by (d₀ q₀ + ν q) / (d₀ + ν), with prior ratio q₀ and prior
    degrees of freedom d₀ fitted to all ratios by `fit_prior`. Recipes of one study have the same test chips and share
    their splits, so that their ratios are correlated and together have fewer than R ν degrees of freedom. Their number
    is that of a pooled variance of correlated variables (Satterthwaite): ν (tr Σ)² / tr Σ², with Σ the covariance of
    the recipes' scores over seeds, in units of their f. Both are estimated without bias (Bai & Saranadasa 1996,
    Statistica Sinica 6). The sum d₀ + ν is limited to it.

    Args:
        members: the recipes of a study, or its contrasts.
        test_to_train: n_test / n_train; 0 if all seeds share one split.

    Returns:
        The estimate for each member, in their order.
    """
    if not members:
        return []
    count = np.array([member.spread.n for member in members])
    observed = np.array([member.spread.observed for member in members])
    chips = np.array([member.spread.from_chips for member in members])
    free = np.maximum(count - 1.0, 0.0)
    # Without spread from chips there is no ratio. Such a score keeps its own variance.
    has_ratio = (chips > 0) & np.isfinite(observed) & (free > 0)
    ratio = np.where(has_ratio, observed / np.where(has_ratio, chips, 1.0), np.nan)
    between, total_free = observed.copy(), free.copy()
    for column in range(ratio.shape[1]):
        rows = np.flatnonzero(has_ratio[:, column]).tolist()
        if not rows:
            continue
        prior, prior_free = fit_prior(ratio[rows, column], free[rows, column])
        scaled = np.array([members[row].seeds[:, column] for row in rows]) / np.sqrt(chips[rows, column])[:, None]
        most = pooled_freedom(scaled)
        for row in rows:
            own = free[row, column]
            added = min(prior_free, max(most - own, 0.0))
            total_free[row, column] = own + added
            between[row, column] = chips[row, column] * (added * prior + own * ratio[row, column]) / (own + added)
    overlap = np.where(count > 0, 1.0 / np.maximum(count, 1), 0.0) + test_to_train
    return [
        TrainingVariance(between[row], chips[row], total_free[row], overlap[row], observed[row] - chips[row])
        for row in range(len(members))
    ]


def fit_prior(variances: np.ndarray, free: np.ndarray) -> tuple[float, float]:
    """Fit limma's prior to variances: s² is distributed as s₀² F(ν, d₀).

    Smyth (2004), Linear models and empirical Bayes methods, Statistical Applications in Genetics and Molecular Biology
    3, section 6.2: by the mean and the variance of log s². If the variances do not differ more than by chance, d₀ is
    infinite and s₀² their mean, as in limma's fitFDist.

    Args:
        variances: (R,) variances, not negative.
        free: (R,) degrees of freedom ν of each.

    Returns:
        s₀² and d₀. One variance has no prior: its own value, and 0.
    """
    if len(variances) == 1:
        return float(variances[0]), 0.0
    middle = float(np.median(variances))
    # A variance of exactly zero has no logarithm. limma replaces it in the same way.
    logs = np.log(np.maximum(variances, 1e-5 * (middle if middle > 0 else 1.0)))
    centred = logs - digamma(free / 2.0) + np.log(free / 2.0)
    mean = float(centred.mean())
    excess = float(centred.var(ddof=1) - polygamma(1, free / 2.0).mean())
    if excess <= 0:
        return float(variances.mean()), np.inf
    half = _inverse_trigamma(excess)
    return float(np.exp(mean + digamma(half) - np.log(half))), 2.0 * half


def pooled_freedom(scores: np.ndarray) -> float:
    """Return the degrees of freedom of the mean of R correlated variances over J seeds, between J − 1 and R (J − 1).

    Args:
        scores: (R, J) scores, R recipes over J seeds; NaN where a recipe has no score.
    """
    n_recipes, n_seeds = scores.shape
    free = n_seeds - 1.0
    centred = np.nan_to_num(scores - np.nanmean(scores, axis=1, keepdims=True))
    # Σ = C Cᵀ / ν has as many rows as there are recipes; Cᵀ C has the same trace and the same sum of squares.
    seeds = centred.T @ centred / free
    trace, squares = float(np.trace(seeds)), float((seeds**2).sum())
    if n_recipes == 1 or free < 2 or not squares > 0:
        return free
    # Unbiased estimates of tr Σ² and (tr Σ)², the former between (tr Σ)² / R, for uncorrelated recipes, and (tr Σ)².
    of_squares = free**2 / ((free - 1.0) * (free + 2.0)) * (squares - trace**2 / free)
    of_squares = min(max(of_squares, trace**2 / (n_recipes + 2.0 / free)), trace**2 * free / (free + 2.0))
    return free * (trace**2 - 2.0 * of_squares / free) / of_squares


def _inverse_trigamma(value: float) -> float:
    """Return x with trigamma(x) = value > 0."""
    # 1/x < trigamma(x) < 1/x + 1/x² for x > 0, so that x lies between these ends.
    low, high = 1.0 / (value + 1.0) / 2.0, 1.0 / value + 1.0
    while polygamma(1, low) < value:
        low /= 2.0
    while polygamma(1, high) > value:
        high *= 2.0
    return float(brentq(lambda x: float(polygamma(1, x)) - value, low, high, xtol=1e-14, rtol=1e-14))
