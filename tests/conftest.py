"""The order of all tests: files that take long come first, so that workers end at about the same time."""

import os
from pathlib import Path

# Workers of pytest share the cores; PyTorch and BLAS in each would take all of them. Jobs of Snakemake set their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait for others would keep cores busy that other workers need; a study then takes a third longer.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Slurm, then Snakemake, then files with slow tests, then the others; within these as they were found."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}

    def place(item):
        folder = item.path.relative_to(TESTS).parts[0]
        return {"slurm": 0, "workflow": 1}.get(folder, 2 if item.path in slow else 3)

    items.sort(key=place)
