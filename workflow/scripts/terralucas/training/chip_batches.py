"""Batches of chips for the training of a tuned backbone."""

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

# Mirror left–right, top–bottom and along the diagonal. Applying each one or not gives all eight symmetries of a square.
_MIRRORS = (partial(np.flip, axis=-1), partial(np.flip, axis=-2), partial(np.swapaxes, axis1=-1, axis2=-2))


class Batch(NamedTuple):
    """A request to the loader: the chips to load, and the weight of their loss.

    Attributes:
        rows: row numbers of the chips.
        epoch: number of the epoch whose augmentation the chips get; 0 for no augmentation.
        weight: factor of the loss. With these factors, the gradients of a step's pieces add up to the gradient of its
            uncut batches.
    """

    rows: np.ndarray
    epoch: int = 0
    weight: float = 1.0


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training chip, drawn anew in every epoch.

    Attributes:
        flips_and_rotations: whether to apply one of the eight symmetries of a square, each with probability ⅛.
        brightness: b; the reflectance is multiplied by a factor drawn uniformly from 1 − b to 1 + b.
    """

    flips_and_rotations: bool
    brightness: float

    @property
    def changes_chips(self) -> bool:
        """Whether any change is switched on."""
        return self.flips_and_rotations or self.brightness > 0

    def __call__(self, chips: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Return changed copies of square chips.

        Args:
            chips: (n, bands, side, side) reflectance.
            draws: (n, 4) random numbers between 0 and 1: three for the symmetry, one for the brightness.
        """
        chips = chips.copy()
        if self.flips_and_rotations:
            for column, mirrored in enumerate(_MIRRORS):
                chosen = draws[:, column] < 0.5
                chips[chosen] = mirrored(chips[chosen])
        factors = 1.0 + self.brightness * (2.0 * draws[:, 3] - 1.0)
        return chips * factors.astype(np.float32)[:, None, None, None]


class PackedChips(Dataset[tuple[Tensor, Tensor, float]]):
    """A dataset of packed chips that returns normalised batches.

    Args:
        array: (n, bands, height, width) reflectance.
        labels: (n,) class indices.
        normaliser: normalises each batch, as it normalises each chip when features are extracted.
        augmentation: random changes of the training chips.
        seed: the run's seed. It decides the augmentation of each chip in each epoch, so that the augmentation does not
            depend on the batch the chip is in.
    """

    def __init__(
        self, array: np.ndarray, labels: np.ndarray, normaliser: Normaliser, augmentation: Augmentation, seed: int
    ) -> None:
        self.array, self.labels, self.normaliser = array, torch.from_numpy(labels), normaliser
        self.augmentation, self.seed = augmentation, seed
        self._drawn_for, self._draws = 0, np.empty((0, 4))

    def __getstate__(self) -> dict[str, Any]:
        """Send a worker that is not forked the name of a memory-mapped file and not its gigabytes."""
        state, mapped = self.__dict__.copy(), self.array.base
        if isinstance(mapped, np.memmap) and mapped.shape == self.array.shape and self.array.flags.c_contiguous:
            del state["array"]
            names = ("filename", "dtype", "offset", "shape")
            state["mapping"] = {name: getattr(mapped, name) for name in names}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if (mapping := state.pop("mapping", None)) is not None:
            state["array"] = np.asarray(np.memmap(**mapping, mode="c"))
        self.__dict__.update(state)

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor, float]:
        """Return the chips (rows, bands, height, width) float32, their labels, and the batch's weight."""
        chips = self.array[batch.rows]
        if batch.epoch and self.augmentation.changes_chips:
            if self._drawn_for != batch.epoch:
                self._draws = generator(self.seed, Stream.AUGMENTATION, batch.epoch).random((len(self.array), 4))
                self._drawn_for = batch.epoch
            chips = self.augmentation(chips, self._draws[batch.rows])
        return torch.from_numpy(self.normaliser(chips)), self.labels[batch.rows], batch.weight


class EpochBatches(Sampler[Batch]):
    """The batches of an epoch, in the order that all recipes share for one seed.

    An optimiser step uses `accumulate` batches of `batch_size` chips. A batch that does not fit into memory is cut into
    `pieces_per_batch` pieces. The loss of a piece is weighted by the piece's share of the denominator of its batch's
    loss, so that cutting does not change the gradient. Every step has `pieces_per_step` pieces; only the last step of
    an epoch may have fewer.

    Args:
        seed: the run's seed.
        train: row numbers of the training chips.
        options: batch size and `drop_last`.
        accumulate: number of batches in an optimiser step.
        denominator_terms: maps an epoch to (n,) terms: what each chip of the study adds to the denominator of the loss.
        pieces_per_batch: number of pieces of a batch.
    """

    def __init__(
        self,
        seed: int,
        train: np.ndarray,
        options: TrainingOptions,
        accumulate: int,
        denominator_terms: Callable[[int], np.ndarray],
        pieces_per_batch: int = 1,
    ) -> None:
        self.seed, self.train, self.options, self.denominator_terms = seed, train, options, denominator_terms
        self.chips_per_step = options.batch_size * accumulate
        self.chips_per_piece = math.ceil(options.batch_size / pieces_per_batch)
        self.pieces_per_step = accumulate * math.ceil(options.batch_size / self.chips_per_piece)
        self.epoch = 1

    @property
    def steps(self) -> int:
        """Number of optimiser steps in an epoch."""
        return math.ceil(len(self._order()) / self.chips_per_step)

    def __len__(self) -> int:
        return len(self.batches())

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches())

    def batches(self) -> list[Batch]:
        """Return the pieces of the current epoch (`self.epoch`), in order."""
        terms, pieces = self.denominator_terms(self.epoch), []
        for step in _split(self._order(), self.chips_per_step):
            for batch in _split(step, self.options.batch_size):
                for rows in _split(batch, self.chips_per_piece):
                    share = float(terms[rows].sum() / terms[batch].sum())
                    pieces.append(Batch(rows, self.epoch, share * (len(batch) / len(step)) * self.pieces_per_step))
        return pieces

    def _order(self) -> np.ndarray:
        return epoch_order(self.seed, self.epoch, self.train, self.options)


def _split(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Split rows into consecutive parts of `size`; the last part may be smaller."""
    return np.split(rows, range(size, len(rows), size))


class TimedLoader:
    """A loader of batches that measures how long training waits for them.

    Args:
        chips: the dataset to load from.
        batches: the batches to load, in order.
        workers: number of processes that load batches in advance; with 0, training itself loads each batch.
        pin: whether to put batches into pinned memory, from which a GPU copies them while it computes.
    """

    def __init__(self, chips: PackedChips, batches: Sampler[Batch], workers: int, pin: bool) -> None:
        self.loader = DataLoader(
            chips,
            batch_size=None,
            sampler=batches,
            num_workers=workers,
            pin_memory=pin,
            persistent_workers=workers > 0,
            # Without its own generator, the loader would draw from the global one, and so change the dropout masks.
            generator=torch.Generator(),
        )
        self.waited_s = 0.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            started = time.monotonic()
            batch = next(batches, None)
            self.waited_s += time.monotonic() - started
            if batch is None:
                return
            yield batch
