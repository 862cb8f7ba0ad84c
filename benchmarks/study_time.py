"""Time the study of 80 runs from the moment its chips are there, and compare its memory with what jobs request.

    PYTHONPATH=workflow/scripts python -m benchmarks.study_time [--cores 16] [--chips 1994] [--size-px 224]

Backbones, losses, decoders, seeds and training are those of `config/config.yaml`; chips are simulated and weights are
random, which does not change the work. Chips are made, checked and split first; the time is that of all that follows:
feature passes, controls, runs, tables, figures and page. It runs in a copy of the commit, with the Python that runs
this, on the GPU if there is one.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from benchmarks.demo_time import unpack

PREPARED = ("--until", "split_chips", "describe_chips")


def make_study(folder: Path, chips: int, size_px: int, epochs: int) -> Path:
    """Write the configuration of the study: simulated chips and random weights in `config/config.yaml`."""
    config: dict[str, Any] = yaml.safe_load((folder / "config" / "config.yaml").read_text(encoding="utf-8"))
    config["study"] = "timed"
    config["dataset"]["sources"] = [{"type": "simulated", "chips": chips, "size_px": size_px, "seed": 1}]
    config["dataset"].pop("layout")
    for backbone in config["backbones"].values():
        backbone["weights"] = {"source": "random", "seed": 1}
    config["training"]["epochs"] = epochs
    path = folder / "config" / "timed.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def snakemake(folder: Path, config: Path, cores: int, *arguments: str) -> float:
    """Run Snakemake; return the wall time."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", str(config), *arguments]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The study failed:\n{done.stderr[-3000:]}")
    return time.perf_counter() - started


def rules_of(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return seconds and largest memory in MB of each job, by its rule."""
    found = defaultdict(list)
    root = folder / "results" / "timed" / "benchmarks"
    for path in sorted(root.rglob("*.tsv")):
        with path.open(encoding="utf-8") as file:
            # Of jobs that end within a second, Snakemake measures no memory.
            found[path.relative_to(root).parts[0].removesuffix(".tsv")] += [
                (float(row["s"]), float(row["max_rss"]) if row["max_rss"] not in ("-", "NA") else 0.0)
                for row in csv.DictReader(file, delimiter="\t")
            ]
    return found


def main() -> None:
    """Print the wall time, and the rules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=1994)
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "project")
        unpack("HEAD", folder)
        config = make_study(folder, given.chips, given.size_px, given.epochs)
        snakemake(folder, config, given.cores, *PREPARED)
        seconds = snakemake(folder, config, given.cores)
        print(f"80 runs on {given.chips} chips of {given.size_px} px, {given.cores} cores: {seconds / 60:.1f} min")
        print("| rule | jobs | seconds of all | largest memory of a job, MB |\n| --- | --- | --- | --- |")
        for rule, jobs in rules_of(folder).items():
            print(f"| `{rule}` | {len(jobs)} | {sum(s for s, _ in jobs):,.0f} | {max(mb for _, mb in jobs):,.0f} |")


if __name__ == "__main__":
    main()
