"""Read chips in advance with threads, so that a model need not wait for files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Source = TypeVar("Source")
Result = TypeVar("Result")
# Batches that are read or being read while the model computes.
_AHEAD = 3


def read_batches(
    read: Callable[[Source], Result], sources: Iterable[Source], size: int, threads: int
) -> Iterator[list[Result]]:
    """Yield the results of `read` in the order of the sources, in lists of `size`; the last list may be shorter."""
    remaining = iter(sources)
    pending: deque[Future[Result]] = deque()
    batch: list[Result] = []
    with ThreadPoolExecutor(threads) as pool:
        try:
            pending.extend(pool.submit(read, source) for source in islice(remaining, _AHEAD * size))
            while pending:
                batch.append(pending.popleft().result())
                pending.extend(pool.submit(read, source) for source in islice(remaining, 1))
                if len(batch) == size or not pending:
                    yield batch
                    batch = []
        finally:
            for future in pending:
                future.cancel()
