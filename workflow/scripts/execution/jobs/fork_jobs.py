"""Starts the scripts of rules as forks of one process that has imported what most of them need.

A process that only trains a head spends more time on importing PyTorch than on training. Python's own fork server does
the work (`multiprocessing`, start method `forkserver`): it is started with the first job of a process of Snakemake that
has several on its machine, here or for a pack on a node, and ends with that process. Nothing in it uses a GPU or starts
a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from multiprocessing import connection, forkserver, get_context, resource_tracker
from pathlib import Path
from typing import Any

from snakemake.benchmark import benchmarked
from snakemake.script import PythonScript

from execution.jobs.forked_script import THREAD_VARIABLES, run_script
from execution.known_functions import require_parameters
from terralucas.errors import StudyError
from terralucas.sockets import use_folder_for_sockets

# Imported once; its own imports are those of most jobs.
PRELOADED = "execution.jobs.preloaded"

# Signals at which a script cannot say that it ends.
_DEADLY: tuple[int, ...] = (
    *(signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT),
    signal.SIGXCPU,
)
_CAUSES = {
    signal.SIGKILL: "; the system or SLURM does that when memory runs out",
    # SLURM gives its jobs the limits of the shell that submits them.
    signal.SIGXCPU: "; it used all processor time that `ulimit -t` allows, here or in the shell that started Snakemake",
}

# What `multiprocessing` says of a process whose fork server has ended, because only that knows how it ended.
_WITHOUT_SERVER = 255

_context = get_context("forkserver")
_lock = threading.Lock()


class _ServerEndedError(Exception):
    """The fork server ended before it forked a script."""


def fork_jobs(workflow: Any, is_wanted: object) -> None:
    """Let scripts of rules be forked where that pays, and Ctrl-C wait until a script can tell of it.

    A Snakemake with other functions than those that were tested starts its scripts as before.

    Args:
        workflow: Snakemake's.
        is_wanted: the value of `fork_jobs` in a profile.

    Raises:
        StudyError: the value is neither true nor false.
    """
    # Snakemake reads `--config fork_jobs=false` as a text.
    is_wanted = {"true": True, "false": False}.get(is_wanted, is_wanted) if isinstance(is_wanted, str) else is_wanted
    if not isinstance(is_wanted, bool):
        raise StudyError(
            "fork_jobs in `config` of the profile, or after --config, is not a choice.",
            found=repr(is_wanted),
            expected="true or false",
        )
    try:
        require_parameters(PythonScript, "execute_script", ("self", "fname", "edit"))
    except StudyError:
        return
    execute = PythonScript.execute_script
    # The last job is forked too, though it is then the only one to do.
    has_forked = threading.Event()

    def execute_script(self: Any, fname: str, edit: bool = False) -> None:
        in_other_environment = self.conda_env or self.container_img or self.env_modules
        # macOS forbids forks after some imports.
        may_fork = is_wanted and sys.platform == "linux" and not in_other_environment
        if may_fork and (has_forked.is_set() or _does_pay(workflow)) and _is_server_ready():
            has_forked.set()
            try:
                _run(self, fname)
                return
            except _ServerEndedError:
                # As a program of its own, the script itself says what is wrong with the code, if anything is.
                pass
        with _interrupts_wait():
            execute(self, fname, edit=edit)

    PythonScript.execute_script = execute_script


def _does_pay(workflow: Any) -> bool:
    """Return whether this process of Snakemake has several jobs to do, and is not the one that submits to a cluster.

    The latter trains nothing, and would keep PyTorch in the memory of a login node until the study ends.
    """
    if workflow.is_main_process and not workflow.local_exec:
        return False
    jobs = iter(workflow.dag.needrun_jobs())
    return next(jobs, None) is not None and next(jobs, None) is not None


def _is_server_ready() -> bool:
    """Start the fork server with the first job; return whether it runs."""
    with _lock:
        _context.set_forkserver_preload([PRELOADED])
        try:
            use_folder_for_sockets()
            # The server has the environment of this process; its modules are found by PYTHONPATH alone.
            with _environment({"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}):
                # It would let interrupts through if it were started with the server.
                resource_tracker.ensure_running()
                with _interrupts_wait():
                    forkserver.ensure_running()
        except (OSError, StudyError):
            return False
    return True


def _run(script: Any, path: str) -> None:
    """Run a script in a process of its own, as Snakemake's shell would.

    Raises:
        CalledProcessError: the script ended with an error.
        _ServerEndedError: it did not begin.
    """
    threads = str(script.threads)
    # The start of the server changes the environment for a moment.
    with _lock:
        environment = dict(os.environ) | dict.fromkeys(THREAD_VARIABLES, threads)
    if folder := script.resources.get("tmpdir"):
        environment |= dict.fromkeys(("TMPDIR", "TMP", "TEMPDIR", "TEMP"), str(folder))
    process = _context.Process(target=run_script, args=(path, script.rulename, environment, script.threads))
    # The start of one process also looks which others ended, and reads their status.
    with _lock, _without_program():
        try:
            process.start()
        except (EOFError, OSError) as error:
            raise _ServerEndedError from error
    record = script.bench_record
    with nullcontext() if record is None else benchmarked(process.pid, record):
        connection.wait([process.sentinel])
    with _lock:
        process.join()
    status: int = process.exitcode  # type: ignore[assignment]  # it has ended
    if -status in _DEADLY:
        by = signal.Signals(-status)
        _say_in_log(script, f"{script.rulename} was killed by {by.name}{_CAUSES.get(by, '')}")
    if status == _WITHOUT_SERVER:
        how = "was ended because the process from which it was forked was killed"
        _say_in_log(script, f"{script.rulename} {how}{_CAUSES[signal.SIGKILL]}")
    if status:
        # A shell reports a signal so.
        raise subprocess.CalledProcessError(status if status > 0 else 128 - status, f"{sys.executable} {Path(path)}")


def _say_in_log(script: Any, how: str) -> None:
    """Write how a script ended that could not say it itself."""
    for log in map(Path, script.log):
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(f"ERROR: {how}\n")


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let Ctrl-C wait in processes that this thread starts, until their job can tell of it (`execution.jobs.job.job`).

    A terminal sends it to all processes; where one is just importing, Python would show a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_program() -> Iterator[None]:
    """Hide which file was started: Python runs it again in each process, which imports all of Snakemake."""
    program = vars(sys.modules["__main__"])
    path = program.pop("__file__", None)
    try:
        yield
    finally:
        if path is not None:
            program["__file__"] = path


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
