"""Checks that nobody replaces the inputs of a job while it runs, as by a backup or a study beside this one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from execution.rule_names import LONG_RULES
from terralucas.errors import StudyError

# Size and time of the last change of a file, in bytes and ns.
_State = tuple[int, int]


class JobInputs:
    """The inputs of a job when it began.

    Not those of rules that take long: a network drive may show the time of a file late, and what they read is compared
    with records of its content.

    Args:
        rule: name of the rule.
        paths: of the inputs.
    """

    def __init__(self, rule: str, paths: Iterable[object]) -> None:
        self._paths = [] if rule in LONG_RULES else sorted({str(path) for path in paths})
        self._before = self._find_states()

    def require_unchanged(self) -> None:
        """Check the inputs when the job has done its work.

        Raises:
            StudyError: one is another file, or is gone.
        """
        now = self._find_states()
        changed = [path for path in self._paths if now.get(path) != self._before.get(path)]
        if changed:
            more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
            raise StudyError(
                "Files that this job reads were replaced while it ran: its results may mix old and new ones.",
                found=f"other files than at the beginning: {', '.join(changed[:4])}{more}",
                expected="results that nobody replaces while the study runs, not even a backup, and studies of "
                "report.beside that are finished",
                remedy="start the study again; what this job has written is deleted",
            )

    def _find_states(self) -> dict[str, _State]:
        states = {}
        for path in self._paths:
            state = _find_state(path)
            if state is not None:
                states[path] = state
        return states


def _find_state(path: str) -> _State | None:
    """Return the state of a file; None of what is none. Only an open file shows what another machine has written."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - of thousands of runs
            return None
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
