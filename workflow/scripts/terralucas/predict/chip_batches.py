"""Read new chips in batches with processes of their own, so that a model need not wait for files.

Threads would wait for each other: most of the time of a small chip is spent in Python. The processes write the values
of chips into memory that they share with this one. Each batch uses the same memory: a copy of a chip, or memory that is
used for the first time, takes about as long as reading its file.
"""

from __future__ import annotations

import math
import mmap
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from terralucas.predict.new_chips import ChipReader, NewChip, ReadChip
from terralucas.processors import count_processors

# Most chips that a process reads before it says so.
_PIECE = 8
_MOST_PROCESSES = 8
# Where processes share memory on Linux. It holds 64 MB in a container, unless it was made larger.
_SHARED = "/dev/shm"
# What the locks of the processes need there.
_LOCKS_BYTES = 2**20
# Place in memory and number of each chip that a process reads before it says so.
_Piece = list[tuple[int, int]]
_Pieces = Sequence[list[_Piece]]


@dataclass(frozen=True)
class ChipBatch:
    """Chips that were read together.

    Attributes:
        chips: what was found of each of the n chips, without its values.
        is_usable: (n,) whether the chip has values.
        values: (usable chips, bands, side, side) reflectance; None if there is no usable chip. If all chips are usable,
            other chips get this memory as soon as the next batch is asked for.
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
    shape = (len(reader.spec.bands), reader.side_px, reader.side_px)
    # For few chips, no memory of a whole batch is needed.
    size = min(size, max(len(chips), 1))
    workers = min(processes, _MOST_PROCESSES, count_processors(), max(math.ceil(len(chips) / _PIECE) - 1, 0))
    piece = min(_PIECE, math.ceil(size / max(workers, 1)))
    ahead, held = _count_ahead(math.ceil(size / piece), workers)
    if in_turn or not workers:
        held = 1
    memory = _share_memory((held * size, *shape)) if workers else None
    if memory is None:
        workers, held, memory = 0, 1, torch.empty((size, *shape))
    # The place of a chip in that memory, and its number.
    places = [(number // size % held * size + number % size, number) for number in range(len(chips))]
    batches = [places[start : start + size] for start in range(0, len(chips), size)]
    pieces = [[batch[start : start + piece] for start in range(0, len(batch), piece)] for batch in batches]
    wanted = _Wanted()
    loader = DataLoader(
        _Chips(reader, chips, memory),
        batch_sampler=wanted,
        num_workers=workers,
        collate_fn=_keep,
        prefetch_factor=ahead if workers else None,
        persistent_workers=in_turn and workers > 0,
    )
    read = _read_in_turn(loader, wanted, pieces) if in_turn else _read_ahead(loader, wanted, pieces)
    values = memory.numpy()
    for batch, found in zip(batches, read, strict=True):
        is_usable = np.array([chip.problem is None for chip in found], dtype=bool)
        first = batch[0][0]
        of_batch = values[first : first + len(batch)]
        yield ChipBatch(found, is_usable, _select(of_batch, is_usable))


def _read_ahead(loader: DataLoader[ReadChip], wanted: _Wanted, batches: _Pieces) -> Iterator[list[ReadChip]]:
    """Yield the chips of each batch; the processes read on while the caller uses it."""
    wanted.pieces = list(chain.from_iterable(batches))
    found = iter(loader)
    for pieces in batches:
        yield list(chain.from_iterable(islice(found, len(pieces))))


def _read_in_turn(loader: DataLoader[ReadChip], wanted: _Wanted, batches: _Pieces) -> Iterator[list[ReadChip]]:
    """Yield the chips of each batch; the processes wait while the caller uses it."""
    for pieces in batches:
        # Each time it is asked for an iterator, the loader reads what is wanted then.
        wanted.pieces = pieces
        yield list(chain.from_iterable(loader))


def _select(values: np.ndarray, is_usable: np.ndarray) -> np.ndarray | None:
    """Return the values of the usable chips, without a copy if all are usable; None if there is none."""
    if is_usable.all():
        return values
    return values[is_usable] if is_usable.any() else None


def _count_ahead(pieces: int, workers: int) -> tuple[int, int]:
    """Return how many pieces each process reads ahead, and for how many batches memory is needed then.

    About a batch is read while the batch before is predicted: there is memory for two, or for more where there are more
    processes than pieces of a batch. A loader asks for the next piece each time that it hands one over, so that no
    process writes into memory of a batch before the caller has asked for the next one.

    Args:
        pieces: number of pieces of a batch.
        workers: number of processes.
    """
    workers = max(workers, 1)
    ahead = max(pieces // workers, 1)
    return ahead, 1 + math.ceil(ahead * workers / pieces)


def _share_memory(shape: tuple[int, ...]) -> torch.Tensor | None:
    """Return float32 memory that processes of this one can write into; None where they cannot share any."""
    room = _shared_room()
    if room <= _LOCKS_BYTES:
        return None
    size = math.prod(shape) * torch.float32.itemsize
    if multiprocessing.get_start_method() == "fork":
        # Forked processes have all memory of this one. The limit of /dev/shm does not hold for this kind.
        return torch.frombuffer(mmap.mmap(-1, size), dtype=torch.float32).view(shape)
    # Other programs share memory too; what they leave free may shrink.
    return torch.empty(shape).share_memory_() if size <= room / 2 else None


def _shared_room() -> float:
    """Return how many bytes of memory processes can still share, 0 if none; only Linux has a limit of its own."""
    if sys.platform != "linux":
        return math.inf
    try:
        state = os.statvfs(_SHARED)
    except OSError:
        return 0
    return state.f_bavail * state.f_frsize if os.access(_SHARED, os.W_OK | os.X_OK) else 0


class _Wanted(Sampler[_Piece]):
    """The pieces that a loader reads next."""

    def __init__(self) -> None:
        self.pieces: list[_Piece] = []

    def __iter__(self) -> Iterator[_Piece]:
        return iter(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)


class _Chips(Dataset[ReadChip]):
    """The chips to read, whose values are written to their places in memory."""

    def __init__(self, reader: ChipReader, chips: Sequence[NewChip], memory: torch.Tensor) -> None:
        self.reader, self.chips, self.memory = reader, chips, memory

    def __len__(self) -> int:
        return len(self.chips)

    def __getitem__(self, place_and_number: tuple[int, int]) -> ReadChip:
        place, number = place_and_number
        chip = self.reader(self.chips[number])
        if chip.values is not None:
            self.memory.numpy()[place] = chip.values
        return replace(chip, values=None, refused=None)


def _keep(chips: list[ReadChip]) -> list[ReadChip]:
    return chips
