"""A process of a job that outlives its parent ends, and what it started."""

import subprocess
import sys
import time

import psutil

from helpers.paths import SCRIPTS

# The parent starts a process that follows it, waits for ever, and has a child of its own; both numbers are printed.
CHILD = """
import subprocess, sys, threading
from _orphans import end_with_parent
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
end_with_parent(pause_s=0.05, grace_s=0.2)
import os
print(os.getpid(), child.pid, flush=True)
threading.Event().wait()
"""
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {CHILD!r}])
"""


def test_it_ends_with_its_parent_and_ends_what_it_started():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(SCRIPTS)}
    )
    processes = [psutil.Process(int(number)) for number in parent.stdout.readline().split()]
    time.sleep(0.5)
    assert all(process.is_running() for process in processes), "while its parent lives"
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
