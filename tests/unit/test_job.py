"""What surrounds the work of every rule's script."""

import os
import signal
import subprocess
import sys
import time

import pytest

from helpers.paths import SCRIPTS

# Snakemake runs a copy of the script that begins with a preamble, and names the script itself as its file.
PREAMBLE = """import types
snakemake = types.SimpleNamespace(rule="rule", log=["rule.log"], input=[], output=[]); __file__ = "script.py"
"""
SCRIPT = """import multiprocessing
import sys
from execution.jobs.job import job
with job(snakemake):
    worker = multiprocessing.get_context(sys.argv[1]).Process(target=print, args=("hello from the worker",))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_does_not_run_the_script_again(tmp_path, method):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "copied_script.py").write_text(PREAMBLE + SCRIPT)
    done = subprocess.run(
        [sys.executable, "copied_script.py", method], cwd=tmp_path, env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "hello from the worker\n"), done.stderr


FULL = """from types import SimpleNamespace
from execution.jobs.job import job
with job(SimpleNamespace(rule="rule", log=["rule.log"], input=[], output=[])):
    bytearray(2**62)
"""


def test_full_memory_is_an_error_for_the_user(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL], cwd=tmp_path, env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ERROR: There is no memory left for this job." in done.stderr
    assert "Traceback" not in done.stderr


OTHER_WORDS = """import logging
from types import SimpleNamespace
from execution.jobs.job import job
with job(SimpleNamespace(rule="rule", log=["rule.log"], input=[], output=[])):
    logging.info("its own words")
    with open("rule.log", "a") as file:
        file.write("ERROR: the words of Snakemake, which are longer\\n")
    logging.info("its last words")
"""


def test_what_snakemake_adds_to_the_log_of_a_job_that_still_runs_is_kept(tmp_path):
    (tmp_path / "rule.log").write_text("of an earlier job\n")
    subprocess.run(
        [sys.executable, "-c", OTHER_WORDS], cwd=tmp_path, env={"PYTHONPATH": str(SCRIPTS)}, check=True, timeout=60
    )
    lines = (tmp_path / "rule.log").read_text().splitlines()
    assert [line.partition("root: ")[2] or line for line in lines] == [
        "its own words",
        "ERROR: the words of Snakemake, which are longer",
        "its last words",
    ]


# A FIFO without a writer stands for a file system that does not answer. The thread says when it begins to wait.
WAITING = """import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from execution.jobs.job import job

def read(path):
    print("now", flush=True)
    return path.read_bytes()

with job(SimpleNamespace(rule="index_chips", log=["rule.log"], input=[], output=[])):
    if sys.argv[1] == "thread":
        with ThreadPoolExecutor(2) as pool:
            print(*pool.map(read, [Path("fifo")] * 5))
    else:
        read(Path("fifo"))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("reader", ["thread", "main"])
def test_a_job_that_waits_for_a_file_ends_at_a_signal_and_says_so(tmp_path, number, reader):
    os.mkfifo(tmp_path / "fifo")
    process = subprocess.Popen(
        # A shell lets its background jobs ignore Ctrl-C, and what they start as well.
        ["env", "--default-signal=INT", sys.executable, "-c", WAITING, reader], cwd=tmp_path,
        env={"PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "now\n"
        time.sleep(0.3)
        process.send_signal(number)
        _, shown = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + number
    assert shown.splitlines() == [f"index_chips: ended by {number.name}"]
    log = (tmp_path / "rule.log").read_text(encoding="utf-8")
    assert f"INFO progress: index_chips: ended by {number.name}\n" in log


# The saving stands for that of a run: its progress is written where an error ends the training.
SAVING = """import os, signal, time
from pathlib import Path
from types import SimpleNamespace
from execution.jobs.job import job

with job(SimpleNamespace(rule="train_run", log=["rule.log"], input=[], output=[])):
    try:
        print("now", flush=True)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
        Path("saved").write_text("progress")
"""


def test_a_second_sigint_does_not_interrupt_the_saving_of_progress(tmp_path):
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-c", SAVING], cwd=tmp_path, env={"PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=30)
    assert (process.returncode, shown) == (130, "train_run: ended by SIGINT\n")
    assert (tmp_path / "saved").read_text() == "progress"
