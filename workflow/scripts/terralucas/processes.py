"""Compute many things of a kind in several processes."""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable
from multiprocessing import util
from pathlib import Path
from typing import Any, TypeVar

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
    import cloudpickle
    from joblib import Parallel, delayed, parallel_config

    _end_workers_at_exit(os.getpid())
    # joblib would pickle the function for every item. In a large study that takes as long as what is computed.
    with tempfile.NamedTemporaryFile() as file, parallel_config(backend="loky", inner_max_num_threads=1):
        cloudpickle.dump(function, file)
        file.flush()
        return list(Parallel(n_jobs=processes)(delayed(_call)(file.name, item) for item in items))


def _call(path: str, item: Any) -> Any:
    return _read_function(path)(item)


@functools.lru_cache(maxsize=1)
def _read_function(path: str) -> Callable[[Any], Any]:
    """Read a function from a file of `compute_each`; a process reads it once for all its items."""
    with Path(path).open("rb") as file:
        # The process that started this one has just written the file, which nobody else can write.
        function: Callable[[Any], Any] = pickle.load(file)  # noqa: S301
    return function


@functools.cache
def _end_workers_at_exit(process: int) -> None:
    """Let this process end its workers when it ends; a second call does nothing.

    joblib keeps them for the next call, and ends them with `atexit`. A process that multiprocessing started, such as
    the fork of a job, does not call that. It then waits for them, until they have had nothing to do for five minutes.

    Args:
        process: number of this process. A fork has another one, so that it registers again.
    """
    if multiprocessing.parent_process() is not None:
        # Before the queues of the workers are closed, which have the priority 10.
        util.Finalize(None, _end_workers, exitpriority=100)


def _end_workers() -> None:
    from joblib.externals.loky import get_reusable_executor

    # joblib's also deletes the folder for large arguments. After an error in a worker there is none, but a new one.
    executor = get_reusable_executor(reuse=True)
    getattr(executor, "terminate", executor.shutdown)()
