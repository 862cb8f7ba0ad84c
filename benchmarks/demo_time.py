"""Time the demo at this commit and at another one, in turn on one machine, and print the ratios.

    PYTHONPATH=workflow/scripts python -m benchmarks.demo_time --against COMMIT [--rounds 1] [--config config/demo.yaml]

Each commit is unpacked into a folder of its own, and runs with the Python that runs this. Job seconds are the sum of
the wall times that Snakemake measures for jobs.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Cost:
    """What a study took, in seconds."""

    wall: float
    jobs: float


def unpack(commit: str, folder: Path) -> None:
    """Write the files of a commit into a new folder."""
    folder.mkdir()
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)


def run(folder: Path, config: str, cores: int) -> Cost:
    """Run a study from nothing, and delete it."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", config]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"The study failed in {folder}:\n{done.stderr[-3000:]}")
    jobs = 0.0
    for path in folder.glob("results/*/benchmarks/**/*.tsv"):
        with path.open(encoding="utf-8") as file:
            jobs += sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
    for part in ("results", "resources", ".snakemake"):
        subprocess.run(["rm", "-rf", str(folder / part)], check=True)
    return Cost(wall, jobs)


def main() -> None:
    """Compare two commits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, help="the other commit")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--config", default="config/demo.yaml")
    parser.add_argument("--cores", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = {commit: Path(temporary, f"at-{number}") for number, commit in enumerate((options.against, "HEAD"))}
        for commit, folder in folders.items():
            unpack(commit, folder)
        for number in range(options.rounds):
            costs = {commit: run(folder, options.config, options.cores) for commit, folder in folders.items()}
            for commit, cost in costs.items():
                print(f"{number + 1}  {commit:10}  wall {cost.wall:6.0f}  jobs {cost.jobs:6.0f}")
            old, new = costs[options.against], costs["HEAD"]
            ratios = {name: getattr(new, name) / getattr(old, name) for name in ("wall", "jobs")}
            print("   HEAD / other: " + ", ".join(f"{name} {value:.2f}" for name, value in ratios.items()), flush=True)


if __name__ == "__main__":
    main()
