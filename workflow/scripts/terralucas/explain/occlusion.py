"""Occlusion of places in a chip: how much the probability of a class falls if a square of the chip is hidden.

Zeiler & Fergus (2014), Visualizing and Understanding Convolutional Networks, European Conference on Computer Vision,
section 4.2. A hidden square has the mean reflectance of each band over all chips of the study.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from terralucas.predict.conformal import softmax

# Side of a token of the encoder in pixels, which is the side of the hidden square in chips of up to `_LARGEST_PX`.
_TOKEN_PX, _LARGEST_PX = 16, 256


def window_side(side_px: int) -> int:
    """Return the side of the hidden square in pixels: a token; twice as much for each doubling of a chip above 256."""
    window = _TOKEN_PX
    while side_px > _LARGEST_PX * window // _TOKEN_PX:
        window *= 2
    return window


def window_places(side_px: int) -> list[tuple[int, int]]:
    """Return the upper left pixel (row, column) of each hidden square of a chip; they move by half a square."""
    window = window_side(side_px)
    starts = range(0, side_px - window + 1, window // 2)
    return [(row, column) for row in starts for column in starts]


def occlude(chip: np.ndarray, places: Sequence[tuple[int, int]], filling: np.ndarray) -> np.ndarray:
    """Return copies of a chip, in each of which one square is hidden.

    Args:
        chip: (bands, side, side) reflectance.
        places: (row, column) of the upper left pixel of each square.
        filling: (bands,) reflectance of a hidden square.

    Returns:
        (n, bands, side, side), in the order of the places.
    """
    window = window_side(chip.shape[1])
    copies = np.repeat(chip[None], len(places), axis=0)
    for copy, (row, column) in zip(copies, places, strict=True):
        copy[:, row : row + window, column : column + window] = filling[:, None, None]
    return copies


def occlusion_loss(
    predict: Callable[[np.ndarray], np.ndarray],
    chip: np.ndarray,
    label: int,
    filling: np.ndarray,
    batch_size: int,
    advance: Callable[[int], object] = lambda chips: None,
) -> np.ndarray:
    """Return how much the probability of a class falls when a square of the chip is hidden.

    Args:
        predict: maps chips (n, bands, side, side) to logits (n, K).
        chip: (bands, side, side) reflectance.
        label: class index.
        filling: (bands,) reflectance of a hidden square.
        batch_size: chips in a forward pass.
        advance: is called with the number of chips after each forward pass.

    Returns:
        (cells, cells) falls of the probability. The cells are squares with half the side of the hidden square; each has
        the mean over the hidden squares that cover it. Positive where the place speaks for the class.
    """
    places, window = window_places(chip.shape[1]), window_side(chip.shape[1])
    logits = [predict(chip[None])]
    advance(1)
    for start in range(0, len(places), batch_size):
        logits.append(predict(occlude(chip, places[start : start + batch_size], filling)))
        advance(len(logits[-1]))
    probabilities = softmax(np.concatenate(logits))[:, label]
    step = window // 2
    cells = chip.shape[1] // step
    total, count = np.zeros((cells, cells)), np.zeros((cells, cells))
    for (row, column), fall in zip(places, probabilities[0] - probabilities[1:], strict=True):
        covered = np.s_[row // step : row // step + 2, column // step : column // step + 2]
        total[covered] += fall
        count[covered] += 1
    return total / count
