"""Read new chips in batches with processes of their own, so that a model need not wait for files.

Threads would wait for each other: most of the time of a small chip is spent in Python.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from terralucas.predict.new_chips import ChipReader, NewChip, ReadChip
from terralucas.processors import count_processors

# Most bytes of chips that a process reads and sends together.
_PIECE_BYTES = 8 * 2**20
_MOST_PROCESSES = 8
# Most pieces that all processes read ahead: each has an open file in shared memory, and a shell may allow 256 of them.
_MOST_PIECES = 64
# Where processes share memory on Linux. It holds 64 MB in a container, unless it was made larger.
_SHARED = "/dev/shm"
# What the locks of the processes need there.
_LOCKS_BYTES = 2**20


@dataclass(frozen=True)
class ChipBatch:
    """Chips that were read together.

    Attributes:
        chips: what was found of each of the n chips, without its values.
        is_usable: (n,) whether the chip has values.
        values: (usable chips, bands, side, side) reflectance; None if there is no usable chip.
    """

    chips: list[ReadChip]
    is_usable: np.ndarray
    values: np.ndarray | None


def read_chip_batches(
    reader: ChipReader, chips: Sequence[NewChip], size: int, processes: int, *, in_turn: bool = False
) -> Iterator[ChipBatch]:
    """Yield batches of `size` chips in the order of `chips`; the last one may be smaller.

    Args:
        reader: reads a chip.
        chips: the chips.
        size: number of chips in a batch.
        processes: number of processes that read, at most 8 and one for each processor; with 0, with few chips, or where
            processes cannot share memory, this one reads.
        in_turn: whether they read a batch when it is asked for, and wait while the caller uses it; otherwise they read
            in advance.
    """
    bytes_of_chip = len(reader.spec.bands) * reader.side_px**2 * 4
    piece = max(1, min(size, _PIECE_BYTES // bytes_of_chip))
    if in_turn:
        # All of them read the same batch.
        piece = min(piece, math.ceil(size / max(min(processes, _MOST_PROCESSES), 1)))
    batches = [
        [list(range(first, min(first + piece, end))) for first in range(start, end, piece)]
        for start, end in ((start, min(start + size, len(chips))) for start in range(0, len(chips), size))
    ]
    pieces = [piece for batch in batches for piece in batch]
    room = _shared_room()
    workers = min(processes, _MOST_PROCESSES, count_processors(), max(len(pieces) - 1, 0)) if room > _LOCKS_BYTES else 0
    ahead = _count_ahead(math.ceil(size / piece), workers)
    # Besides what is read ahead, there is the piece that was sent last and, if a piece is a batch, that in use. Other
    # programs share memory too; what they leave free may shrink.
    has_room = (ahead * workers + 2) * piece * bytes_of_chip <= room / 2
    wanted = _Wanted([] if in_turn else pieces)
    loader = DataLoader(
        _Chips(reader, chips),
        batch_sampler=wanted,
        num_workers=workers,
        collate_fn=_collate if has_room else _collate_apart,
        prefetch_factor=ahead if workers else None,
        persistent_workers=in_turn and workers > 0,
    )
    in_advance = None if in_turn else iter(loader)
    for batch in batches:
        if in_advance is None:
            wanted.pieces = batch
        # Each time it is asked for an iterator, the loader reads what is wanted then.
        read, values = _read_batch(iter(loader) if in_advance is None else in_advance, sum(map(len, batch)))
        is_usable = np.array([chip.problem is None for chip in read], dtype=bool)
        yield ChipBatch(read, is_usable, values)


def _read_batch(
    pieces: Iterator[tuple[list[ReadChip], torch.Tensor | np.ndarray | None]], size: int
) -> tuple[list[ReadChip], np.ndarray | None]:
    """Read the pieces of a batch of `size` chips, and join them.

    A piece is copied at once, because as long as it is used it has an open file and its bytes in shared memory. A batch
    that is one piece is not copied.

    Returns:
        The chips without their values, and the values of those that can be used, as in `ChipBatch`.
    """
    read: list[ReadChip] = []
    values, usable = None, 0
    while len(read) < size:
        chips, found = next(pieces)
        read += chips
        if found is None:
            continue
        if len(chips) == size:
            return read, np.asarray(found)
        if values is None:
            values = np.empty((size, *found.shape[1:]), dtype=np.float32)
        values[usable : usable + len(found)] = np.asarray(found)
        usable += len(found)
        del found  # before the next one is there
    return read, None if values is None else values[:usable]


def _count_ahead(pieces: int, workers: int) -> int:
    """Return how many pieces each process reads ahead.

    A whole batch is read while the batch before is predicted, unless it has too many pieces.

    Args:
        pieces: number of pieces of a batch.
        workers: number of processes.
    """
    workers = max(workers, 1)
    return min(math.ceil(pieces / workers) + 1, _MOST_PIECES // workers)


def _shared_room() -> float:
    """Return how many bytes of memory processes can still share, 0 if none; only Linux has a limit of its own."""
    if sys.platform != "linux":
        return math.inf
    try:
        state = os.statvfs(_SHARED)
    except OSError:
        return 0
    return state.f_bavail * state.f_frsize if os.access(_SHARED, os.W_OK | os.X_OK) else 0


class _Wanted(Sampler[list[int]]):
    """The pieces that a loader reads next; they are replaced between batches."""

    def __init__(self, pieces: Sequence[list[int]]) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)


class _Chips(Dataset[ReadChip]):
    """The chips to read."""

    def __init__(self, reader: ChipReader, chips: Sequence[NewChip]) -> None:
        self.reader, self.chips = reader, chips

    def __len__(self) -> int:
        return len(self.chips)

    def __getitem__(self, index: int) -> ReadChip:
        return self.reader(self.chips[index])


def _collate(chips: list[ReadChip]) -> tuple[list[ReadChip], torch.Tensor | None]:
    """Take the values from the chips, into a tensor that lies in memory that processes share."""
    values = [torch.from_numpy(chip.values) for chip in chips if chip.values is not None]
    return _without_values(chips), default_collate(values) if values else None


def _collate_apart(chips: list[ReadChip]) -> tuple[list[ReadChip], np.ndarray | None]:
    """Take the values from the chips, into an array that goes through a pipe, which is slower."""
    values = [chip.values for chip in chips if chip.values is not None]
    return _without_values(chips), np.stack(values) if values else None


def _without_values(chips: list[ReadChip]) -> list[ReadChip]:
    return [replace(chip, values=None, refused=None) for chip in chips]
