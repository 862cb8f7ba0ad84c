"""Measure the time that SLURM adds to a run, for several numbers of runs per job.

The same short runs train one after another, with Slurm on one node that has one GPU, and on one core without Slurm. The
difference divided by the number of runs is the time for submission, for the start of Snakemake in a job, and for
waiting for the status. The last column is the time of the jobs on the node, divided by their runs, over the time from
the start of a run's script to its results (`seconds` of run.yaml). Features and splits are made before. The profile
first looks at jobs after 10 s, which some of these do not last, so that it looks after 2 s here. This needs root and
Debian's slurm packages.

    make overhead
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import yaml

from helpers.cluster import Cluster
from helpers.project import Project
from helpers.tiny_study import TINY

RUNS = 10
PACKS = (1, 2, 5, 10)
QUICK = ("--slurm-init-seconds-before-status-checks", 2)
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
        print("runs per job | jobs | wall, s | over the same without Slurm, s per run | ratio | on the node, s per run")
        for pack in PACKS:
            before = set(job_seconds(cluster))
            wall = seconds("--profile", "profiles/slurm", *QUICK, "--group-components", f"{GROUP}={pack}")
            over = (wall - local) / RUNS
            elapsed = job_seconds(cluster)
            on_node = sum(elapsed[job] for job in set(elapsed) - before) / RUNS - trained(project)
            print(f"{pack} | {RUNS // pack} | {wall:.0f} | {over:.1f} | {wall / local:.2f} | {on_node:.1f}", flush=True)


def job_seconds(cluster: Cluster) -> dict[str, float]:
    """Return the seconds that each job ran, by its number."""
    jobs = cluster.run("scontrol", "show", "job", "--oneliner").splitlines()
    fields = [dict(field.partition("=")[::2] for field in job.split()) for job in jobs if "JobId=" in job]
    times = {each["JobId"]: [int(part) for part in each["RunTime"].split(":")] for each in fields}
    return {job: 3600.0 * hours + 60.0 * minutes + seconds for job, (hours, minutes, seconds) in times.items()}


def trained(project: Project) -> float:
    """Return the mean time of the runs, from the start of the work to the results."""
    records = (project.folder / "results" / "small" / "runs").rglob("run.yaml")
    return statistics.mean(yaml.safe_load(record.read_text(encoding="utf-8"))["seconds"] for record in records)


if __name__ == "__main__":
    main()
