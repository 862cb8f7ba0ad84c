"""The dissimilarity index, against distances computed pair by pair, and its threshold against the rule by hand."""

import numpy as np
import pytest

from terralucas.predict.applicability import Reference, held_out_dissimilarity, threshold


def index_by_hand(train, new, used=None):
    mean, std = train.mean(axis=0), train.std(axis=0)
    a, b = (train - mean) / std, (new - mean) / std
    pairs = [np.linalg.norm(a[i] - a[j]) for i in range(len(a)) for j in range(i)]
    nearest = [min(np.linalg.norm(row - a[j]) for j in (range(len(a)) if used is None else used)) for row in b]
    return np.array(nearest) / np.mean(pairs)


def test_dissimilarity_is_the_nearest_distance_in_mean_distances():
    rng = np.random.default_rng(0)
    train, new = rng.normal(size=(20, 4)) * [1, 10, 0.1, 3], rng.normal(size=(6, 4)) * [1, 10, 0.1, 3]
    reference = Reference.of(train)
    assert reference.dissimilarity(new) == pytest.approx(index_by_hand(train, new), rel=1e-9)
    # The products of pairwise_distances lose half of the digits near 0.
    assert reference.dissimilarity(train) == pytest.approx(np.zeros(20), abs=1e-6)


def test_held_out_chips_are_compared_with_the_training_chips_of_their_own_model():
    rng = np.random.default_rng(1)
    chips = rng.normal(size=(12, 3))
    folds = [(np.arange(4, 12), np.arange(4)), (np.r_[0:4, 8:12], np.arange(4, 8))]
    found = held_out_dissimilarity(Reference.of(chips), folds)
    expected = np.concatenate([index_by_hand(chips, chips[test], used=train) for train, test in folds])
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_constant_feature_does_not_divide_by_zero():
    rng = np.random.default_rng(2)
    train = np.column_stack([rng.normal(size=30), np.full(30, 7.0)])
    reference = Reference.of(train)
    assert np.isfinite(reference.dissimilarity(np.array([[0.0, 7.0], [0.0, 9.0]]))).all()
    assert reference.dissimilarity(np.array([[0.0, 9.0]]))[0] > 1


def test_the_threshold_is_the_largest_value_that_is_no_outlier():
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 5.0])
    # Quartiles 0.225 and 0.475: the fence is 0.475 + 1.5 × 0.25 = 0.85.
    assert threshold(values) == 0.5
    assert threshold(np.array([0.2, 0.3, 0.4])) == 0.4
