"""The area of applicability: which chips are unlike all chips that a model was trained on.

Meyer & Pebesma (2021), Predicting into unknown space?, Methods in Ecology and Evolution 12. The predictors are the
features of the encoder, the mean of its tokens. All have the weight 1, because a decoder has no importance of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The mean distance of more chips is computed from this many, evenly spaced.
_MOST_CHIPS = 5000


@dataclass(frozen=True)
class Reference:
    """The chips of a study in the space of features, with distances relative to their mean distance.

    Attributes:
        mean: (D,) mean of the features.
        std: (D,) standard deviation; 1 for a constant feature.
        chips: (n, D) standardised features.
        scale: mean distance between two of the chips.
    """

    mean: np.ndarray
    std: np.ndarray
    chips: np.ndarray
    scale: float

    @classmethod
    def of(cls, features: np.ndarray) -> Reference:
        """Standardise the features (n, D) of training chips, and compute their mean distance."""
        from scipy.spatial.distance import pdist

        values = np.asarray(features, dtype=np.float64)
        mean, std = values.mean(axis=0), values.std(axis=0)
        std = np.where(std > 1e-9 * np.maximum(np.abs(mean), 1.0), std, 1.0)
        chips = (values - mean) / std
        some = chips[np.unique(np.linspace(0, len(chips) - 1, min(len(chips), _MOST_CHIPS)).astype(int))]
        return cls(mean, std, chips, float(pdist(some).mean()))

    def dissimilarity(self, features: np.ndarray) -> np.ndarray:
        """Return the dissimilarity index of chips: the distance to the nearest training chip, in mean distances.

        Args:
            features: (m, D) features.

        Returns:
            (m,) values; 0 for a training chip itself, and about 1 for a chip as far from the nearest training chip as
            two training chips are from each other on average.
        """
        return _distance((np.asarray(features, dtype=np.float64) - self.mean) / self.std, self.chips) / self.scale


def held_out_dissimilarity(reference: Reference, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the dissimilarity of test chips to the training and validation chips of their model.

    Args:
        reference: all chips of the study.
        folds: rows of the training and validation chips, and of the test chips, of each model.

    Returns:
        The values of all test chips, model by model.
    """
    values = [_distance(reference.chips[test], reference.chips[train]) for train, test in folds]
    return np.concatenate(values) / reference.scale


def threshold(held_out: np.ndarray) -> float:
    """Return the largest held-out dissimilarity that is no outlier; chips beyond it are unlike the training chips.

    An outlier lies more than 1.5 interquartile ranges above the upper quartile.
    """
    low, high = np.quantile(held_out, [0.25, 0.75])
    return float(held_out[held_out <= high + 1.5 * (high - low)].max())


def _distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance of each point to the nearest of the others."""
    from sklearn.metrics import pairwise_distances_argmin_min

    return np.asarray(pairwise_distances_argmin_min(points, others)[1]) if len(points) else np.empty(0)
