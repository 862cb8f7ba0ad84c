"""Set up the log file and the error messages of every script of a rule."""

from __future__ import annotations

# Before all modules whose code it remembers.
from execution.records import executed_code as _executed_code  # noqa: F401  # isort: skip

import logging
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from execution.jobs.job_inputs import JobInputs
from execution.jobs.job_results import JobResults
from execution.jobs.orphans import terminate_with_snakemake
from execution.records.own_code import OwnCode, remember_script, start_again_if_other
from execution.records.own_start import is_own_start, require_own_start
from terralucas.disk import explain
from terralucas.errors import StudyError, Terminated
from terralucas.files import check_before_each_result
from terralucas.machine_errors import explain_machine
from terralucas.sockets import use_folder_for_sockets

# In a log file, each update of a progress bar is a line; therefore it is updated rarely. tqdm reads this at import.
os.environ.setdefault("TQDM_MININTERVAL", "1" if sys.stderr.isatty() else "30")

# Messages of this logger are also shown on the terminal. The log file has all messages from level INFO.
progress = logging.getLogger("progress")


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run the work of a rule with logging; a StudyError ends the job with its message and without a traceback."""
    try:
        # Before the log of a run that another start does is overwritten.
        head = require_own_start()
    except StudyError as error:
        sys.exit(f"ERROR: {error}")
    own_code = OwnCode(snakemake.rule, head.code if head else {})
    # A fork has another command line, and was compared when it began (`execution.jobs.forked_script`).
    if head is not None and multiprocessing.parent_process() is None:
        start_again_if_other()
    remember_script()
    check_before_each_result(_check_start)
    check_before_each_result(own_code.require)
    log = Path(snakemake.log[0])
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        # Emptied first, so that lines are appended: the process that started this one may add how it ended
        # (`execution.jobs.fork_jobs`).
        log.open("w").close()
        to_file = logging.FileHandler(log, mode="a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        sys.exit(f"ERROR: {explain(error)}")
    # If the log cannot be written, for example on a full disk, logging must not hide the error with its own errors.
    logging.raiseExceptions = False
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setFormatter(_TerminalFormatter())
    to_terminal.addFilter(lambda record: record.name == "progress" or record.levelno >= logging.ERROR)
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal], force=True)
    # Warnings of libraries go to the log file and not to the terminal.
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    signal.signal(signal.SIGTERM, _terminate)
    # Ignored where a shell started the job in the background; it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    _keep_workers_out_of_the_script()
    results = JobResults(snakemake.rule, snakemake.output)
    try:
        # A fork watches it from its beginning on (`execution.jobs.forked_script`).
        if multiprocessing.parent_process() is None:
            terminate_with_snakemake()
        # What started this process let it wait (`execution.jobs.fork_jobs`).
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        own_code.require()
        use_folder_for_sockets()
        inputs = JobInputs(snakemake.rule, snakemake.input)
        yield
        inputs.require_unchanged()
        # Also for results that are no single files.
        own_code.require()
    except (KeyboardInterrupt, Terminated) as ending:
        number = signal.SIGTERM if isinstance(ending, Terminated) else signal.SIGINT
        progress.info("%s: ended by %s", snakemake.rule, number.name)
        _exit_beside_threads(128 + number)
        sys.exit(128 + number)
    except Exception as error:
        # Where the start is over, another one may have written them.
        if is_own_start():
            results.remove_new()
        problem = explain_machine(error) or (explain(error) if isinstance(error, OSError) else error)
        if isinstance(problem, StudyError):
            if problem is not error:
                # For the log file alone: what asked for too much may be a fault of the code.
                logging.getLogger(snakemake.rule).info("What Python said", exc_info=error)
            logging.getLogger(snakemake.rule).error("%s", problem)
        else:
            logging.getLogger(snakemake.rule).exception("Unexpected error; the log is %s", log)
        sys.exit(1)


class _TerminalFormatter(logging.Formatter):
    """Formatter that marks errors, so that they are easy to find in the log of SLURM."""

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        return message if record.levelno < logging.ERROR else f"ERROR: {message}"


def _keep_workers_out_of_the_script() -> None:
    """Let worker processes start without the script of the rule.

    Where Python does not fork (macOS, Python 3.14), a worker first runs the file of `__main__` again, and would find no
    `snakemake` there. What workers need is in the core, and is imported when they receive it.
    """
    vars(sys.modules["__main__"]).pop("__file__", None)


def _terminate(signum: int, frame: FrameType | None) -> None:
    # The signal also ends the worker processes of a data loader; PyTorch must not raise its own error for them.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _wait_for_no_thread()
    raise Terminated


def _interrupt(signum: int, frame: FrameType | None) -> None:
    # A second one, of a terminal or of Snakemake (`execution.end.stop`), would interrupt the saving of progress.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _wait_for_no_thread()
    raise KeyboardInterrupt


def _check_start() -> None:
    require_own_start()


def _wait_for_no_thread() -> None:
    """Let pools end without their threads: one may read from a disk that does not answer, and wait for ever."""
    shutdown = ThreadPoolExecutor.shutdown

    def shutdown_at_once(self: ThreadPoolExecutor, wait: bool = True, *, cancel_futures: bool = False) -> None:
        shutdown(self, wait=False, cancel_futures=True)

    ThreadPoolExecutor.shutdown = shutdown_at_once  # type: ignore[method-assign, assignment]


def _exit_beside_threads(status: int) -> None:
    """End the process at once where Python would wait for threads at its end."""
    if any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)
