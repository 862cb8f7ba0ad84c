"""Occlusion: the place that decides is found, by numbers computed by hand."""

import numpy as np
import pytest

from terralucas.explain.occlusion import occlude, occlusion_loss, window_places

FALL = 1 / (1 + np.exp(-1)) - 0.5


def predict(chips):
    """Class 0 has the logit of one pixel (row 5, column 20) of the second band."""
    return np.stack([chips[:, 1, 5, 20], np.zeros(len(chips))], axis=1)


@pytest.fixture
def chip():
    values = np.zeros((2, 32, 32), dtype=np.float32)
    values[1, 5, 20] = 1.0
    return values


def test_the_pixel_that_decides_is_found(chip):
    """Of the squares in rows from 0, 8, 16 and columns from 0, 8, 16, those at (0, 8) and (0, 16) hide the pixel."""
    found = occlusion_loss(predict, chip, 0, np.zeros(2), batch_size=4)
    expected = FALL * np.outer([1, 1 / 2, 0, 0], [0, 1 / 2, 1, 1])
    assert found == pytest.approx(expected, abs=1e-6)
    assert np.unravel_index(found.argmax(), found.shape) == (5 // 8, 20 // 8)


def test_the_probability_of_another_class_rises_there(chip):
    assert occlusion_loss(predict, chip, 1, np.zeros(2), 4).min() == pytest.approx(-FALL, abs=1e-6)


def test_a_hidden_square_has_the_mean_reflectance(chip):
    filling = np.array([0.3, 0.7], dtype=np.float32)
    places = window_places(32)
    for copy, (row, column) in zip(occlude(chip, places, filling), places, strict=True):
        inside = copy[:, row : row + 16, column : column + 16]
        assert (inside == filling[:, None, None]).all()
        rest = copy.copy()
        rest[:, row : row + 16, column : column + 16] = chip[:, row : row + 16, column : column + 16]
        assert (rest == chip).all(), "nothing else is changed"
    assert occlusion_loss(predict, chip, 0, np.array([0.0, 1.0]), 4) == pytest.approx(np.zeros((4, 4)), abs=1e-6)


@pytest.mark.parametrize(
    ("side", "cells", "windows"), [(16, 2, 1), (32, 4, 9), (64, 8, 49), (256, 32, 961), (512, 32, 961), (528, 16, 225)]
)
def test_every_cell_is_covered(side, cells, windows):
    found = occlusion_loss(
        lambda chips: np.zeros((len(chips), 2)), np.ones((1, side, side), dtype=np.float32), 0, np.zeros(1), 16
    )
    assert found.shape == (cells, cells)
    assert np.isfinite(found).all()
    assert len(window_places(side)) == windows
