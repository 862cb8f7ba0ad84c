"""Independent streams of random numbers for a run or a report, all derived from one seed."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The purpose of a random stream; its number is part of the seed and must never change."""

    INITIALISATION = 0
    BATCH_ORDER = 1
    DROPOUT = 2
    RESAMPLING = 3
    SEED_EFFECT = 4
    FOREST = 5
    AUGMENTATION = 6
    SPATIAL = 7
    CALIBRATED = 8
    IMPORTANCE = 9


def generator(seed: int, stream: Stream, part: int = 0) -> np.random.Generator:
    """Return a NumPy generator for one part of a stream, such as an epoch or a chunk of draws."""
    return np.random.default_rng([seed, stream, part])


def torch_seed(seed: int, stream: Stream, epoch: int = 0) -> int:
    """Return a seed for PyTorch's global generator, for one stream and epoch."""
    return int(np.random.SeedSequence([seed, stream, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))
