"""Read new chips in batches with processes of their own, so that a model need not wait for files.

Threads would wait for each other: most of the time of a small chip is spent in Python.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from terralucas.predict.new_chips import ChipReader, NewChip, ReadChip

# Most bytes of chips that a process reads and sends together.
_PIECE_BYTES = 8 * 2**20
_MOST_PROCESSES = 8
# Where processes share memory on Linux. It holds 64 MB in a container, unless it was made larger.
_SHARED = "/dev/shm"


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


def read_chip_batches(reader: ChipReader, chips: Sequence[NewChip], size: int, processes: int) -> Iterator[ChipBatch]:
    """Yield batches of `size` chips in the order of `chips`; the last one may be smaller.

    Args:
        reader: reads a chip.
        chips: the chips.
        size: number of chips in a batch.
        processes: number of processes that read in advance, at most 8 and one for each processor; with 0, or few chips,
            this one reads.
    """
    bytes_of_chip = len(reader.spec.bands) * reader.side_px**2 * 4
    piece = max(1, min(size, _PIECE_BYTES // bytes_of_chip))
    numbers = list(range(len(chips)))
    batches = [numbers[start : start + size] for start in range(0, len(chips), size)]
    pieces = [batch[start : start + piece] for batch in batches for start in range(0, len(batch), piece)]
    workers = min(processes, _MOST_PROCESSES, os.cpu_count() or 1, max(len(pieces) - 1, 0))
    # A whole batch is read while the batch before is predicted.
    ahead = math.ceil(math.ceil(size / piece) / max(workers, 1)) + 1
    has_room = _has_room(2 * (ahead * workers + 1) * piece * bytes_of_chip)
    collate = _collate if has_room else _collate_apart
    loader = iter(
        DataLoader(
            _Chips(reader, chips),
            batch_sampler=pieces,
            num_workers=workers,
            collate_fn=collate,
            prefetch_factor=ahead if workers else None,
        )
    )
    for batch in batches:
        read: list[ReadChip] = []
        values: list[np.ndarray] = []
        while len(read) < len(batch):
            of_piece, of_usable = next(loader)
            read += of_piece
            values += [] if of_usable is None else [np.asarray(of_usable)]
        is_usable = np.array([chip.problem is None for chip in read], dtype=bool)
        yield ChipBatch(read, is_usable, _join(values))


def _join(pieces: list[np.ndarray]) -> np.ndarray | None:
    """Join the values of the pieces of a batch; a single piece is not copied."""
    return None if not pieces else pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _has_room(size: int) -> bool:
    """Return whether processes can share so many bytes of memory; only Linux has a limit of its own."""
    try:
        state = os.statvfs(_SHARED)
    except (OSError, AttributeError):
        return True
    return state.f_bavail * state.f_frsize >= size


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
