"""Runs the script of a rule in a process that was forked from the fork server (`execution.jobs.fork_jobs`)."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from execution.jobs.orphans import terminate_with_snakemake

# Snakemake sets them in the environment of a script. Libraries read them when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def run_script(path: str, rule: str, environment: Mapping[str, str], threads: int) -> None:
    """Run a script as `python path` would.

    Args:
        path: file of the script, as Snakemake writes it for a job.
        rule: name of the rule, which `top` and `ps -o comm` show.
        environment: variables of the environment.
        threads: threads of the job.
    """
    # The server ignores it.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(rule)
    # Workers of data loaders start as in any other process.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    terminate_with_snakemake()
    if getattr(sys.modules.get("execution.jobs.preloaded"), "is_interrupted", False):
        # It waits, too, until the script can tell of it.
        os.kill(os.getpid(), signal.SIGINT)
    if not _has_code_of_disk():
        # The script is a program of its own, with its own imports.
        os.execve(sys.executable, [sys.executable, path], os.environ)
    sys.argv = [path]
    _limit_threads(threads)
    runpy.run_path(path, run_name="__main__")


def _limit_threads(threads: int) -> None:
    """Set the number of threads of the libraries that the server has loaded."""
    import threadpoolctl
    import torch

    torch.set_num_threads(threads)
    # Not as a context: it lasts until the process ends.
    threadpoolctl.threadpool_limits(threads)


def _has_code_of_disk() -> bool:
    """Return whether the server has imported all, and files were not edited during that or later."""
    if not getattr(sys.modules.get("execution.jobs.preloaded"), "is_complete", False):
        return False
    from execution.records.own_code import other_than_on_disk

    return not other_than_on_disk()
