"""Commands of SLURM that hang do not outlive the process that asked them."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from execution.slurm import clients as _clients
from helpers.paths import SCRIPTS

ASK = {
    "Ctrl-C": "from execution.slurm import clients as _clients\nimport signal\n"
    "signal.setitimer(signal.ITIMER_REAL, 1)\n"
    "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
    "try:\n    _clients.ask(COMMAND, 1000)\nexcept KeyboardInterrupt:\n    pass\n",
    "the end of the process": "from execution.slurm import clients as _clients\nimport asyncio, threading, time\n"
    "asked = _clients.ask_beside(COMMAND, 1000)\n"
    "threading.Thread(target=lambda: asyncio.run(asked), daemon=True).start()\n"
    "while not _clients._asked:\n    time.sleep(0.01)\n",
}


@pytest.mark.parametrize("end", ASK)
def test_a_hanging_command_ends_with_whoever_asked_it(tmp_path, end):
    """It is a site's script, whose own child hangs."""
    script = tmp_path / "squeue"
    script.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {tmp_path / 'pid'}\nwait\n")
    script.chmod(0o755)
    # The script may not have started its child when Python ends at once.
    wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'pid')!r}):\n    time.sleep(0.01)\n"
    code = f"COMMAND = [{str(script)!r}]\n{ASK[end]}" + (wait if end != "Ctrl-C" else "")
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _forbidden(*_):
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("memfd_create", [None, _forbidden], ids=["Python of conda-forge", "forbidden by the system"])
def test_commands_are_asked_where_there_are_no_files_in_memory(monkeypatch, memfd_create):
    if memfd_create is None:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", memfd_create, raising=False)
    assert _clients.ask(["echo", "gpu:1"], 60).strip() == "gpu:1"
