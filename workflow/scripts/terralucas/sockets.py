"""Finds a folder for the sockets by which processes of a job talk to each other.

Python makes them in TMPDIR. The path of a socket has at most 107 characters, and some file systems hold none. A worker
of a data loader that cannot make its socket says so and lives on, and the job would wait for its chips for ever.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Sequence
from multiprocessing import process, util
from pathlib import Path

from terralucas.errors import StudyError

_OTHERS = ("/tmp", "/var/tmp", "/dev/shm")


def use_folder_for_sockets(others: Sequence[str] = _OTHERS) -> None:
    """Let this process, and those it starts, make sockets in another folder where TMPDIR cannot hold them.

    The folder is made again where a program that cleans temporary folders has deleted it.

    Args:
        others: folders to try after TMPDIR.

    Raises:
        StudyError: none of the folders can hold sockets.
    """
    _make_folder_again()
    # That of the process that this one was forked from.
    if process.current_process()._config.get("tempdir"):  # type: ignore[attr-defined]
        return
    temporary = tempfile.gettempdir()
    folders = dict.fromkeys([temporary, *others])
    folder = next(filter(_holds_sockets, folders), None)
    if folder is None:
        raise StudyError(
            "Processes of a job cannot talk to each other, because no temporary folder can hold their sockets.",
            found=f"paths too long, file systems without sockets, or folders without space: {', '.join(folders)}",
            expected="a folder with a path of at most 75 characters, in which files can be made",
            remedy="set TMPDIR to such a folder on the machine, and start the study again",
        )
    if folder != temporary:
        try:
            tempfile.tempdir = folder
            # It is kept until the process ends, and deleted then.
            util.get_temp_dir()
        finally:
            tempfile.tempdir = temporary


def _make_folder_again() -> None:
    """Let Python look whether its folder for sockets is still there, each time that it makes one."""
    get = util.get_temp_dir
    if get.__module__ == __name__:
        return

    def get_temp_dir() -> str:
        folder = str(get())
        Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    util.get_temp_dir = get_temp_dir


def _holds_sockets(folder: str) -> bool:
    """Return whether a socket can be made in a folder in the way and with a name as long as Python makes them."""
    try:
        own = tempfile.mkdtemp(prefix="pymp-", dir=folder)
    except OSError:
        return False
    try:
        with socket.socket(socket.AF_UNIX) as tried:
            tried.bind(str(Path(own, "listener-abcdefgh")))
        return True
    except OSError:
        return False
    finally:
        shutil.rmtree(own, ignore_errors=True)
