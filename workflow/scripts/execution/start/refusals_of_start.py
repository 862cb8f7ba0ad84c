"""What refuses or interrupts a start: folders, paths, runs that would be trained again, another process, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from execution.end.at_exit import at_exit
from execution.end.stopped import StudyStoppedError
from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.study.head import Head, Running, remove_temporary


def take_interrupts() -> None:
    """Let this process take SIGINT again where whoever started it has it ignored.

    A shell without job control does that to what it starts with `&`: that of a script, or of `ssh login 'snakemake &'`.
    Neither `kill -INT` nor the process itself (`terralucas.study.head`) could stop such a study.
    """
    # Python lets only its main thread set it.
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


Result = TypeVar("Result")


class _Paths:
    """To which folder the paths in messages belong; empty where it is the one in which Snakemake was started."""

    note = ""


def name_folder(workflow: Any) -> str:
    """Let errors of the start say to which folder their paths and commands belong, if `--directory` names one.

    Args:
        workflow: Snakemake's.

    Returns:
        What they say, as a line; empty without `--directory`.
    """
    is_named = workflow.overwrite_workdir is not None
    folder = Path.cwd()
    note = f"paths: relative to {folder}, and commands of snakemake need --directory {shlex.quote(str(folder))}"
    _Paths.note = f"\n  {note}" if is_named else ""
    return _Paths.note.strip()


def stop_at_study_error(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function before the first job; its StudyError, or Ctrl-C, ends Snakemake without a traceback.

    So does an error of the system that the user can mend, such as a file that may not be read.
    """
    try:
        return function(*arguments)
    except (StudyError, OSError) as error:
        if (known := _as_study_error(error)) is None:
            raise
        raise StudyStoppedError(f"{known}{_Paths.note}") from None
    except KeyboardInterrupt:
        raise StudyStoppedError("Stopped before the first job; nothing was started.") from None


def _as_study_error(error: Exception) -> StudyError | None:
    """Return an error for the user; None if it is one of the program."""
    if isinstance(error, StudyError):
        return error
    return explain(error) if isinstance(error, OSError) else None


def say(line: str) -> None:
    """Show a line on the terminal, if it is still there: `tee` may have ended before."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def end_at_study_error(check: Callable[[], None]) -> None:
    """Call a check while Python ends; its error ends the process with status 1."""
    try:
        check()
    except Exception as error:
        known = _as_study_error(error)
        sys.stderr.write(f"{known}{_Paths.note}\n" if known else traceback.format_exc())
        sys.stderr.flush()
        sys.stdout.flush()
        # An error at exit is shown, but leaves the exit status as it was.
        os._exit(1)


def stop_beside_another_process(
    results: Path, temporary: tuple[str, ...], code: Callable[[], Mapping[str, str]], settings: str
) -> Head:
    """Mark the study as run by this process until its end, and delete what a process that died left.

    Args:
        results: folder of the study.
        temporary: folders of this process; the next start deletes them if this process dies.
        code: returns the fingerprints of the code for which this process records results (`Head.code`).
        settings: SHA-256 of the configuration with its defaults (`Head.settings`).

    Returns:
        The mark of this process.

    Raises:
        StudyError: another process runs the study.
    """
    running = Running(results)
    head, died = running.begin(temporary, code(), settings)
    at_exit(running.end)
    remove_temporary(died)
    return head
