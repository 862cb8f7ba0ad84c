"""What surrounds the work of every rule's script."""

import subprocess
import sys

import pytest

from helpers.paths import SCRIPTS

# Snakemake runs a copy of the script that begins with a preamble, and names the script itself as its file.
PREAMBLE = """import types; snakemake = types.SimpleNamespace(rule="rule", log=["rule.log"]); __file__ = "script.py"
"""
SCRIPT = """import multiprocessing
import sys
from _job import job
with job(snakemake):
    worker = multiprocessing.get_context(sys.argv[1]).Process(target=print, args=("hello from the worker",))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_does_not_run_the_script_again(tmp_path, method):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "copy.py").write_text(PREAMBLE + SCRIPT)
    done = subprocess.run(
        [sys.executable, "copy.py", method], cwd=tmp_path, env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "hello from the worker\n"), done.stderr
