"""What ends the jobs of a study that is stopped."""

import logging
import os
import signal
import subprocess
import sys

import psutil

from execution.end.stop import EndJobsAtInterrupt
from helpers.paths import SCRIPTS

# In a process of its own, because the handler sends SIGINT to all that its process has started.
STUDY = """
import logging, subprocess, sys
from execution.end.stop import EndJobsAtInterrupt
program = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); print(flush=True); time.sleep(60)"
command = [sys.executable, "-c", program]
job = subprocess.Popen(command, stdout=subprocess.PIPE)
client = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
job.stdout.readline(), client.stdout.readline()
logger = logging.getLogger("study")
logger.setLevel(logging.INFO)
logger.addHandler(EndJobsAtInterrupt())
logger.info("1 of 2 runs")
assert job.poll() is None
logger.info("Terminating processes on user request, this might take some time.")
print(job.wait(30), client.poll())
client.kill()
"""


def test_jobs_end_where_snakemake_alone_was_interrupted():
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", STUDY], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [str(-signal.SIGINT), "None"], "a command of SLURM goes on"


def test_an_error_in_a_handler_does_not_reach_snakemake(monkeypatch, capsys):
    """Snakemake logs before it cancels its jobs, and before it counts a job that failed."""

    def refuse(self, recursive):
        raise RuntimeError("no processes to see")

    monkeypatch.setattr(psutil.Process, "children", refuse)
    # As a study does.
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger = logging.Logger("study", logging.INFO)
    logger.addHandler(EndJobsAtInterrupt())
    logger.info("Terminating processes on user request, this might take some time.")
    assert "no processes to see" in capsys.readouterr().err


def test_processes_that_the_machine_hides_are_none(monkeypatch, capsys):
    def hide(self, recursive):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "children", hide)
    logger = logging.Logger("study", logging.INFO)
    logger.addHandler(EndJobsAtInterrupt())
    logger.info("Terminating processes on user request, this might take some time.")
    assert capsys.readouterr().err == ""


# A second SIGINT arrives while the processes are looked for.
TWICE = """
import logging, os, signal
import psutil
from execution.end.stop import EndJobsAtInterrupt

def children(self, recursive):
    os.kill(os.getpid(), signal.SIGINT)
    return []

# A shell lets programs in its background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
psutil.Process.children = children
logger = logging.getLogger("study")
logger.setLevel(logging.INFO)
logger.addHandler(EndJobsAtInterrupt())
logger.info("Terminating processes on user request, this might take some time.")
print("went on")
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.sigtimedwait([signal.SIGUSR1], 30)
except KeyboardInterrupt:
    print("a later one counts")
"""


def test_a_second_interrupt_does_not_keep_jobs_from_being_ended():
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", TWICE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=100)
    assert (done.stdout.splitlines(), done.stderr) == (["went on", "a later one counts"], "")
