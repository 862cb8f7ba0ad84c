"""Jobs on other machines know the start of the study that submitted them, and change nothing when it is over.

A job may outlive its start: where the process was killed, or SLURM did not answer when its jobs were to be cancelled.
Another start may then have other settings, and finish the same runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from terralucas.study.head import read_head, require_start

# In `--config` of a job's Snakemake, and in the environment of its scripts.
KEY = "submitted_by"
_VARIABLE = "TERRALUCAS_SUBMITTED_BY"


def tell_jobs(settings: Any, results: Path) -> None:
    """Let the jobs that are submitted from now on know this start.

    Args:
        settings: `workflow.config_settings`, from which Snakemake makes the command lines of jobs.
        results: folder of the study, which this process has marked as run by it.
    """
    head = read_head(results)
    if head is not None:
        settings.config_args = [*(settings.config_args or ()), f"{KEY}={head.start}"]


def know_start(start: str | None, results: Path) -> None:
    """Let this process, a job's, and what it starts know the start that submitted it, and check it.

    Args:
        start: what `tell_jobs` told.
        results: folder of the study.

    Raises:
        StudyError: as `require_own_start`.
    """
    if start is not None:
        os.environ[_VARIABLE] = f"{start} {results.absolute()}"
        require_own_start()


def require_own_start() -> None:
    """Return if this process is no job of another machine's, or the start that submitted it is not over.

    Raises:
        StudyError: it is over.
    """
    start, _, results = os.environ.get(_VARIABLE, "").partition(" ")
    if start:
        require_start(Path(results), start)
