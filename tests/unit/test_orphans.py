"""A process of a job that outlives its parent ends, and what it started."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from helpers.paths import SCRIPTS

ENVIRONMENT = os.environ | {"PYTHONPATH": str(SCRIPTS)}
# The parent starts a process that follows it, waits for ever, and has a child of its own; both numbers are printed.
CHILD = """
import subprocess, sys, threading
from execution.jobs.orphans import end_with_parent
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


SCRIPT = """
import os, threading
from execution.jobs.orphans import terminate_with_snakemake
terminate_with_snakemake(pause_s=0.05)
print(os.getpid(), flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("between", [[], ["bash", "-c", '"$0" "$@"; true']], ids=["directly", "in a shell"])
def test_a_script_ends_with_the_snakemake_that_started_it(tmp_path, between):
    command = [*between, sys.executable, "-c", SCRIPT]
    (tmp_path / "snakemake").write_text(f"import subprocess\nsubprocess.run({command!r})")
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "snakemake")], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    script = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.5)
    assert script.is_running(), "while Snakemake lives"
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([script], timeout=20)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


# It kills itself while what it started still imports.
SNAKEMAKE = f"""
import os, signal, subprocess, sys
from execution.jobs import orphans as _orphans
_orphans.name_snakemake()
late = "import sys; sys.stdin.readline(); " + {SCRIPT!r}
child = subprocess.Popen([sys.executable, "-c", late], stdin=open(sys.argv[1]), start_new_session=True)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("is_other_space", [False, True], ids=["here", "in a container"])
def test_a_script_ends_whose_snakemake_has_ended_before_it_looks(tmp_path, is_other_space):
    os.mkfifo(tmp_path / "begin")
    program = SNAKEMAKE
    if is_other_space:
        # There, the number of Snakemake is that of another process or of none.
        program = program.replace("_orphans.name_snakemake()", "os.environ['TERRALUCAS_STARTED_BY'] = '1 pid:[1]'")
    writer = os.open(tmp_path / "begin", os.O_RDWR)
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "begin")], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    script = psutil.Process(int(parent.stdout.readline()))
    parent.wait()
    os.write(writer, b"now\n")
    if is_other_space:
        assert parent.stdout.readline().strip() == str(script.pid)
        time.sleep(0.5)
        assert script.is_running(), "nothing is known of it"
        script.kill()
    _, alive = psutil.wait_procs([script], timeout=20)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert parent.stdout.readline() == "", "it ended before it printed"
    os.close(writer)
