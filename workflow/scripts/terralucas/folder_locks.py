"""Lock folders, so that processes that need the same work wait for the one that does it."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

NAME = ".lock"
# Seconds between two signs of life of the process that has a lock, and between two looks for one.
_SIGN_S, _LOOK_S = 15.0, 2.0
# Errors of file systems of clusters that have no locks; the study must be able to run there.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)

logger = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, work: str, patience_s: float | None = None) -> Iterator[None]:
    """Lock a folder; wait while another process has the lock.

    The operating system releases the lock when the process ends, also when it is killed. A process that is stopped, as
    by SLURM for another job, or whose node hangs, keeps it.

    Args:
        folder: folder that exists.
        work: what is done with the folder, for messages, such as `downloads into`.
        patience_s: how long the process that has the lock may show no life until this one goes on without the lock,
            where both may do the work at the same time; None to wait for ever.
    """
    with (folder / NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Another process %s %s; waiting for it", work, folder)
            if patience_s is None:
                fcntl.flock(file, fcntl.LOCK_EX)
            elif not _wait_for_life(file, patience_s):
                logger.warning(
                    "The process that %s %s has given no sign of life for %.0f s: it may be stopped, or its node may "
                    "hang. This one does the work, too.", work, folder, patience_s,
                )  # fmt: skip
                yield
                return
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            logger.warning(
                "The file system has no locks; do not start another process that %s %s at the same time", work, folder
            )
        ended = threading.Event()
        sign = threading.Thread(target=_show_life, args=(folder / NAME, ended), name="sign_of_lock", daemon=True)
        sign.start()
        try:
            yield
        finally:
            ended.set()


def _wait_for_life(file: IO[str], patience_s: float) -> bool:
    """Return whether this process has got the lock; not where the one that has it shows no life for too long."""
    last, seen = None, time.monotonic()
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        # How old the time is says nothing, because clocks of machines differ; a change of it is a sign of life.
        now = os.fstat(file.fileno()).st_mtime_ns
        if now != last:
            last, seen = now, time.monotonic()
        elif time.monotonic() - seen >= patience_s:
            return False
        time.sleep(_LOOK_S)


def _show_life(path: Path, ended: threading.Event) -> None:
    while not ended.wait(_SIGN_S):
        # The file was deleted with its folder, or the disk is full; the work itself ends with a message.
        with suppress(OSError):
            os.utime(path)
