"""Compute many things of a kind in several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def compute_each(function: Callable[[Item], Result], items: Iterable[Item], processes: int) -> list[Result]:
    """Return the results of a function for items, in their order.

    Each process has one thread: the order in which threads add up numbers would change the results.

    Args:
        function: may be a closure; what it refers to is copied to the processes.
        items: arguments of the function.
        processes: number of processes; with 1, this one computes.
    """
    if processes == 1:
        return [function(item) for item in items]
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        return list(Parallel(n_jobs=processes)(delayed(function)(item) for item in items))
