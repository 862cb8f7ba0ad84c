"""The exception whose message users read, and the exception that ends a process."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence


def printable(text: str) -> str:
    """Return a text that can be written in UTF-8.

    Names of files need not be UTF-8. Python keeps their other bytes as characters that UTF-8 cannot express, so that a
    message with such a name would be lost; here they are shown as \\xe9.
    """
    shown = re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text).replace("\0", "\\x00")
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def told_apart(texts: Sequence[str]) -> list[str]:
    """Return texts for a message; where some of them look equal, characters outside of ASCII are shown as escapes.

    An accent may be a character of its own (Unicode NFD) or belong to its letter (NFC), and some characters are not
    seen, such as zero-width spaces.
    """
    looks = Counter(_look(text) for text in set(texts))
    return [
        # Bytes that are not UTF-8 are shown by `printable`.
        re.sub("[^\0-\x7f\udc80-\udcff]", lambda letter: f"\\u{ord(letter[0]):04x}", text)
        if looks[_look(text)] > 1
        else text
        for text in texts
    ]


def _look(text: str) -> str:
    seen = "".join(letter for letter in unicodedata.normalize("NFKC", text) if unicodedata.category(letter) != "Cf")
    return " ".join(seen.split())


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
        self.problem = printable(problem)
        self.found, self.expected, self.remedy = (
            None if text is None else printable(text) for text in (found, expected, remedy)
        )
        parts = [("found", self.found), ("expected", self.expected), ("what to do", self.remedy)]
        lines = [self.problem, *(f"  {name}: {text}" for name, text in parts if text is not None)]
        # Who reads a log takes indented lines for a part of the error above them (`execution.start.terminal`).
        super().__init__(re.sub(r"\n(?!  )", "\n  ", "\n".join(lines)))


class Terminated(BaseException):
    """The signal SIGTERM as an exception: SLURM sends it before the time limit and at preemption.

    Training catches it, saves its progress and raises it again.
    """
