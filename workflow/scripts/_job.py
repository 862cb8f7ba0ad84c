"""What every script of a rule has in common: its log file, and errors that read well."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from terralucas.disk import explain
from terralucas.errors import StudyError, Terminated

# A progress bar redraws itself on a terminal; in a log every redrawing is a line. tqdm reads this when it is imported.
os.environ.setdefault("TQDM_MININTERVAL", "1" if sys.stderr.isatty() else "30")

# Lines of this logger are shown on the terminal; everything at INFO and above is in the log file.
progress = logging.getLogger("progress")


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a rule's work with logging set up; a StudyError ends the job with its message instead of a traceback."""
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(log, mode="w", encoding="utf-8")
    # A log that cannot be written (a full disk) must not bury the error under errors of its own.
    logging.raiseExceptions = False
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(_TerminalFormatter())
    to_terminal.addFilter(lambda record: record.name == "progress" or record.levelno >= logging.ERROR)
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    # Libraries' warnings belong into the log, not between the lines of a running workflow.
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (KeyboardInterrupt, Terminated) as ending:
        number = signal.SIGTERM if isinstance(ending, Terminated) else signal.SIGINT
        progress.info("%s: ended by %s", snakemake.rule, number.name)
        sys.exit(128 + number)
    except Exception as error:
        problem = explain(error) if isinstance(error, OSError) else error
        if isinstance(problem, StudyError):
            logging.getLogger(snakemake.rule).error("%s", problem)
        else:
            logging.getLogger(snakemake.rule).exception("Unexpected error; the log is %s", log)
        sys.exit(1)


class _TerminalFormatter(logging.Formatter):
    """Errors are marked, so that they are found among other lines in SLURM's log."""

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        return message if record.levelno < logging.ERROR else f"ERROR: {message}"


def _terminate(signum: int, frame: FrameType | None) -> None:
    # Whoever signals a whole job ends a loader's workers too; torch would raise an error of its own.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    raise Terminated
