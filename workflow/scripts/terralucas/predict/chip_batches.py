"""Read new chips in batches with processes of their own, so that a model need not wait for files.

Threads would wait for each other: most of the time of a small chip is spent in Python.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from terralucas.predict.new_chips import ChipReader, NewChip, ReadChip


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
        processes: number of processes that read in advance, at most one for each batch after the first; with 0, this
            one reads.
    """
    loader = DataLoader(
        _Chips(reader, chips),
        batch_size=size,
        num_workers=min(processes, max(math.ceil(len(chips) / size) - 1, 0)),
        collate_fn=_collate,
    )
    for read, values in loader:
        is_usable = np.array([chip.problem is None for chip in read], dtype=bool)
        yield ChipBatch(read, is_usable, None if values is None else values.numpy())


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
    read = [replace(chip, values=None, refused=None) for chip in chips]
    return read, default_collate(values) if values else None
