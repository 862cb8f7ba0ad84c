"""Checks that a job runs the code that was recorded at the start of the study.

Snakemake's record of a result has the code as it was when the study was started. A job runs the code that is on the
disk when it starts, and imports some modules later; jobs that are forked run what their server imported before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from execution.records.executed_code import executed
from terralucas.codebase import KEPT, SCRIPTS, Fingerprints, code_of, do_same, files_of_scripts
from terralucas.errors import StudyError

# Path, times (ns) of content and of the entry, inode and size (bytes) of a file: also `mv` and `cp -p` change one.
State = tuple[str, int, int, int, int]
# In the environment of a script: how often it was started again because it had imported other code than is there.
_RESTARTS, _MOST_RESTARTS = "TERRALUCAS_RESTARTS", 5
_END_OF_PREAMBLE = b"######## snakemake preamble end #########\n"
# How often files are read again that are written while they are read.
_MOST_READINGS = 20


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
        self._checked: tuple[list[State], int] | None = None

    def require(self) -> None:
        """Return if the code on the disk, and that which this process has run, do what the recorded code does.

        A change of comments, layout or messages does not count.

        Raises:
            StudyError: the code is another one.
        """
        if self._key is None:
            return
        for _ in range(_MOST_READINGS):
            # Files are read again only where one was written, or another module was imported.
            state = times_of_files(), len(executed)
            if state == self._checked:
                return
            is_same = self._is_same()
            # Only then the fingerprint and the comparison were of the same files.
            if times_of_files() != state[0]:
                continue
            if not is_same:
                break
            self._checked = state
            return
        raise self._error()

    def _is_same(self) -> bool:
        """Return whether the code on the disk is the recorded one, and that which was run does what is on the disk."""
        scripts = [SCRIPTS / f"{name}.py" for name in (self._key or "").split()]
        try:
            if Fingerprints(KEPT).of(*scripts) != self._expected:
                return False
            # Most often they have the same bytes, and nobody must know which of them are the code of the rule.
            different = other_than_on_disk()
            if not different:
                return True
            codes = [set(code_of(each)) for each in scripts]
            return not any(all(path in code for code in codes) for path in different)
        except (StudyError, OSError, ValueError):
            # A file was deleted, or is being written.
            return False

    def _error(self) -> StudyError:
        return StudyError(
            f"The code of {self._rule} was changed while the study runs; nothing that it makes now is kept.",
            found=f"other code in {SCRIPTS} than when the study was started",
            expected="one code from the start of the study to its end; only comments and messages may change",
            remedy="start the study again: it goes on with the code that is there then, and does again what other code "
            "made; or undo the change first",
        )


def other_than_on_disk() -> set[Path]:
    """Return the files of which this process has run other code than they have now; deleted ones count."""
    found = set()
    for path, source in list(executed.items()):
        try:
            is_same = do_same(source, path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            is_same = False
        if not is_same:
            found.add(path)
    return found


def start_again_if_other() -> None:
    """Start the program of this process again if it has run other code than is on the disk now.

    Somebody has edited a file while it was imported, or undone an edit. The code on the disk may be that of the start.
    """
    restarts = int(os.environ.get(_RESTARTS, "0"))
    if restarts < _MOST_RESTARTS and other_than_on_disk():
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, sys.orig_argv, os.environ | {_RESTARTS: str(restarts + 1)})


def remember_script() -> None:
    """Remember the script of the rule, which Snakemake has read, and has written behind a preamble of its own."""
    script = vars(sys.modules["__main__"])
    written, original = script.get("__real_file__"), script.get("__file__")
    if written is None or original is None or not Path(original).resolve().is_relative_to(SCRIPTS):
        return
    _, end, source = Path(written).read_bytes().partition(_END_OF_PREAMBLE)
    if end:
        executed[Path(original).resolve()] = source


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
