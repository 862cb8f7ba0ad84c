"""Jobs know the start of the study that they belong to, here or on another machine, and change nothing when it is over.

A job may outlive its start: where the process was killed, or SLURM did not answer when its jobs were to be cancelled.
Another start may then have other settings, and finish the same runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from terralucas.errors import StudyError
from terralucas.study.head import Head, read_head, require_start

# In `--config` of a job's Snakemake, and in the environment of its scripts.
KEY = "submitted_by"
_VARIABLE = "TERRALUCAS_SUBMITTED_BY"


def tell_jobs(settings: Any, start: str | None) -> None:
    """Let the jobs that are submitted from now on know this start.

    Args:
        settings: `workflow.config_settings`, from which Snakemake makes the command lines of jobs.
        start: `Head.start` of the mark of this process; None where it has no jobs, and no mark.
    """
    if start is not None:
        settings.config_args = [*(settings.config_args or ()), f"{KEY}={start}"]


def know_start(start: str | None, results: Path) -> None:
    """Let this process, a job's or that of the start, and what it starts know the start, and check it.

    Args:
        start: `Head.start`, or what `tell_jobs` told.
        results: folder of the study.

    Raises:
        StudyError: as `require_own_start`.
    """
    if start is not None:
        os.environ[_VARIABLE] = f"{start} {results.absolute()}"
        require_own_start()


def require_own_start() -> Head | None:
    """Return the mark of the start that this job belongs to, if that is not over; None where this is no job of a study.

    Raises:
        StudyError: it is over.
    """
    start, results = _read_told()
    if not start:
        return None
    if _is_elsewhere(results):
        here = results_of_own_start().absolute()
        raise StudyError(
            "This job ends without a change to any result: the folder of its study was moved while it ran.",
            found=f"another folder at {results} than {here}, in which this job writes",
            expected="the folder of the study at its place until the study ends",
            remedy="nothing: the next start of the study finishes what is missing",
        )
    return require_start(results, start)


def is_own_start() -> bool:
    """Return whether `require_own_start` would pass at this moment, without waiting for news of the mark."""
    start, results = _read_told()
    if not start:
        return True
    try:
        return owns_study(start, results_of_own_start()) and not _is_elsewhere(results)
    except OSError:
        return False


def _read_told() -> tuple[str, Path]:
    """Return the start that this process knows, empty where it knows none, and the folder of its study."""
    start, _, results = os.environ.get(_VARIABLE, "").partition(" ")
    return start, Path(results)


def _is_elsewhere(results: Path) -> bool:
    """Return whether a folder is at the place of the study that is not the one in which this process writes.

    The folder of the project may have been renamed while a job runs, and a copy be at its old place: paths of results
    lead to the former, and the mark is also in the latter.
    """
    return results.is_dir() and not results_of_own_start().samefile(results)


def results_of_own_start() -> Path:
    """Return the folder of the study of which this is a job (`require_own_start`), as paths of its results begin."""
    _, results = _read_told()
    # results/<study>, in the folder of the project.
    relative = Path(*results.parts[-2:])
    return relative if relative.is_dir() else results


def require_own_settings(settings: str) -> None:
    """Return if a job has the settings of the start that it belongs to; also where this is no job of a study.

    The configuration of a start is kept for its jobs (`execution.start.configuration_copies`). Its defaults are code of
    the project.

    Args:
        settings: SHA-256 of the configuration with its defaults.

    Raises:
        StudyError: they are others, or the start is over.
    """
    head = require_own_start()
    # The mark of an earlier version has none.
    if head is not None and head.settings not in ("", settings):
        raise StudyError(
            "This job ends without a change to any result: the project was changed while the study runs, and gives "
            "it other settings than the start of the study.",
            found="other defaults of the configuration than when the study was started",
            expected="one project from the start of the study to its end",
            remedy="stop the study, and start it again: it goes on with the project that is there then; or undo the "
            "change first",
        )


def owns_study(start: str | None, results: Path) -> bool:
    """Return whether a start is the one that runs a study now, and not one that another process took for dead.

    Args:
        start: `Head.start` of it.
        results: folder of the study.
    """
    head = read_head(results)
    return head is not None and head.start == start
