"""The mark of the process that runs a study: a second one must not run beside it.

Snakemake's own lock is of a whole working directory: `snakemake --unlock`, and the end of any study there, releases the
locks of all studies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import psutil

from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_json

logger = logging.getLogger(__name__)

NAME = ".running.json"
# Seconds between two signs of life, and those without any after which a process of another machine is taken for dead.
HEARTBEAT_S = 15.0
DEAD_AFTER_S = 90.0
# No clocks differ by so many seconds: a sign of life that is older needs no watching.
_LONG_AGO_S = 24 * 3600.0
_PAUSE_S = 2.0
_WRITTEN_S = 0.5
# A change of the mark takes milliseconds.
_LOCKED_S = 5.0
# A node may see an old state of a shared file system for so long.
_NEWS_TAKE_S = 60.0
# The start of a process is known to a hundredth of a second.
_START_TOLERANCE_S = 1.0


@dataclass(frozen=True)
class Head:
    """A process that runs a study.

    Attributes:
        machine: its host name.
        boot: id of the machine's boot, and of the container, if any: in another one, a process number means another
            process.
        pid: its number.
        started: when it started, in seconds since the boot (`seconds_after_boot`).
        temporary: paths that it deletes at its end, and whoever finds it dead deletes for it.
        code: names of rules, as `Fingerprints` joins them → fingerprint of their code, which it records for results.
        settings: SHA-256 of the configuration with its defaults; empty for a version that did not remember it.
        place: device and inode of the study's folder. A copy of the folder has the mark too, and another place.
    """

    machine: str
    boot: str
    pid: int
    started: float
    temporary: tuple[str, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    place: tuple[int, ...] = ()

    @property
    def start(self) -> str:
        """Short text that no other start of the study has."""
        # Without what the mark of an earlier version lacks, so that jobs which were told its start know it.
        values = {name: value for name, value in asdict(self).items() if name != "settings" or value}
        return f"start-{sha256_of_json(values)[:12]}"


def this_process(
    temporary: tuple[str, ...] = (),
    code: Mapping[str, str] | None = None,
    settings: str = "",
    folder: Path | None = None,
) -> Head:
    """Return the mark of this process, which runs the study with results in a folder."""
    started, place = seconds_after_boot(os.getpid()), () if folder is None else _place_of(folder)
    return Head(socket.gethostname(), _boot_id(), os.getpid(), started, temporary, dict(code or {}), settings, place)


def seconds_after_boot(pid: int) -> float:
    """Return how long after the boot of this machine a process started.

    The kernel knows this. When the clock is set, psutil's times of the process and of the boot change by the same step.

    Raises:
        psutil.Error: there is no such process, or it cannot be asked.
    """
    return round(psutil.Process(pid).create_time() - psutil.boot_time(), 2)


class Running:
    """The mark in a study's folder while this process runs it, with a sign of life every few seconds.

    Args:
        folder: of the study's results.
    """

    def __init__(self, folder: Path) -> None:
        # Snakemake goes back to the folder in which it was started (--directory) before the sign of life ends.
        self._path = (folder / NAME).absolute()
        self._ended = threading.Event()
        self._head: Head | None = None

    def begin(
        self, temporary: tuple[str, ...] = (), code: Mapping[str, str] | None = None, settings: str = ""
    ) -> tuple[Head, Head | None]:
        """Mark the study as run by this process.

        The arguments are attributes of the mark (`Head`).

        Returns:
            The mark, and that of a process that died with it, if there is one.

        Raises:
            StudyError: another process runs the study.
        """
        self._head, died = this_process(temporary, code, settings, self._path.parent), None
        while not self._claim():
            try:
                other = _read_mark(self._path)
                if other is None and self._path.exists():
                    # Where a file system has no links, another process may be writing it at this moment.
                    time.sleep(_WRITTEN_S)
                    other = _read_mark(self._path)
            except OSError as error:
                # Of a colleague, or on a network drive that hangs: its process may live.
                raise explain(error) or error from None
            # A network drive may report an error for a link that it has made.
            if other == self._head:
                break
            if other is not None:
                require_dead(other, self._path)
                died = other
            _remove_mark(self._path, other)
        threading.Thread(target=self._show_life, name="sign_of_life", daemon=True).start()
        return self._head, died

    def _claim(self) -> bool:
        """Write the mark where there is none; return whether there was none."""
        with _alone_in(self._path.parent):
            return self._write_first()

    def _write_first(self) -> bool:
        assert self._head is not None
        text = json.dumps(asdict(self._head))
        temporary = self._path.with_name(f"{NAME}.{os.getpid()}.tmp")
        temporary.write_text(text, encoding="utf-8")
        try:
            # A link is whole at once, and never replaces the mark of another process that began meanwhile.
            os.link(temporary, self._path)
        except FileExistsError:
            return False
        except OSError:
            # A file system without links.
            try:
                with self._path.open("x", encoding="utf-8") as file:
                    file.write(text)
            except FileExistsError:
                return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def end(self) -> None:
        """Remove the mark, if it is this process's."""
        self._ended.set()
        if self._head is not None and read_head(self._path.parent) == self._head:
            try:
                self._path.unlink()
            except OSError as error:
                # The results have become read-only, or are gone. The next start finds this process dead.
                logger.debug("%s is left: %s", self._path, error)

    def _show_life(self) -> None:
        # Not the monotonic clock, which stands still while a machine is suspended.
        last = time.time()
        while not self._ended.wait(HEARTBEAT_S):
            other = read_head(self._path.parent)
            silent_s, last = time.time() - last, time.time()
            if other not in (None, self._head):
                # This process was stopped or cut off for so long that another one took it for dead.
                assert other is not None
                logger.error(
                    "Process %d on %s runs this study now. It started because this process had given no sign of life "
                    "for more than %.0f s. This process ends as after Ctrl-C; the other one goes on.",
                    other.pid, other.machine, DEAD_AFTER_S,
                )  # fmt: skip
                _interrupt_this_process()
                return
            try:
                os.utime(self._path)
            except FileNotFoundError:
                if not self._ended.is_set() and not self._mark_again(silent_s):
                    return
            except OSError:
                # A full or read-only disk ends the study by itself, with a message.
                continue

    def _mark_again(self, silent_s: float) -> bool:
        """Write the mark again that somebody removed: without it, jobs take the start for over.

        Args:
            silent_s: seconds since the last sign of life.

        Returns:
            Whether this process goes on; not if another one may have run the study meanwhile, and has ended.
        """
        assert self._head is not None
        if silent_s >= DEAD_AFTER_S:
            logger.error(
                "The mark of this process is gone, which gave no sign of life for %.0f s: another process may have run "
                "the study. This process ends as after Ctrl-C; start the study again.", silent_s,
            )  # fmt: skip
            _interrupt_this_process()
            return False
        with contextlib.suppress(OSError):
            if self._claim():
                logger.warning("%s was removed while this process runs the study; it is there again.", self._path)
        return True


def _interrupt_this_process() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def read_head(folder: Path) -> Head | None:
    """Return the mark in a study's folder; None if there is none, or it cannot be read."""
    with contextlib.suppress(OSError):
        return _read_mark(folder / NAME)
    return None


def _read_mark(path: Path) -> Head | None:
    """Return the mark in a file; None if there is none, or it is damaged."""
    try:
        mark: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        # A later version may write more, and its process is one all the same.
        values = {name: mark[name] for name in (each.name for each in fields(Head)) if name in mark}
        return Head(**values | {name: tuple(values[name]) for name in ("temporary", "place") if name in values})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def is_running(folder: Path) -> bool:
    """Return whether a process runs the study with results in this folder; one of another machine is watched first."""
    head = read_head(folder)
    if head is None:
        return False
    try:
        require_dead(head, folder / NAME)
    except StudyError:
        return True
    return False


def may_be_running(folder: Path) -> bool:
    """Return whether a process may run the study with results in this folder, as far as can be told at once."""
    head = read_head(folder)
    if head is None:
        return False
    if _is_here(head):
        return _runs(head, folder)
    try:
        return _age(folder / NAME) < _LONG_AGO_S
    except OSError:
        # The results are read-only to this user.
        return True


def take_dead_mark(folder: Path) -> Head | None:
    """Remove the mark of a process of this machine that was killed, and return it; None if there is none."""
    head = read_head(folder)
    if head is None or not _is_here(head) or _runs(head, folder):
        return None
    with contextlib.suppress(OSError):
        _remove_mark(folder / NAME, head)
    return head


def _remove_mark(path: Path, head: Head | None) -> None:
    """Remove a mark, or a damaged one (None). If another process has written its mark meanwhile, that is put back."""
    taken = path.with_name(f"{NAME}.{os.getpid()}.dead")
    # The folder may be gone, too.
    with contextlib.suppress(FileNotFoundError), _alone_in(path.parent):
        if _read_mark(path) != head:
            return
        # Where there are no locks, only one of two processes can rename the file.
        path.rename(taken)
        if _read_mark(taken) != head and not path.exists():
            taken.rename(path)
        taken.unlink(missing_ok=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let one process at a time change the mark in a folder.

    A mark that was moved aside for a moment would let a third process write its own. Some network drives cannot lock
    folders, and a process that is stopped keeps its lock: this one goes on then.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _LOCKED_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    break
                time.sleep(0.01)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)


def remove_temporary(died: Head | None) -> None:
    """Delete the temporary folders that a killed process of this study left in Snakemake's folder."""
    # A copy of a running study has its mark, and that process may live.
    own = Path(".snakemake").resolve()
    for path in map(Path, died.temporary if died else ()):
        if path.resolve().parent == own:
            shutil.rmtree(path, ignore_errors=True)


def require_start(folder: Path, start: str, patience_s: float | None = None) -> Head:
    """Return the mark of a start if it is the one that runs the study, or was the last one and was killed.

    Args:
        folder: of the study's results.
        start: `Head.start` of the start.
        patience_s: how long to look again before the start is taken for over; a minute if nothing is said.

    Raises:
        StudyError: the start has ended, or another one runs the study.
    """
    deadline = time.monotonic() + (_NEWS_TAKE_S if patience_s is None else patience_s)
    while (head := read_head(folder)) is None or head.start != start:
        if time.monotonic() >= deadline:
            raise StudyError(
                "This job ends without a change to any result: the start of the study that submitted it is over.",
                found=f"process {head.pid} on {head.machine} runs the study now" if head else f"no {folder / NAME}",
                expected="the process that submitted this job",
                remedy="nothing: the next start of the study finishes what is missing",
            )
        time.sleep(min(_PAUSE_S, max(0.0, deadline - time.monotonic())))
    return head


def require_dead(head: Head, path: Path) -> None:
    """Return when the process of a mark is dead; one of another machine is watched, until it is silent for too long.

    How old its last sign of life is, does not tell: the machine that wrote it may have another clock.

    Args:
        head: the mark.
        path: of its file, whose time changes with each sign of life.

    Raises:
        StudyError: the process lives.
    """
    found = f"process {head.pid} on " + (f"this machine{_where(head)}" if _is_here(head) else head.machine)
    place = "there"
    if _is_in_other_container(head):
        # Here, another process has its number.
        found = f"process {head.pid} of another container, or of the host, on {head.machine}"
        place = "in that container"
    remedy = f"wait until it ends, or stop it {place} (kill -INT {head.pid}), and start the study again"
    if _is_here(head) and _is_stopped(head):
        found += ", which is stopped, as after Ctrl-Z"
        remedy = f"let it go on first (`fg` in its terminal, or kill -CONT {head.pid}); then {remedy}"
    alive = StudyError(f"The study in {path.parent} is running already.", found=found, remedy=remedy)
    if _is_here(head):
        if _runs(head, path.parent):
            raise alive
        return
    last = _time_of(path)
    if _age(path) > _LONG_AGO_S:
        return
    logger.warning(
        "A process on %s ran this study, and did not say that it ended. Waiting for %.0f s for a sign of its life.",
        head.machine, DEAD_AFTER_S,
    )  # fmt: skip
    began = time.monotonic()
    while time.monotonic() - began < DEAD_AFTER_S:
        time.sleep(_PAUSE_S)
        if (now := _time_of(path)) != last:
            # A process that ends removes its mark.
            if now:
                raise alive
            return


def _is_here(head: Head) -> bool:
    # Two machines may have one name; and after a restart, a machine has another boot.
    return head.machine == socket.gethostname() and head.boot == _boot_id() and not _is_hidden(head.pid)


def _is_in_other_container(head: Head) -> bool:
    """Return whether a process is on this machine, and has its number in another container."""
    boot, own = head.boot.split(), _boot_id().split()
    return len(boot) == len(own) == 2 and boot[0] == own[0] and boot[1] != own[1]


def _is_hidden(pid: int) -> bool:
    """Return whether a process exists of which this user may know nothing: on login nodes, /proc may have hidepid."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return pid not in psutil.pids()
    except OSError:
        pass
    return False


def _time_of(path: Path) -> int:
    try:
        # File systems of clusters show new times when a file is opened.
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return 0


def _place_of(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _runs(head: Head, folder: Path) -> bool:
    """Return whether a process of this machine lives, and runs the study in this folder and not the original of it.

    Other machines may know the same folder of a network under another device, and some file systems under another
    inode, so that they cannot tell.
    """
    return _lives(head) and head.place in ((), _place_of(folder))


def _where(head: Head) -> str:
    """Return the working folder of a process of this machine in words; nothing if this user may not know it."""
    try:
        return f", in {psutil.Process(head.pid).cwd()}"
    except psutil.Error:
        return ""


def _lives(head: Head) -> bool:
    try:
        process = psutil.Process(head.pid)
        is_same = abs(seconds_after_boot(head.pid) - head.started) < _START_TOLERANCE_S
        return is_same and process.status() != psutil.STATUS_ZOMBIE and head.pid != os.getpid()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _is_stopped(head: Head) -> bool:
    try:
        return bool(psutil.Process(head.pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _age(path: Path) -> float:
    """Seconds since a file was touched, by the clock of its file system: clocks of machines differ."""
    with atomic_path(path.with_name(f"{path.name}.now")) as now:
        now.touch()
        age = (now.stat().st_mtime_ns - _time_of(path)) / 1e9
    path.with_name(f"{path.name}.now").unlink(missing_ok=True)
    return age


def _boot_id() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        # Other systems than Linux have none; the start of the process tells boots apart there.
        return f"{psutil.boot_time():.0f}"
