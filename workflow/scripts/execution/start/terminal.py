"""What the process a user started shows: one line for each finished run, and what failed and why.

Snakemake's own lines go on into its log file, whose name it gives at the end.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from snakemake_interface_logger_plugins.common import LogEvent

from execution.end.stop import INTERRUPTED, says_interrupted
from execution.records.file_checksums import state_of
from execution.records.finished_runs import is_of_these_settings
from execution.rule_names import PART_RULES, RUN_RULES
from execution.slurm.refusals import REFUSED
from execution.start.job_logs import (
    error_of_snakemake,
    last_error,
    last_signal,
    last_traceback,
    last_words,
    time_written,
)
from terralucas.disk import explain
from terralucas.errors import StudyError

# Snakemake's error where it cannot write its record of a job.
_OF_RECORDS = re.compile(
    r"Error recording metadata for finished job "
    r".*\[Errno (?P<number>\d+)\] (?P<words>[^:)\n]+).* directory (?P<folder>.+)"
)
# Lines without an event that a user waits for or has to act on; all others are in the log file.
_KEPT = (
    "Nothing to be done",
    "Complete log(s):",
    INTERRUPTED,
    "Will exit after finishing",
    "No suitable partition found",
    "No more jobs are started",
    "The folder for temporary files",
    "SLURM: ",
)

# Errors that only say that a job failed, which is shown with its reason.
_EMPTY_ERRORS = (
    "RuleException:\nCalledProcessError",
    "Exiting because a job execution failed",
    "WorkflowError:\nAt least one job did not complete",
)


class Job(Protocol):
    """What is read of a Snakemake job."""

    rule: Any
    wildcards: Any
    output: Any
    log: Any
    is_local: bool


@dataclass(frozen=True)
class Failure:
    """Why a job failed.

    Attributes:
        job: that failed.
        reason: the error it wrote, or what the cluster said of it.
        places: the logs to look into.
        has_error: whether the job wrote an error.
    """

    job: Job
    reason: str
    places: tuple[str, ...]
    has_error: bool


class Terminal(logging.Handler):
    """Shows a study's progress in place of Snakemake's terminal handler.

    Args:
        jobs: of this session, by Snakemake's job id.
        total, finished: runs of the study, and those of them that were there before.
        is_remote: whether jobs that are not local run where their lines cannot be seen.
        stream: where lines go.
    """

    def __init__(
        self, jobs: Mapping[int, Job], total: int, finished: int, is_remote: bool, stream: TextIO = sys.stderr
    ) -> None:
        super().__init__(logging.INFO)
        self.jobs, self.is_remote, self.stream = jobs, is_remote, stream
        self.runs = sum(job.rule.name in RUN_RULES for job in jobs.values())
        self.parts = Counter(job.rule.name for job in jobs.values() if job.rule.name in PART_RULES)
        self.finished: set[int] = set()
        self._finished_parts: set[int] = set()
        self._failures: dict[int, Failure] = {}
        self._other_errors: list[str] = []
        self._lines: list[str] = []
        self._started: float | None = None
        self._is_interrupted = False
        # The last output of each run, which may be of an earlier start.
        self._before = {i: state_of(job.output[-1]) for i, job in jobs.items() if job.rule.name in RUN_RULES}
        # When each log was last written, of what was said before: by an earlier start, or an earlier attempt.
        self._said = {log: time_written(log) for job in jobs.values() for log in map(str, job.log)}
        self._show(f"{self.runs} runs to do; {finished} of the study's {total} were there" if self.runs else "")

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a record means to a user, if anything."""
        try:
            self._take(record)
        except Exception:
            self.handleError(record)

    def show_failures(self) -> None:
        """List the jobs that failed for good, and Snakemake's own errors, once more at the end of a study."""
        # The terminal, or `tee`, may have ended.
        with contextlib.suppress(OSError):
            if self._failures or self._other_errors:
                self._show("\nFailed:")
                self._list(self._failures.values(), "  ")
                for message in self._other_errors:
                    self._show(_indent(message, "  "))

    def _take(self, record: Any) -> None:
        """Take a record, which has what Snakemake adds for its event."""
        event = getattr(record, "event", None)
        self._is_interrupted |= says_interrupted(record)
        if event == LogEvent.JOB_INFO:
            self._begin(record)
        elif event == LogEvent.JOB_FINISHED:
            self._finish(record.job_id)
        elif event == LogEvent.PROGRESS:
            self._show_finished()
        elif event == LogEvent.JOB_ERROR and not record.indent:
            self._fail([record.jobid], record.rule_msg, record.log)
        elif event == LogEvent.GROUP_ERROR:
            ids = [info["jobid"] for info in record.job_error_info]
            self._fail(ids, getattr(record, "said", None), record.aux_logs)
        elif event is None and record.getMessage().startswith("Trying to restart job"):
            self._show(_indent("it is started again"))
        elif event == LogEvent.ERROR and not record.getMessage().startswith(_EMPTY_ERRORS):
            message = _with_remedy(record.getMessage())
            # Snakemake says again at its end what has ended it.
            if message not in self._other_errors:
                self._other_errors.append(message)
                self._show(message)
        elif event is None and _is_kept(record):
            self._show(record.getMessage())

    def _begin(self, record: Any) -> None:
        if record.rule_name in RUN_RULES:
            if self._started is None:
                self._started = time.monotonic()
        elif record.rule_msg:
            self._show(record.rule_msg)

    def _finish(self, job_id: int) -> None:
        job = self.jobs[job_id]
        # It may have failed before and been started again.
        self._failures.pop(job_id, None)
        if job.rule.name in PART_RULES:
            self._finish_part(job_id)
        if job.rule.name not in RUN_RULES or job_id in self.finished:
            return
        try:
            metrics = json.loads(Path(job.output.metrics).read_text(encoding="utf-8"))
        except FileNotFoundError:
            # With --touch, Snakemake does nothing for a run that is not finished, and says that it ended.
            return
        self.finished.add(job_id)
        scores = metrics.get("test")
        said = (
            f"macro accuracy {scores['macro_accuracy']:.3f}, micro accuracy {scores['micro_accuracy']:.3f}"
            if scores
            else f"{metrics['status']} (log: {job.log[0]})"
        )
        self._lines.append(f"{len(self.finished):>{len(str(self.runs))}} of {self.runs}  {_name(job)}: {said}")

    def _finish_part(self, job_id: int) -> None:
        self._finished_parts.add(job_id)
        name = self.jobs[job_id].rule.name
        done = sum(self.jobs[number].rule.name == name for number in self._finished_parts)
        if self.parts[name] > 1:
            self._show(f"{done} of {self.parts[name]} parts are {PART_RULES[name]}")

    def _show_finished(self) -> None:
        """Show the runs that finished together, of a pack, and how long the others will take."""
        remaining = self.runs - len(self.finished)
        if self._lines and remaining and self._started is not None:
            # Runs that wait for a GPU are as many as ever, so the pace so far is the best guess.
            seconds = (time.monotonic() - self._started) / len(self.finished) * remaining
            self._lines[-1] += f"  (about {duration(seconds)} left)"
        for line in self._lines:
            self._show(line)
        self._lines.clear()

    def _fail(self, ids: Sequence[int], message: str | None, logs: Sequence[str]) -> None:
        # Of a pack that ran, the runs whose outputs are there and not those of an earlier start are finished.
        has_run = len(ids) > 1 and not (message or "").startswith(REFUSED)
        finished = [i for i in ids if has_run and self._has_new_outputs(i)]
        for job_id in finished:
            self._finish(job_id)
        self._show_finished()
        failed = {i: self._failure_of(self.jobs[i], message, logs) for i in ids if i not in finished}
        if self._is_interrupted:
            # What has no error of its own was ended by the user.
            failed = {i: failure for i, failure in failed.items() if failure.has_error}
            if not failed:
                return
        self._failures.update(failed)
        if finished and not failed:
            reason = last_error(logs) or error_of_snakemake(logs) or message or "it ended without an error in its log"
            self._show(f"FAILED  the job of runs that are all finished  (log: {', '.join(logs)})\n{_indent(reason)}")
        self._list(failed.values(), "FAILED  ", is_first_time=True)

    def _has_new_outputs(self, job_id: int) -> bool:
        output = self.jobs[job_id].output
        is_new = state_of(output[-1]) != self._before.get(job_id)
        # A job keeps the files of a run that is finished. Of one that cannot be read, nothing is known.
        with contextlib.suppress(StudyError, OSError):
            return all(Path(path).exists() for path in output) and (is_new or is_of_these_settings(self.jobs[job_id]))
        return False

    def _failure_of(self, job: Job, message: str | None, logs: Sequence[str]) -> Failure:
        # The SLURM plugin adds its whole command line to a refused submission, and here nodes are not excluded.
        slurm = (message or "").partition("\n    sbatch call:")[0].partition(" Failed nodes will be excluded")[0]
        # Of a job that was never started, a log can only be of an earlier one; so is one that was not written since.
        was_refused = slurm.startswith(REFUSED)
        changed = [log for log in map(str, job.log) if time_written(log) != self._said.get(log)]
        self._said.update({log: time_written(log) for log in changed})
        of_cluster = [log for log in logs if log not in map(str, job.log)]
        reason = slurm if was_refused else last_error([*changed, *logs]) or error_of_snakemake(of_cluster)
        has_error = reason is not None
        if reason is None:
            raised = last_traceback(of_cluster)
            words, has_error = raised or last_words(of_cluster), raised is not None
            reason = slurm or (words or last_signal(changed))
            if slurm and words:
                reason = f"{slurm}\n  its log ends with: {words}"
        return Failure(job, reason, tuple(dict.fromkeys([*map(str, job.log), *logs])), has_error)

    def _list(self, failures: Iterable[Failure], mark: str, is_first_time: bool = False) -> None:
        """Show failures, those with the same reason together."""
        by_reason: dict[str, list[Failure]] = {}
        for failure in failures:
            # At first, what a job on this machine said is on this terminal already.
            is_seen = is_first_time and (failure.job.is_local or not self.is_remote)
            by_reason.setdefault("" if is_seen else failure.reason, []).append(failure)
        for reason, alike in by_reason.items():
            for failure in alike:
                self._show(f"{mark}{_name(failure.job)}  (log: {', '.join(failure.places)})")
            self._show(_indent(reason))

    def _show(self, line: str) -> None:
        self.stream.write(f"{line}\n" if line else "")
        self.stream.flush()


def terminal_handlers(logger: logging.Logger) -> list[logging.Handler]:
    """Return what shows Snakemake's log on the terminal; nothing where a plugin for logging does."""
    return [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]


def show_progress(workflow: Any, total: int, finished: int) -> None:
    """Show a study's progress in place of Snakemake's lines; `--verbose` shows everything, as does the log file.

    Args:
        workflow: Snakemake's, before its first job.
        total, finished: runs of the study, and those of them that are there.
    """
    if workflow.output_settings.verbose:
        return
    logger, dag = workflow.logger_manager.logger, workflow.dag
    for handler in terminal_handlers(logger):
        logger.removeHandler(handler)
        jobs = {dag.jobid(job): job for job in dag.needrun_jobs()}
        logger.addHandler(Terminal(jobs, total, finished, is_remote=not workflow.local_exec))


def duration(seconds: float) -> str:
    """A length of time as one would say it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _name(job: Job) -> str:
    values = [f"seed {value}" if name == "seed" else str(value) for name, value in job.wildcards.items()]
    return " · ".join(values if job.rule.name in RUN_RULES else [job.rule.name, *values])


def _with_remedy(message: str) -> str:
    """Return an error of Snakemake; where the disk with its own records is the cause, with what to do."""
    found = _OF_RECORDS.search(message)
    problem = found and explain(OSError(int(found["number"]), found["words"], found["folder"]))
    return f"{message}\n{problem}" if problem else message


def _is_kept(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    return message.startswith(_KEPT) or (record.levelno >= logging.ERROR and not message.startswith(_EMPTY_ERRORS))


def _indent(text: str, margin: str = " " * 8) -> str:
    return "\n".join(f"{margin}{line}" for line in text.splitlines())
