"""Jobs of earlier starts of a study: its jobs have a name by which the next start finds them."""

from __future__ import annotations

import logging
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from terralucas.errors import StudyError
from terralucas.files import sha256_of_json

CANCEL, REPORT = "cancel", "report"

_COMMAND_S = 30
# Time for cancelled jobs to save their progress and end.
_PATIENCE_S = 60.0
_PAUSE_S = 1.0
_LONGEST_NAME = 30


def name_of_jobs(results: Path) -> str:
    """Return how the names of a study's jobs begin: the name of the study, and a hash of where its results are."""
    folder = results.resolve()
    study = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name)[:_LONGEST_NAME]
    return f"{study}-{sha256_of_json(str(folder))[:8]}_"


def check_choice(choice: Any) -> None:
    """Raise a StudyError if it is no choice of what becomes of earlier jobs."""
    if choice not in (CANCEL, REPORT):
        raise StudyError(
            "earlier_jobs says what becomes of SLURM jobs of earlier starts of the study.",
            found=repr(choice),
            expected=f"{CANCEL} or {REPORT}",
            remedy=f"correct `config: [earlier_jobs={CANCEL}]` in profiles/slurm/config.yaml",
        )


def settle_earlier_jobs(name: str, choice: str, logger: logging.Logger) -> None:
    """Cancel or report jobs in the queue whose names begin with the study's.

    Call it before the first submission, when no other process runs the study.

    Args:
        name: how the names of the study's jobs begin.
        choice: cancel or report.
        logger: whose lines that start with "SLURM: " the terminal shows.
    """
    try:
        jobs = {job: state for job, state in _find(name).items() if state != "COMPLETING"}
        listed = ", ".join(f"{job} ({state.lower()})" for job, state in jobs.items())
        if choice == REPORT and jobs:
            logger.warning(
                f"SLURM: jobs of earlier starts of this study are in the queue: {listed}. They go on. "
                f"To cancel them: scancel {' '.join(jobs)}."
            )
        if choice == REPORT:
            return
        if jobs:
            _run("scancel", *jobs)
        # Also those that are ending already: they may still write.
        deadline = time.monotonic() + _PATIENCE_S
        while _find(name) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        if jobs:
            logger.warning(
                f"SLURM: cancelled jobs of earlier starts of this study: {listed}. What they finished is kept, and "
                "runs that trained go on after their last saved epoch."
            )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        logger.warning(
            f"SLURM: jobs of earlier starts of this study could not be looked for ({''.join(said)}). "
            f"`squeue --me -o '%i %T %j'` lists them: their names begin with {name}."
        )


def _find(name: str) -> dict[str, str]:
    """States of the jobs of earlier starts that wait, run or are ending, by id."""
    rows = (line.split("|", 2) for line in _run("squeue", "--me", "--noheader", "--format=%i|%T|%j").splitlines())
    return {row[0].strip(): row[1] for row in rows if len(row) == 3 and row[2].startswith(name)}


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S, check=True).stdout
