"""Stops a study at the failure of a check, also under --keep-going."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from snakemake_interface_logger_plugins.common import LogEvent


class Scheduler(Protocol):
    """What is changed of Snakemake's scheduler, which reads it before it starts jobs."""

    keepgoing: bool


class StopAtFailedCheck(logging.Handler):
    """Turns --keep-going off when a check fails, so that Snakemake starts no more jobs.

    Without --keep-going Snakemake waits for the jobs that run, keeps what they make, and ends. Listening to its log is
    the only way to learn of a failure while other jobs run: its hook `onerror` is called when all are over.

    Args:
        scheduler: of the running study.
        checks: names of the rules that check; they must not be tried again after a failure.
        logger: where Snakemake logs.
    """

    def __init__(self, scheduler: Scheduler, checks: Collection[str], logger: logging.Logger) -> None:
        super().__init__(logging.ERROR)
        self.scheduler, self.checks, self.logger = scheduler, checks, logger

    def emit(self, record: logging.LogRecord) -> None:
        """Stop if the record is the failure of a check."""
        is_failure = getattr(record, "event", None) == LogEvent.JOB_ERROR
        if is_failure and record.rule_name in self.checks and self.scheduler.keepgoing:
            self.scheduler.keepgoing = False
            self.logger.info(
                "No more jobs are started, because the configuration or the chips must be corrected first. "
                "Jobs that already run are waited for and their results kept; Ctrl-C ends them."
            )
