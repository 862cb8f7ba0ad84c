"""Evenly spaced pixels of a chip, and quantiles."""

from __future__ import annotations

import numpy as np
import pytest

from terralucas.data.chips.sampling import find_quantiles, present_values, sample_pixels, turn


@pytest.mark.parametrize("side", [1, 32, 64])
def test_all_pixels_of_a_small_chip_are_looked_at(side):
    values = np.arange(2 * side * side).reshape(2, side, side)
    np.testing.assert_array_equal(sample_pixels(values), values)


def test_a_large_chip_is_looked_at_over_its_whole_area():
    rows, columns = np.mgrid[0:224, 0:300]
    sample = sample_pixels(np.stack([rows, columns]))
    assert sample.shape == (2, 45, 60)
    assert (sample.max(axis=(1, 2)) > (215, 290)).all()


@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (3, 50), (6, 3136)])
def test_quantiles_are_those_of_numpy(shape):
    values = np.random.default_rng(0).integers(0, 3000, shape).astype(np.float32) / 10_000
    shares = [0.0, 0.01, 0.1, 0.5, 0.9, 1.0]
    expected = np.quantile(values.astype(np.float64), shares, axis=-1)
    np.testing.assert_allclose(find_quantiles(values, shares), expected, rtol=1e-12)


@pytest.mark.parametrize("turns", range(4))
def test_turns_are_those_of_numpy(turns):
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    np.testing.assert_array_equal(turn(values, turns), np.rot90(values, turns, axes=(1, 2)))
    np.testing.assert_array_equal(turn(values[0], turns), np.rot90(values[0], turns))


def test_present_values_are_the_finite_ones_in_their_order():
    values = np.array([[1.0, np.nan, 3.0], [np.inf, 5.0, -np.inf]])
    assert present_values(values).tolist() == [1, 3, 5]
    assert present_values(values[:, ::2].T[:1]).tolist() == [1]
    assert present_values(np.arange(6.0).reshape(2, 3).T).tolist() == [0, 3, 1, 4, 2, 5]
