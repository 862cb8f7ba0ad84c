"""Deletes the results of a job that fails after it has written them.

Snakemake keeps what a failed job has written (`keep-incomplete`), because every file is written whole or not at all. It
records the job as finished where all files are there, and so would never repeat one that failed at its very end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from execution.rule_names import LONG_RULES

_State = tuple[int, int]


class JobResults:
    """The files and folders that a job writes, as they were when it began.

    Not those of rules that take long, whose results are checked before they get their names.

    Args:
        rule: name of the rule.
        paths: of the outputs.
    """

    def __init__(self, rule: str, paths: Iterable[object]) -> None:
        self._before = {} if rule in LONG_RULES else {path: _find_state(path) for path in map(Path, map(str, paths))}

    def remove_new(self) -> None:
        """Delete what the job has written; earlier results that it has not replaced stay."""
        for path, before in self._before.items():
            if _find_state(path) == before:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                # The error of the job is to be shown, and not that of a disk that has become read-only.
                with suppress(OSError):
                    path.unlink(missing_ok=True)


def _find_state(path: Path) -> _State | None:
    """Return the inode and the time of the last change of a file, in ns, or the inode of a folder; None without it."""
    try:
        found = os.stat(path)  # noqa: PTH116 - hundreds of files of a table
    except OSError:
        return None
    return found.st_ino, 0 if path.is_dir() else found.st_mtime_ns
