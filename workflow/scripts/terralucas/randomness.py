"""The independent random streams of a run or a report, all derived from one seed."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is for; the number is part of the seed and never changes."""

    INITIALISATION = 0
    BATCH_ORDER = 1
    DROPOUT = 2
    RESAMPLING = 3
    SEED_EFFECT = 4
    FOREST = 5
    AUGMENTATION = 6


def generator(seed: int, stream: Stream, part: int = 0) -> np.random.Generator:
    """A numpy generator for one stream and part of it: an epoch, or a chunk of draws."""
    return np.random.default_rng([seed, stream, part])


def torch_seed(seed: int, stream: Stream, epoch: int = 0) -> int:
    """A seed for torch's global generator, for one stream and epoch."""
    return int(np.random.SeedSequence([seed, stream, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))
