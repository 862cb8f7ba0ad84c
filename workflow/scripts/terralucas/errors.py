"""The exception whose message users read, and the exception that ends a process."""

from __future__ import annotations


class StudyError(Exception):
    """A problem that the user can solve; it is shown without a traceback.

    Args:
        problem: what went wrong, in one sentence that names the file, key or class.
        found: what was found.
        expected: what was expected instead.
        remedy: what the user can do.
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
    """The signal SIGTERM as an exception: SLURM sends it before the time limit and at preemption.

    Training catches it, saves its progress and raises it again.
    """
