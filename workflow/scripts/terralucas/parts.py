"""Division of chips into parts, each for a job of its own."""

from __future__ import annotations

import math


def part_of(n_chips: int, batch_size: int, part: int, parts: int) -> range:
    """Return the numbers of the chips in a part: whole batches, divided as evenly as possible.

    A model computes the same batches in any number of parts, and so gives the same numbers bit for bit.
    """
    batches = math.ceil(n_chips / batch_size)
    first, last = (batches * number // parts * batch_size for number in (part, part + 1))
    return range(min(first, n_chips), min(last, n_chips))
