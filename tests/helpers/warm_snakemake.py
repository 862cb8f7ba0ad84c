"""Runs Snakemake in forks of a process that has imported it: the import takes half of the time of a dry run.

Tests start Snakemake some hundred times. Each start is a process of its own, with its own folder, variables and output,
as one from the shell.
"""

import atexit
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from types import SimpleNamespace

from helpers.paths import ROOT

# Python reads them when it starts.
_OF_PYTHON = "PYTHON"
# The project looks for a process of this name (workflow/scripts/execution/jobs/orphans.py).
_NAME = "snakemake"


class WarmSnakemake(threading.local):
    """The process that has imported Snakemake, which is started with the first call and ends with this process.

    Each thread has one of its own, because it runs one Snakemake at a time.
    """

    def __init__(self):
        self._process, self._socket = None, None

    def run(self, arguments, folder, environment):
        """Run Snakemake as `python -m snakemake` does, and return what `subprocess.run` returns.

        Args:
            arguments: of the command line.
            folder: in which it runs.
            environment: all variables.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
            content = json.dumps(request).encode()
            socket.send_fds(self._socket, [len(content).to_bytes(8)], [output.fileno(), errors.fileno()])
            self._socket.sendall(content)
            status = int.from_bytes(_receive(self._socket, 8), signed=True)
            for file in (output, errors):
                file.seek(0)
            return SimpleNamespace(returncode=status, stdout=output.read(), stderr=errors.read())

    def _start(self):
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from helpers.warm_snakemake import serve; serve()", _NAME, str(theirs.fileno())],
            env=os.environ | {"PYTHONPATH": str(ROOT / "tests")}, pass_fds=[theirs.fileno()],
        )  # fmt: skip
        theirs.close()
        self._socket = ours
        atexit.register(_end, ours, self._process)


def _end(connection, process):
    connection.close()
    process.wait()


def can_be_warm(environment):
    """Return whether variables are those of this process, as far as Python reads them when it starts."""
    names = {name for name in (*environment, *os.environ) if name.startswith(_OF_PYTHON)}
    return sys.platform == "linux" and all(environment.get(name) == os.environ.get(name) for name in names)


def serve():
    """Fork a process for each request, until the other end of the socket is closed."""
    import snakemake.cli  # noqa: F401

    requests = socket.socket(fileno=int(sys.argv[2]))
    while True:
        head, files, _, _ = socket.recv_fds(requests, 8, 2)
        if not head:
            return
        request = json.loads(_receive(requests, int.from_bytes(head)))
        child = os.fork()
        if child == 0:
            requests.close()
            _run(request, *files)
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        requests.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, signed=True))


def _run(request, output, errors):
    """Run Snakemake in this process, and end it."""
    import snakemake.cli

    os.dup2(output, 1)
    os.dup2(errors, 2)
    for file in (output, errors):
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    # What a new process would find, or has not looked up yet.
    sys.path[0] = request["folder"]
    sys.path[:] = [path for path in sys.path if Path(path) != ROOT / "tests"]
    sys.argv = [snakemake.cli.__file__, *request["arguments"]]
    sys.orig_argv = [sys.executable, "-m", _NAME, *request["arguments"]]
    tempfile.tempdir = None
    random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 1
    try:
        snakemake.cli.main()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        if isinstance(ending.code, str):
            sys.stderr.write(f"{ending.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(status)


def _exit(status):
    """End as Python does at the end of a program: with the functions of `atexit`, and all output written."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _receive(connection, size):
    content = b""
    while len(content) < size:
        block = connection.recv(size - len(content))
        if not block:
            raise EOFError("the process that runs Snakemake has ended")
        content += block
    return content
