"""The one exception that is meant to be read by users, and the one that ends a process."""

from __future__ import annotations


class StudyError(Exception):
    """A problem a user can act on; shown without a traceback.

    Args:
        problem: what went wrong, in one sentence that names the thing (file, key, class).
        found: what was there.
        expected: what should have been there.
        remedy: what to do about it.
    """

    def __init__(
        self, problem: str, *, found: str | None = None, expected: str | None = None, remedy: str | None = None
    ) -> None:
        self.problem = problem
        self.found = found
        self.expected = expected
        self.remedy = remedy
        parts = [("found", found), ("expected", expected), ("what to do", remedy)]
        lines = [problem, *(f"  {name}: {text}" for name, text in parts if text is not None)]
        super().__init__("\n".join(lines))


class Terminated(BaseException):
    """SIGTERM, as an exception: SLURM's warning before the time limit, or preemption.

    Training saves its progress when it passes through.
    """
