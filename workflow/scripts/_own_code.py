"""No job makes a result with other code than that for which the start of the study records it.

Snakemake's record of a result has the code as it was when the study was started. A job runs the code that is on the
disk when it starts, and imports some modules later; jobs that are forked run what their server imported before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from _own_start import own_mark
from terralucas.codebase import KEPT, SCRIPTS, Fingerprints, files_of_scripts
from terralucas.errors import StudyError

# In a process that was forked: what `code_of_start` says of the code that its server imported.
_loaded: Mapping[str, str] | None = None
# Path, times (ns) of content and of the entry, inode and size (bytes) of a file: also `mv` and `cp -p` change one.
State = tuple[str, int, int, int, int]
# In the environment of a script: how often it was started again because files were written while it imported them.
_RESTARTS, _MOST_RESTARTS = "TERRALUCAS_RESTARTS", 5


class OwnCode:
    """The code that a job must run: that of the start of the study.

    Args:
        rule: of the job.
        recorded: `Head.code` of the start.
    """

    def __init__(self, rule: str, recorded: Mapping[str, str]) -> None:
        self._rule = rule
        # What some rules are compared by is only the code that they share with another one.
        self._key = next((key for key in recorded if key.split()[0] == rule), None)
        self._expected = recorded.get(self._key or "")
        self._times: list[State] = []

    def require(self) -> None:
        """Return if the code on the disk, and what this process was forked with, do what the recorded code does.

        A change of comments, layout or messages does not count.

        Raises:
            StudyError: the code is another one.
        """
        if self._key is None:
            return
        if _loaded is not None and _loaded.get(self._key) != self._expected:
            raise self._error()
        # Files are read again only where one was written.
        times = times_of_files()
        if times == self._times:
            return
        scripts = [SCRIPTS / f"{name}.py" for name in self._key.split()]
        try:
            found = Fingerprints(KEPT).of(*scripts)
        except (OSError, SyntaxError, ValueError):
            # A file was deleted, or is being written.
            found = None
        if found != self._expected:
            raise self._error()
        self._times = times

    def _error(self) -> StudyError:
        return StudyError(
            f"The code of {self._rule} was changed while the study runs; nothing that it makes now is kept.",
            found=f"other code in {SCRIPTS} than when the study was started",
            expected="one code from the start of the study to its end; only comments and messages may change",
            remedy="start the study again: it goes on with the code that is there then, and does again what other code "
            "made; or undo the change first",
        )


def know_loaded_code(before: list[State] | None = None) -> bool:
    """Let processes that are forked from this one know the code that it has imported.

    Args:
        before: `times_of_files` before the imports; when this module was imported, if nothing is said.

    Returns:
        False if files were written meanwhile, so that nobody knows which code was imported.
    """
    global _loaded
    head = own_mark()
    if head is None:
        return True
    try:
        fingerprints = Fingerprints(KEPT)
        loaded = {key: fingerprints.of(*(SCRIPTS / f"{name}.py" for name in key.split())) for key in head.code}
    except (StudyError, OSError, SyntaxError, ValueError):
        # A file was deleted, or is being written.
        return False
    if times_of_files() != (_AT_IMPORT if before is None else before):
        return False
    _loaded = loaded
    return True


def start_again_if_unsure() -> None:
    """Start the program of this process again if files were written while it imported them.

    Other code may have been there for a moment, or somebody saved a file without a change. To import once more tells
    these apart, because the code on the disk is then compared with that of the start.
    """
    restarts = int(os.environ.get(_RESTARTS, "0"))
    if _loaded is None and times_of_files() != _AT_IMPORT and restarts < _MOST_RESTARTS:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, sys.orig_argv, os.environ | {_RESTARTS: str(restarts + 1)})


def times_of_files() -> list[State]:
    """Return the state of every file of the scripts."""
    found = []
    for path in files_of_scripts():
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((str(path), status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size))
    return found


_AT_IMPORT = times_of_files()
