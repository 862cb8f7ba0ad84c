"""Occlusion of places in a chip: how much the probability of a class falls if a square of the chip is hidden.

Zeiler & Fergus (2014), Visualizing and Understanding Convolutional Networks, European Conference on Computer Vision,
section 4.2. A hidden square has the mean reflectance of each band over all chips of the study.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from terralucas.predict.conformal import softmax

# Side of a token of the encoder in pixels, which is the side of the hidden square, and the way that the square moves.
WINDOW_PX, STEP_PX = 16, 8


def window_places(side_px: int) -> list[tuple[int, int]]:
    """Return the upper left pixel (row, column) of each hidden square of a chip."""
    starts = range(0, side_px - WINDOW_PX + 1, STEP_PX)
    return [(row, column) for row in starts for column in starts]


def occlude(chip: np.ndarray, filling: np.ndarray) -> np.ndarray:
    """Return copies of a chip, in each of which one square is hidden.

    Args:
        chip: (bands, side, side) reflectance.
        filling: (bands,) reflectance of a hidden square.

    Returns:
        (n, bands, side, side), in the order of `window_places`.
    """
    places = window_places(chip.shape[1])
    copies = np.repeat(chip[None], len(places), axis=0)
    for copy, (row, column) in zip(copies, places, strict=True):
        copy[:, row : row + WINDOW_PX, column : column + WINDOW_PX] = filling[:, None, None]
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
        (cells, cells) falls of the probability, of squares of `STEP_PX` pixels: each the mean over the hidden squares
        that cover it. Positive where the place speaks for the class.
    """
    chips = np.concatenate([chip[None], occlude(chip, filling)])
    logits = []
    for start in range(0, len(chips), batch_size):
        logits.append(predict(chips[start : start + batch_size]))
        advance(len(logits[-1]))
    probabilities = softmax(np.concatenate(logits))[:, label]
    falls = probabilities[0] - probabilities[1:]
    cells = chip.shape[1] // STEP_PX
    total, count, width = np.zeros((cells, cells)), np.zeros((cells, cells)), WINDOW_PX // STEP_PX
    for (row, column), fall in zip(window_places(chip.shape[1]), falls, strict=True):
        covered = np.s_[row // STEP_PX : row // STEP_PX + width, column // STEP_PX : column // STEP_PX + width]
        total[covered] += fall
        count[covered] += 1
    return total / count
