"""Runs SLURM's commands, each within a time limit, and reads the rows of what they print."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import pwd
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

_LOOK_S = 0.05
# For a killed process to be gone; one that waits for a file system that does not answer may stay.
_KILLED_S = 1.0

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Rows of squeue and sacct: the id of a job, its state (sacct adds who cancelled it), and one more column.
_ROW = re.compile(r"^(\d+(?:_\d+)?)\|([A-Z_]+)[^|]*(?:\|(.*))?$")
_TITLES = re.compile(r"^JOBID(?:RAW)?\|STATE\b", re.IGNORECASE)


class NoAnswerError(Exception):
    """A command of SLURM did not answer.

    Attributes:
        said: all its words about it, or what went wrong.
        is_refusal: whether it ended with an error, and was not silent.
    """

    def __init__(self, said: str, is_refusal: bool = False) -> None:
        super().__init__((said.strip().splitlines() or [""])[-1])
        self.said, self.is_refusal = said, is_refusal


@dataclass(frozen=True)
class Row:
    """A job in an answer of squeue or sacct.

    Attributes:
        job: its id.
        state: the bare word, such as CANCELLED of `CANCELLED by 0`.
        more: a third column, where one was asked for.
    """

    job: str
    state: str
    more: str = ""


# States of jobs that do not go on.
OVER = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "ERROR", "FAILED", "OUT_OF_MEMORY", "TIMEOUT"
}  # fmt: skip

# Also jobs in partitions that are hidden, which squeue otherwise shows to nobody but root.
SQUEUE = ("squeue", "--all")


def _open_file() -> IO[bytes]:
    """Return a file in memory, which needs no space on a disk; on a disk where Python cannot make such files.

    macOS has none, nor has the Python of conda-forge, which is built for older versions of Linux.
    """
    create = getattr(os, "memfd_create", None)
    if create is not None:
        # The system may forbid it.
        with contextlib.suppress(OSError):
            in_memory: IO[bytes] = os.fdopen(create("client"), "w+b")
            return in_memory
    return tempfile.TemporaryFile()


class Client:
    """A command that runs in a group of processes of its own.

    A site's command may be a script, whose own child keeps pipes open though the script was killed. So the whole group
    is killed, and what it prints goes to files in memory, which nobody waits for. Ctrl-C of a terminal does not reach
    it.

    Args:
        command: words, or one text for a shell.
        text: what it reads; nothing where it is None.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str] | str, text: str | None = None) -> None:
        self._out, self._err = _open_file(), _open_file()
        with _open_file() as given:
            given.write((text or "").encode())
            given.seek(0)
            try:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", command] if isinstance(command, str) else command,
                    stdin=given, stdout=self._out, stderr=self._err, start_new_session=True,
                )  # fmt: skip
            except OSError:
                self._out.close()
                self._err.close()
                raise

    def wait(self, seconds: float) -> bool:
        """Return whether it ended, at the latest after so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def kill(self) -> None:
        """Kill it and what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self.wait(_KILLED_S)

    def finish(self) -> tuple[int, str, str]:
        """Return exit status, output and errors; call it once, at the end."""
        status = self._process.poll()
        # One that cannot be killed has no exit status yet.
        return -signal.SIGKILL if status is None else status, _read(self._out), _read(self._err)

    def close(self) -> None:
        """Forget what it printed."""
        self._out.close()
        self._err.close()


# Clients whose answer is waited for. A loop of coroutines that ends with this process waits for none of them.
_asked: set[Client] = set()


@atexit.register
def _kill_asked() -> None:
    for client in list(_asked):
        client.kill()


def ask(command: Sequence[str], patience_s: float) -> str:
    """Return what a command of SLURM prints.

    Raises:
        NoAnswerError: it failed, or took longer.
    """
    with _start(command) as client:
        if client.wait(patience_s):
            return _output(command, client)
        raise _silence(command, patience_s)


async def ask_beside(command: Sequence[str], patience_s: float) -> str:
    """Return the same as `ask`, while other coroutines go on.

    Raises:
        NoAnswerError: it failed, or took longer.
    """
    until = time.monotonic() + patience_s
    with _start(command) as client:
        # No thread waits for it: Python waits for its threads before it ends.
        while not client.wait(0):
            if time.monotonic() >= until:
                raise _silence(command, patience_s)
            await asyncio.sleep(_LOOK_S)
        return _output(command, client)


def list_jobs(command: Sequence[str], patience_s: float) -> list[Row]:
    """Return the jobs that squeue or sacct list; call it with titles (without --noheader).

    Raises:
        NoAnswerError: it failed, took longer, or printed something else.
    """
    return read_rows(ask(command, patience_s), command[0])


def read_rows(answer: str, program: str) -> list[Row]:
    """Return the jobs in an answer; other lines, such as greetings of a site, are ignored.

    Titles tell an empty list from no answer. Without them, rows are an answer, too.

    Raises:
        NoAnswerError: the answer has neither titles nor rows.
    """
    lines = [line for line in (plain(line).strip() for line in answer.splitlines()) if line]
    rows = [Row(row[1], row[2], row[3] or "") for row in map(_ROW.match, lines) if row]
    if not rows and not any(map(_TITLES.match, lines)):
        found = repr(lines[0][:100]) if lines else "nothing, not even the titles of its list"
        raise NoAnswerError(f"{program} printed {found}")
    return rows


def user() -> str:
    """Return the user's name as squeue knows it; older versions have no `--me`."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def plain(text: str) -> str:
    """Return a text without the colours of a terminal."""
    return _COLOUR.sub("", text)


@contextlib.contextmanager
def _start(command: Sequence[str]) -> Iterator[Client]:
    """Start a command, and kill it if it has not ended at the end: also where Ctrl-C ends the wait for it."""
    try:
        client = Client(command)
    except OSError as error:
        raise NoAnswerError(str(error)) from None
    _asked.add(client)
    try:
        yield client
    finally:
        _asked.discard(client)
        if not client.wait(0):
            client.kill()
        client.close()


def _silence(command: Sequence[str], patience_s: float) -> NoAnswerError:
    return NoAnswerError(f"no answer of {command[0]} within {patience_s:.0f} s")


def _output(command: Sequence[str], client: Client) -> str:
    status, output, errors = client.finish()
    if status != 0:
        raise NoAnswerError(errors.strip() or f"{command[0]} ended with exit status {status}", is_refusal=True)
    return output


def _read(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode(errors="replace")
