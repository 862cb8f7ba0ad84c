"""The distribution of a pooled score around its estimate: draws of test chips, with training integrated out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import chi2

# A Gauss–Legendre rule for means over a variable's distribution: shares of the distribution, and their weights.
# p = u² (3 − 2u) puts more nodes near 0 and 1, where quantiles are steep.
_ROOTS, _ROOT_WEIGHTS = np.polynomial.legendre.leggauss(60)
_U = (_ROOTS + 1.0) / 2.0
NODES = _U**2 * (3.0 - 2.0 * _U)
WEIGHTS = _ROOT_WEIGHTS / 2.0 * 6.0 * _U * (1.0 - _U)
# Draws are summed up in this many parts, and the distribution of the other term is tabulated at this many points.
_PARTS = 500
_TABLE = 401
# A quantile is searched for at most so far from its guess, first and in a second attempt; in deviations of what
# training adds.
_REACHES = (0.3, 3.0)
# Of a quantile, in deviations of draws and training together.
_TOLERANCE = 1e-6


class SamplingDistribution:
    """The distribution of d + √(κ v) z: d a draw of the chips, v the variance from training, z a standard normal.

    v has the distribution of `training_quantiles`. The distribution of the second term is computed by quadrature and
    not drawn, so that p values and limits have the random error of the chips' draws alone.

    Args:
        draws: (B,) draws of the chips; undefined ones (NaN) are left out.
        between, from_chips, free, overlap: s², f, ν and κ of a `TrainingVariance`; s² is NaN if nothing is known about
            training.
    """

    def __init__(self, draws: np.ndarray, between: float, from_chips: float, free: float, overlap: float) -> None:
        self._drawn = draws
        self._training = (between, from_chips, free, overlap)

    @cached_property
    def draws(self) -> np.ndarray:
        """The defined draws of the chips, in ascending order."""
        # Sorted before the conversion, which takes half as long.
        return np.sort(self._drawn[np.isfinite(self._drawn)]).astype(np.float64)

    @cached_property
    def _mixture(self) -> _Mixture:
        between, from_chips, free, overlap = self._training
        deviations = np.zeros_like(NODES)
        if np.isfinite(between) and free > 0:
            deviations = np.sqrt(overlap * training_quantiles(between, from_chips, free))
        adds = deviations > 0
        without = float(WEIGHTS[~adds].sum()) if (~adds).any() else 0.0
        if not adds.any() or not len(self.draws):
            return _Mixture(1.0, np.array([]), np.array([]), np.array([]))
        table = _mixture_of_normals(deviations[adds], WEIGHTS[adds])
        return _Mixture(without, _means_of_equal_parts(self.draws), *table)

    def below(self, value: float, strictly: bool = False) -> float:
        """Return P(X ≤ value), or P(X < value)."""
        if not len(self.draws):
            return np.nan
        mixture, share = self._mixture, 0.0
        if mixture.without > 0:
            share = float(self.draws.searchsorted(value, side="left" if strictly else "right")) / len(self.draws)
        if not len(mixture.points):
            return share
        ends = {"left": 0.0, "right": 1.0 - mixture.without}
        spread = np.interp(value - mixture.points, mixture.offsets, mixture.cumulated, **ends)
        # This is called for each step of each quantile; `mean` takes twice as long as the sum.
        return mixture.without * share + float(np.add.reduce(spread)) / len(spread)

    def quantile(self, share: float) -> float:
        """Return the value below which a share of the distribution lies."""
        mixture = self._mixture
        if not len(mixture.points):
            return float(np.quantile(self.draws, share)) if len(self.draws) else np.nan
        low, high = self.draws[0] + mixture.offsets[0], self.draws[-1] + mixture.offsets[-1]
        # With few degrees of freedom the ends are millions of deviations away, so that they say nothing of precision.
        middle = self.draws[[int(part * (len(self.draws) - 1)) for part in (ndtr(-1.0), share, ndtr(1.0))]]
        drawn, added = (middle[2] - middle[0]) / 2.0, mixture.deviation
        tolerance = _TOLERANCE * (added + drawn)

        # In a cache, because `brentq` computes both ends once more.
        @cache
        def excess(value: float) -> float:
            return self.below(value) - share

        # Training widens normal draws by this factor. The quantile is nearly always near to that, which saves steps.
        wider = np.hypot(drawn, added) / drawn if drawn > 0 else 1.0
        centre = (middle[0] + middle[2]) / 2.0
        guess = centre + wider * (middle[1] - centre)
        for reach in _REACHES:
            ends = (float(max(low, guess - reach * added)), float(min(high, guess + reach * added)))
            if excess(ends[0]) < 0.0 < excess(ends[1]):
                break
        else:
            ends = (float(low), float(high))
            # The spread of nearly equal draws may be less than the spacing of floating-point numbers.
            if not low < high or excess(ends[0]) >= 0.0:
                return ends[0]
            if excess(ends[1]) <= 0.0:
                return ends[1]
        return float(brentq(excess, *ends, xtol=tolerance))


@dataclass(frozen=True)
class _Mixture:
    """What training adds to the draws of chips.

    Attributes:
        without: probability that training adds nothing. The draws then count as they are, with their steps.
        points: means of equal parts of the draws; empty if training adds nothing for certain.
        offsets, cumulated: table of the distribution function of what is added, times 1 − without.
    """

    without: float
    points: np.ndarray
    offsets: np.ndarray
    cumulated: np.ndarray

    @property
    def deviation(self) -> float:
        """The 84 % quantile of what training adds; for a normal distribution, its standard deviation."""
        return float(np.interp(ndtr(1.0) * self.cumulated[-1], self.cumulated, self.offsets))


def training_quantiles(
    between: float | np.ndarray, from_chips: float, free: float, shares: np.ndarray = NODES
) -> np.ndarray:
    """Return quantiles of the variance v that training adds to one run's score, given the variance between seeds.

    s² is distributed as (v + f) χ²/ν. Solved for v, with s² as observed, this is max(0, ν s²/χ² − f): the generalised
    pivotal quantity of a variance component (Weerahandi 1993, Generalized confidence intervals, JASA 88). Where chips
    explain nothing (f = 0), √v z is Student's t with ν degrees of freedom. Where s² is below f, training can still add.

    Args:
        between: s², a number or an array of shape (..., 1).
        from_chips: f.
        free: ν.
        shares: (K,) shares of the distribution of χ².

    Returns:
        (..., K) quantiles, in descending order for ascending shares.
    """
    quantiles = chi_square_quantiles(free) if shares is NODES else chi2.ppf(shares, free)
    return np.maximum(between * free / quantiles - from_chips, 0.0)


@lru_cache(maxsize=4096)
def chi_square_quantiles(free: float) -> np.ndarray:
    """Return the quantiles of χ² at the nodes of the quadrature; the recipes of a study have few degrees of freedom."""
    quantiles = chi2.ppf(NODES, free)
    quantiles.flags.writeable = False
    return quantiles


def _means_of_equal_parts(draws: np.ndarray) -> np.ndarray:
    """Return the means of up to 500 equal parts of sorted draws, which stand for the draws in a smooth sum."""
    if len(draws) <= _PARTS:
        return draws
    starts = np.linspace(0, len(draws), _PARTS + 1).astype(int)
    return np.add.reduceat(draws, starts[:-1]) / np.diff(starts)


def _mixture_of_normals(deviations: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets and the weighted distribution function of normals around 0, as a table to interpolate in."""
    widest, typical = float(deviations.max()), float(weights @ deviations / weights.sum())
    # Evenly spaced near 0 and with growing steps outside, because small degrees of freedom have long tails.
    ends = np.arcsinh(8.0 * widest / typical)
    offsets = typical * np.sinh(np.linspace(-ends, ends, _TABLE))
    return offsets, ndtr(offsets[:, None] / deviations) @ weights
