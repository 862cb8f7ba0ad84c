"""The batches of chips that a tuned backbone is trained on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from terralucas.data.normalisation import Normaliser
from terralucas.randomness import Stream, generator
from terralucas.training.progress import TrainingOptions, epoch_order

# From left to right, from top to bottom, and along the diagonal: each or not gives all eight ways to lay a square.
_MIRRORS = (partial(np.flip, axis=-1), partial(np.flip, axis=-2), partial(np.swapaxes, axis1=-1, axis2=-2))


class Batch(NamedTuple):
    """What a loader is asked for.

    Attributes:
        rows: row numbers of the chips.
        epoch: whose augmentation they get; 0 for none.
        weight: what the loss is multiplied by, so that a step's gradient is that of its whole batches.
    """

    rows: np.ndarray
    epoch: int = 0
    weight: float = 1.0


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training chip, drawn anew in every epoch.

    Attributes:
        flips_and_rotations: one of the eight ways to lay a square on itself, each with probability ⅛.
        brightness: multiply its reflectance by a factor drawn evenly from 1 − b to 1 + b.
    """

    flips_and_rotations: bool
    brightness: float

    @property
    def changes_chips(self) -> bool:
        """Whether there is anything to draw for."""
        return self.flips_and_rotations or self.brightness > 0

    def __call__(self, chips: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Change square chips (n, bands, side, side) by numbers (n, 4) between 0 and 1."""
        chips = chips.copy()
        if self.flips_and_rotations:
            for column, mirrored in enumerate(_MIRRORS):
                chosen = draws[:, column] < 0.5
                chips[chosen] = mirrored(chips[chosen])
        factors = 1.0 + self.brightness * (2.0 * draws[:, 3] - 1.0)
        return chips * factors.astype(np.float32)[:, None, None, None]


class PackedChips(Dataset[tuple[Tensor, Tensor, float]]):
    """Normalised batches of packed chips.

    Args:
        array: (n, bands, height, width) reflectance.
        labels: (n,) class indices.
        normaliser: applied to each batch, as it is to each chip of a feature pass.
        augmentation: of training batches.
        seed: of the run; draws the augmentation, of each chip and epoch alike whatever batch it is in.
    """

    def __init__(
        self, array: np.ndarray, labels: np.ndarray, normaliser: Normaliser, augmentation: Augmentation, seed: int
    ) -> None:
        self.array, self.labels, self.normaliser = array, torch.from_numpy(labels), normaliser
        self.augmentation, self.seed = augmentation, seed
        self._drawn_for, self._draws = 0, np.empty((0, 4))

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor, float]:
        """Chips (rows, bands, height, width) float32, their labels, and the batch's weight."""
        chips = self.array[batch.rows]
        if batch.epoch and self.augmentation.changes_chips:
            if self._drawn_for != batch.epoch:
                self._draws = generator(self.seed, Stream.AUGMENTATION, batch.epoch).random((len(self.array), 4))
                self._drawn_for = batch.epoch
            chips = self.augmentation(chips, self._draws[batch.rows])
        return torch.from_numpy(self.normaliser(chips)), self.labels[batch.rows], batch.weight


class EpochBatches(Sampler[Batch]):
    """The batches of an epoch, in the order all recipes of a seed share.

    A step takes `accumulate` batches of `batch_size` chips; where a batch does not fit into memory, it is cut in
    `parts`. A piece is of one batch, in which it has its share of the loss's denominator, so that cutting changes no
    gradient. Every step but an epoch's last is of `per_step` pieces.

    Args:
        seed: of the run.
        train: rows of the training chips.
        options: batch size and `drop_last`.
        accumulate: batches of a step.
        mass: maps an epoch to what each chip of the study (n,) adds to the denominator of the loss.
        parts: pieces of a batch.
    """

    def __init__(
        self,
        seed: int,
        train: np.ndarray,
        options: TrainingOptions,
        accumulate: int,
        mass: Callable[[int], np.ndarray],
        parts: int = 1,
    ) -> None:
        self.seed, self.train, self.options, self.mass = seed, train, options, mass
        self.chips_per_step = options.batch_size * accumulate
        self.chips_per_piece = math.ceil(options.batch_size / parts)
        self.per_step = accumulate * math.ceil(options.batch_size / self.chips_per_piece)
        self.epoch = 1

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(len(self._order()) / self.chips_per_step)

    def __len__(self) -> int:
        return len(self.batches())

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches())

    def batches(self) -> list[Batch]:
        """The batches of the epoch `epoch`."""
        mass, found = self.mass(self.epoch), []
        for step in _pieces(self._order(), self.chips_per_step):
            for batch in _pieces(step, self.options.batch_size):
                for rows in _pieces(batch, self.chips_per_piece):
                    share = float(mass[rows].sum() / mass[batch].sum())
                    found.append(Batch(rows, self.epoch, share * (len(batch) / len(step)) * self.per_step))
        return found

    def _order(self) -> np.ndarray:
        return epoch_order(self.seed, self.epoch, self.train, self.options)


def _pieces(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(rows, range(size, len(rows), size))


class TimedLoader:
    """Loads batches, and adds up how long training waited for them.

    Args:
        chips: to load from.
        batches: what to load, in order.
        workers: processes that read ahead; 0 reads when asked.
        pin: put batches where a GPU can fetch them while it computes.
    """

    def __init__(self, chips: PackedChips, batches: Sampler[Batch], workers: int, pin: bool) -> None:
        # A generator of its own: without one, a loader draws from the stream of the dropout.
        self.loader = DataLoader(
            chips, batch_size=None, sampler=batches, num_workers=workers, pin_memory=pin,
            persistent_workers=workers > 0, generator=torch.Generator(),
        )  # fmt: skip
        self.waited_s = 0.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            self.waited_s += time.monotonic() - asked
            if batch is None:
                return
            yield batch
