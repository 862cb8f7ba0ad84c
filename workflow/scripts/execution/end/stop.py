"""Stops a study at the failure of a check or when its code was changed, also under --keep-going, and at SIGINT."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import psutil
from snakemake_interface_logger_plugins.common import LogEvent

from execution.jobs.processes import children_of
from execution.records.own_code import OwnCode
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file

# What Snakemake says after SIGINT, before it waits for its jobs.
INTERRUPTED = "Terminating processes on user request"


def says_interrupted(record: logging.LogRecord) -> bool:
    """Return whether Snakemake says that it was interrupted."""
    return getattr(record, "event", None) is None and record.getMessage().startswith(INTERRUPTED)


class Scheduler(Protocol):
    """What is changed of Snakemake's scheduler, which reads it before it starts jobs."""

    keepgoing: bool


class Rule(Protocol):
    """What is changed of a rule: how often a job that fails is started again."""

    restart_times: int


class _Listener(logging.Handler, ABC):
    """A handler that reacts to what Snakemake logs.

    An error of its own is only said: Snakemake logs before it cancels jobs and before it counts a failure, and would do
    neither.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Let `react` take the record."""
        try:
            self.react(record)
        except Exception:
            # `handleError` is silent in a study (logging.raiseExceptions).
            traceback.print_exc(file=sys.stderr)

    @abstractmethod
    def react(self, record: Any) -> None:
        """Do what the record asks for."""


class StopAtFailedCheck(_Listener):
    """Turns --keep-going off when a check fails, so that Snakemake starts no more jobs.

    Without --keep-going Snakemake waits for the jobs that run, keeps what they make, and ends. Listening to its log is
    the only way to learn of a failure while other jobs run: its hook `onerror` is called when all are over.

    Args:
        scheduler: of the running study.
        checks: names of the rules that check; they must not be tried again after a failure.
        logger: where Snakemake logs.
    """

    def __init__(self, scheduler: Scheduler, checks: Collection[str], logger: logging.Logger) -> None:
        super().__init__(logging.INFO)
        self.scheduler, self.checks, self.logger = scheduler, checks, logger
        self._is_interrupted = False

    def react(self, record: Any) -> None:
        """Stop if the record is the failure of a check, which the user did not end."""
        self._is_interrupted |= says_interrupted(record)
        is_failure = getattr(record, "event", None) == LogEvent.JOB_ERROR and not self._is_interrupted
        if is_failure and record.rule_name in self.checks and self.scheduler.keepgoing:
            self.scheduler.keepgoing = False
            self.logger.info(
                "No more jobs are started: %s failed, and what its error says must be corrected first. "
                "Jobs that already run are waited for and their results kept; Ctrl-C ends them.",
                record.rule_name,
            )


class EndJobsAtInterrupt(_Listener):
    """Ends the jobs of this machine when Snakemake was interrupted, as Ctrl-C in a terminal does.

    Ctrl-C sends SIGINT to the process group of the terminal, and `kill -INT` to Snakemake alone, which then waits until
    its jobs end by themselves. Jobs ignore a second SIGINT (`execution.jobs.job`). SLURM's commands are in groups of
    their own.
    """

    def react(self, record: Any) -> None:
        """Send SIGINT to the processes of this group that this one has started, if the record says that it ends."""
        if not says_interrupted(record):
            return
        with _ignored_interrupts():
            for process in children_of(psutil.Process(), recursive=True):
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    if os.getpgid(process.pid) == os.getpgrp():
                        process.send_signal(signal.SIGINT)


@contextlib.contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Ignore SIGINT for a moment: a second one would end this process with a traceback before its jobs are ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)


class StopAtChangedCode(_Listener):
    """Starts no more jobs, and none again, when a job failed and its code or its defaults are not those of the start.

    Each further attempt would end with the same error, and so would the other jobs.

    Args:
        scheduler: of the running study.
        rules: of the study.
        recorded: `Head.code` of this start.
        schemas: folder of the schemas of configurations, which have the defaults.
        logger: where Snakemake logs.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        rules: Iterable[Rule],
        recorded: Mapping[str, str],
        schemas: Path,
        logger: logging.Logger,
    ) -> None:
        super().__init__(logging.ERROR)
        self._schemas, self._of_start = schemas, _checksums(schemas)
        self.scheduler, self.rules, self.recorded, self.logger = scheduler, list(rules), recorded, logger
        self._is_said = False

    def react(self, record: Any) -> None:
        """Stop if the record is the failure of a job whose code was changed."""
        if getattr(record, "event", None) != LogEvent.JOB_ERROR or self._is_said:
            return
        changed = ""
        try:
            OwnCode(record.rule_name, self.recorded).require()
        except StudyError:
            changed = f"the code of {record.rule_name} was changed"
        if not self._schemas.is_dir():
            changed = f"the folder of the project was moved or is gone: there is no {self._schemas}"
        elif _checksums(self._schemas) != self._of_start:
            changed = "the defaults of the configuration were changed"
        if changed:
            self._is_said = True
            self.scheduler.keepgoing = False
            for rule in self.rules:
                rule.restart_times = 0
            self.logger.info("No more jobs are started, because %s.", changed)


def _checksums(folder: Path) -> dict[str, str]:
    """Return the checksum of each file in a folder that can be read."""
    found = {}
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            found[path.name] = sha256_of_file(path)
    return found
