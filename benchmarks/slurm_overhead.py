"""Measure the time that SLURM adds to a run, for several numbers of runs per job.

The same short runs train one after another, with Slurm on one node that has one GPU, and on one core without Slurm. The
difference divided by the number of runs is the time for submission, for two starts of Snakemake, and for waiting for
the status. Features and splits are made before. This needs root and Debian's slurm packages.

    make overhead
"""

import shutil
import tempfile
import time
from pathlib import Path

from helpers.cluster import Cluster
from helpers.project import Project
from helpers.tiny_study import TINY

RUNS = 10
PACKS = (1, 2, 5, 10)
GROUP = "runs-{backbone}-{decoder}"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, Cluster(Path(folder) / "slurm", gpus=1) as cluster:
        project = Project(Path(folder) / "project", cluster.environment)
        losses = {f"focal_{number}": {"type": "focal", "gamma": number + 1} for number in range(RUNS // 2)}
        study = TINY | {"losses": losses, "grid": TINY["grid"] | {"losses": list(losses)}, "report": {"contrasts": []}}
        config = ("--configfile", project.write_config(study))

        def seconds(*arguments: object) -> float:
            """Measure the wall time of the runs alone."""
            shutil.rmtree(project.folder / "results" / "small" / "runs", ignore_errors=True)
            started = time.monotonic()
            project.snakemake(*config, "--until", "train_run", *arguments)
            return time.monotonic() - started

        project.snakemake(*config, "--cores", 2, "--until", "train_run")
        local = seconds("--cores", 1)
        print(f"{RUNS} runs in turn without Slurm: {local:.0f} s, {local / RUNS:.1f} s each")
        print("runs per job | jobs | wall, s | over the same without Slurm, s per run | ratio")
        for pack in PACKS:
            wall = seconds("--profile", "profiles/slurm", "--group-components", f"{GROUP}={pack}")
            over = (wall - local) / RUNS
            print(f"{pack} | {RUNS // pack} | {wall:.0f} | {over:.1f} | {wall / local:.2f}", flush=True)


if __name__ == "__main__":
    main()
