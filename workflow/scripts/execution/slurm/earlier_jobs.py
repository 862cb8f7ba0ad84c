"""Jobs of earlier starts of a study: its jobs have a name by which the next start finds them."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from execution.slurm.clients import SQUEUE, NoAnswerError, ask, list_jobs, user
from execution.slurm.refusals import remedy_of_what_lasts
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json

CANCEL, REPORT = "cancel", "report"

_COMMAND_S = 30
# Time for cancelled jobs to save their progress and end, before they are cancelled again and named.
_PATIENCE_S = 60.0
_PAUSE_S = 1.0
# Between two questions while SLURM does not answer.
_SILENT_PAUSE_S = 5.0
_LONGEST_NAME = 30
_END_OR_REPORT = "Ctrl-C ends this start; `--config earlier_jobs=report` begins beside such jobs."


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


def settle_earlier_jobs(
    name: str, choice: str, logger: logging.Logger, is_stopped: Callable[[], bool] = lambda: False
) -> None:
    """Cancel or report jobs in the queue whose names begin with the study's.

    Call it before the first submission, when no other process runs the study. Where they are to be cancelled, it
    returns when none is left that may still write: it asks until SLURM answers, and Ctrl-C or SIGTERM end that.

    Args:
        name: how the names of the study's jobs begin.
        choice: cancel or report.
        logger: whose lines that start with "SLURM: " the terminal shows.
        is_stopped: tells whether the user stopped the study meanwhile.

    Raises:
        StudyError: the study was stopped, or SLURM's commands cannot work as they are set up.
    """
    if choice == REPORT:
        _report(name, logger)
        return
    cancelled: dict[str, str] = {}
    again_at, refusal = -math.inf, ""
    silence, slowness = _Once(logger), _Once(logger)
    found_at: float | None = None
    while True:
        if is_stopped():
            raise StudyError("Stopped before the first job; nothing was started.")
        try:
            # Also those that are ending already: they may still write.
            left = _find(name)
            if not left:
                break
            found_at = found_at or time.monotonic()
            jobs = {job: state for job, state in left.items() if state != "COMPLETING"}
            if not jobs:
                refusal = ""
            elif time.monotonic() >= again_at:
                refusal = _cancel(jobs)
                again_at = time.monotonic() + (_SILENT_PAUSE_S if refusal else _PATIENCE_S)
                cancelled = jobs | cancelled
        except NoAnswerError as error:
            _require_that_it_may_pass(error)
            silence.say(
                f"SLURM: jobs of earlier starts of this study could not be looked for ({error}). SLURM is "
                f"asked every {_SILENT_PAUSE_S:.0f} s, and nothing is submitted until it answers. {_END_OR_REPORT}"
            )
            time.sleep(_SILENT_PAUSE_S)
            continue
        if time.monotonic() - found_at >= _PATIENCE_S:
            slowness.say(
                f"SLURM: waiting for jobs of earlier starts of this study to end: {_list(left)}. "
                f"{f'They could not be cancelled ({refusal}). ' if refusal else ''}{_END_OR_REPORT}"
            )
        time.sleep(_PAUSE_S)
    if cancelled:
        logger.warning(
            f"SLURM: jobs of earlier starts of this study were cancelled or have ended: {_list(cancelled)}. What they "
            "finished is kept, and runs that trained go on after their last saved epoch."
        )


def with_jobs_in_queue(error: StudyError, results: Path) -> StudyError:
    """Return the error of a start that is refused, with the jobs of earlier starts that go on and may cause it again.

    Args:
        error: why the start is refused, before it settles these jobs.
        results: folder of the study.
    """
    try:
        jobs = {job: state for job, state in _find(name_of_jobs(results)).items() if state != "COMPLETING"}
    except NoAnswerError:
        return error
    if not jobs:
        return error
    go_on = f"jobs of earlier starts that go on, as they were submitted: {_list(jobs)}"
    found = go_on if error.found is None else f"{error.found}; and {go_on}"
    remedy = f"scancel {' '.join(jobs)}, if these jobs are to end; then: {error.remedy or 'start the study again'}"
    return StudyError(error.problem, found=found, expected=error.expected, remedy=remedy)


class _Once:
    """Says something once."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger, self._is_said = logger, False

    def say(self, text: str) -> None:
        if not self._is_said:
            self._is_said = True
            self._logger.warning(text)


def _require_that_it_may_pass(error: NoAnswerError) -> None:
    """Raise a StudyError where SLURM will never answer, however long it is asked."""
    remedy = remedy_of_what_lasts(error.said)
    if remedy is not None:
        raise StudyError(
            "SLURM cannot be asked for jobs of earlier starts of this study.",
            found="; ".join(error.said.split("\n")).strip("; "),
            expected="an answer of squeue",
            remedy=remedy,
        ) from None


def _report(name: str, logger: logging.Logger) -> None:
    try:
        jobs = {job: state for job, state in _find(name).items() if state != "COMPLETING"}
    except NoAnswerError as error:
        logger.warning(
            f"SLURM: jobs of earlier starts of this study could not be looked for ({error}). "
            f"`squeue --all --user={user()} -o '%i %T %j'` lists them: their names begin with {name}."
        )
        return
    if jobs:
        logger.warning(
            f"SLURM: jobs of earlier starts of this study are in the queue: {_list(jobs)}. They end by themselves "
            f"before they change a result. To cancel them at once: scancel {' '.join(jobs)}."
        )


def _list(jobs: dict[str, str]) -> str:
    return ", ".join(f"{job} ({state.lower()})" for job, state in jobs.items())


def _find(name: str) -> dict[str, str]:
    """States of the jobs of earlier starts that wait, run or are ending, by id."""
    rows = list_jobs([*SQUEUE, f"--user={user()}", "--format=%i|%T|%j"], _COMMAND_S)
    return {row.job: row.state for row in rows if row.more.startswith(name)}


def _cancel(jobs: Iterable[str]) -> str:
    """Cancel jobs; return the last words of SLURM if it refuses. One that ends meanwhile makes scancel fail, too."""
    try:
        ask(["scancel", *jobs], _COMMAND_S)
    except NoAnswerError as error:
        if not error.is_refusal:
            raise
        return str(error) or "scancel failed without a word"
    return ""
