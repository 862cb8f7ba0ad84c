"""No job makes a result with other code than that for which the start of the study records it.

Snakemake's record of a result has the code as it was when the study was started. A job runs the code that is on the
disk when it starts, and imports some modules later; jobs that are forked run what their server imported before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from _own_start import own_mark
from terralucas.codebase import KEPT, SCRIPTS, Fingerprints
from terralucas.errors import StudyError

# In a process that was forked: what `code_of_start` says of the code that its server imported.
_loaded: Mapping[str, str] | None = None


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
        self._times: list[tuple[str, int, int]] = []

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


def know_loaded_code(before: list[tuple[str, int, int]] | None = None) -> None:
    """Let processes that are forked from this one know the code that it has imported.

    Args:
        before: `times_of_files` before the imports; when this module was imported, if nothing is said.
    """
    global _loaded
    head = own_mark()
    if head is None:
        return
    fingerprints = Fingerprints(KEPT)
    loaded = {key: fingerprints.of(*(SCRIPTS / f"{name}.py" for name in key.split())) for key in head.code}
    # What was imported while files were written is not known.
    _loaded = loaded if times_of_files() == (_AT_IMPORT if before is None else before) else {}


def times_of_files() -> list[tuple[str, int, int]]:
    """Return path, time (ns) and size (bytes) of every file of the scripts."""
    found = []
    for folder, folders, names in os.walk(SCRIPTS):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(names):
            path = Path(folder, name)
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((str(path), status.st_mtime_ns, status.st_size))
    return found


_AT_IMPORT = times_of_files()
