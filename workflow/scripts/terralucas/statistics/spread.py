"""Whether scores vary, or differ by rounding alone: the one tolerance of seeds, chips, blocks and training."""

from __future__ import annotations

import numpy as np

# Standard deviations up to this share of a score are rounding. Draws are computed in float32: those of chips with equal
# terms have a standard deviation of 3e-7 of the score with 120,000 chips, and less with fewer. One chip of a million
# right or wrong gives an accuracy as much.
_TOLERANCE = 1e-6


def known_variance(variance: np.ndarray, size: np.ndarray | float) -> np.ndarray:
    """Return variances of scores, with 0 in place of those that rounding alone explains; NaN stays.

    Args:
        variance: variances, in the squared unit of the scores.
        size: size of the scores that were computed; of a difference, of the scores that were subtracted. Scores below 1
            count as 1, the range of most of them.
    """
    bound = (_TOLERANCE * np.maximum(size, 1.0)) ** 2
    return np.where(variance <= bound, 0.0, variance)
