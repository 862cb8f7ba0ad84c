"""The order of all tests: files that take long come first, so that workers end at about the same time."""

import os
import sys
from collections import Counter
from pathlib import Path

# Workers of pytest share the cores; PyTorch and BLAS in each would take all of them. Jobs of Snakemake set their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait for others would keep cores busy that other workers need; a study then takes a third longer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Each of thousands of jobs would compile the project's modules again; users have them compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Slurm, then Snakemake (files with many tests first), then files with slow tests, then the others."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    tests = Counter(item.path for item in items)

    def place(item):
        folder = item.path.relative_to(TESTS).parts[0]
        if folder == "workflow":
            return 1, -tests[item.path]
        return {"slurm": 0}.get(folder, 2 if item.path in slow else 3), 0

    items.sort(key=place)
