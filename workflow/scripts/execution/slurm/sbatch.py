"""Runs sbatch for Snakemake's SLURM plugin: it may hang, and what it prints may be more than the id of a job."""

from __future__ import annotations

import logging
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from execution.slurm.clients import SQUEUE, Client, NoAnswerError, list_jobs, plain

# A submission without an answer is said after so long, and given up after so long.
_SILENCE_S = 60.0
_PATIENCE_S = 300.0
_LOOK_S = 1.0
_QUESTION_S = 60.0

# `--parsable` prints an id, or an id and a cluster; some sites drop that option.
_ID = re.compile(r"^\s*(?:Submitted batch job )?([1-9][0-9]*)(?:;\S*| on cluster \S+)?\s*$", re.MULTILINE)


class Sbatch:
    """Runs the commands of SLURM that the plugin needs for a submission: sbatch, and sacctmgr for accounts.

    Args:
        get_name: returns the name of the session's jobs.
        logger: whose lines that start with "SLURM: " the terminal shows.
    """

    def __init__(self, get_name: Callable[[], str], logger: logging.Logger) -> None:
        self._get_name, self._logger = get_name, logger
        self._running: set[Client] = set()
        self._lock = threading.Lock()
        self._is_ended = self._is_silence_said = False

    def run(
        self, command: Sequence[str] | str, text: str | None = None, patience_s: float | None = None
    ) -> tuple[int, str, str]:
        """Return exit status, output and errors of a command, which reads the text.

        Raises:
            OSError: it cannot be started.
        """
        patience_s = _PATIENCE_S if patience_s is None else patience_s
        program = (command.split() if isinstance(command, str) else command)[0]
        with self._lock:
            if self._is_ended:
                return 1, "", "the study was stopped"
            client = Client(command, text)
            self._running.add(client)
        started = time.monotonic()
        try:
            while not client.wait(_LOOK_S):
                seconds = time.monotonic() - started
                if seconds >= patience_s:
                    client.kill()
                    client.finish()
                    return 1, "", f"no answer of {program} within {patience_s:.0f} s"
                if seconds >= _SILENCE_S:
                    self._say_silence(program, seconds)
        finally:
            with self._lock:
                self._running.discard(client)
        self._is_silence_said = False
        status, output, errors = client.finish()
        if status == 0 and _ids_in(output):
            # The plugin takes the words "submission failed" for a failure, also in a tip of the site.
            errors = ""
        return status, output, errors

    def end(self) -> None:
        """Kill what runs, and start nothing more."""
        with self._lock:
            self._is_ended = True
            running = list(self._running)
        for client in running:
            client.kill()

    def find_id(self, output: str, guess: Callable[[str], str]) -> str:
        """Return the id of the job that sbatch speaks of; empty where it cannot be told.

        Where several lines could be one, SLURM is asked which is a job of this session.

        Args:
            output: of sbatch.
            guess: finds an id in lines that have more than that; empty if none.
        """
        ids = _ids_in(output)
        if len(ids) > 1:
            ids &= self._ids_of_session()
        elif not ids:
            ids = {guess(plain(output))} - {"0"}
        return ids.pop() if len(ids) == 1 else ""

    def _ids_of_session(self) -> set[str]:
        """Return the ids of all jobs of a session; none where SLURM does not answer."""
        command = [*SQUEUE, "--states=all", "--format=%i|%T", "--name", self._get_name()]
        try:
            return {row.job for row in list_jobs(command, _QUESTION_S)}
        except NoAnswerError:
            return set()

    def _say_silence(self, program: str, seconds: float) -> None:
        if not self._is_silence_said:
            self._is_silence_said = True
            self._logger.warning(
                f"SLURM: {program} has not answered for {seconds:.0f} s. It is started again after "
                f"{_PATIENCE_S:.0f} s; a job that SLURM took all the same is cancelled before."
            )


class PluginSubprocess:
    """Stands in for the module `subprocess` in the plugin, which sets no time limits.

    Args:
        sbatch: runs the commands.
    """

    def __init__(self, sbatch: Sbatch) -> None:
        self._sbatch = sbatch

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, call: str, **_: Any) -> _Process:  # noqa: N802
        """Return what starts the command when its output is asked for."""
        return _Process(self._sbatch, call)

    def check_output(self, command: Sequence[str] | str, **_: Any) -> str:
        """Return what a command prints.

        Raises:
            CalledProcessError: it failed, or did not answer.
        """
        status, output, errors = self._sbatch.run(command, patience_s=_QUESTION_S)
        if status != 0:
            raise subprocess.CalledProcessError(status, command, output=output, stderr=errors)
        return output

    def run(self, command: Sequence[str] | str, **_: Any) -> subprocess.CompletedProcess[str]:
        """Return a command that has ended, with what it printed.

        Raises:
            CalledProcessError: it failed, or did not answer.
        """
        return subprocess.CompletedProcess(command, 0, self.check_output(command), "")


class _Process:
    """What the plugin uses of `subprocess.Popen`."""

    returncode: int

    def __init__(self, sbatch: Sbatch, call: str) -> None:
        self._sbatch, self._call = sbatch, call

    def communicate(self, input: str | None = None) -> tuple[str, str]:
        self.returncode, output, errors = self._sbatch.run(self._call, input)
        return output, errors


def _ids_in(output: str) -> set[str]:
    return set(_ID.findall(plain(output)))
