"""The drill: random faults while a study trains on a real Slurm, and whether its tables come out bit for bit the same.

    make drill                                          # 60 faults
    make drill OPTIONS="--faults 3 --only scancel"      # or others

Each trial is a study of its own, disturbed once. Kind, run, moment and packing are drawn from the seed; when a process
reaches that moment is up to the machine. A trial survives when the study ends, by itself or after what the error
message says to do, and every table is that of the undisturbed study.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import random
import shutil
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from helpers.cluster import ACCOUNTING_PACKAGES, PACKAGES, Cluster, available
from helpers.faults import EPOCHS, FAULTS, PREPARED, RUNS, SEEDS, NotSurvivedError, Trial
from helpers.project import Project
from helpers.tiny_study import TINY


@dataclass(frozen=True)
class Outcome:
    """One row of the drill's table."""

    number: int
    kind: str
    moment: str
    seconds: float
    resumed: str
    problem: str
    notes: str


class Drill:
    """A project, a cluster and an undisturbed study to compare with.

    Args:
        folder: where all of it goes.
        cluster: that runs.
        seed: of every draw.
    """

    def __init__(self, folder: Path, cluster: Cluster, seed: int) -> None:
        self.cluster, self.seed = cluster, seed
        self.project = Project(folder, cluster.environment)
        self._configure("calm")
        self.project.snakemake("--cores", 2, "--configfile", "config/calm.yaml")

    def _results(self, name: str) -> Path:
        return self.project.folder / "results" / name

    def _configure(self, name: str) -> None:
        grid = {"backbones": ["tiny"], "losses": ["weighted_ce"], "decoders": ["mlp"], "seeds": list(SEEDS)}
        training = {"epochs": EPOCHS, "learning_rate": 0.001, "checkpoint_interval_s": 1}
        self.project.write_config(TINY | {"study": name, "grid": grid, "training": training}, name)

    def trial(self, number: int, kind: str) -> Outcome:
        """Disturb one study; the outcome's problem is empty where it survived."""
        name = f"trial-{number:02d}"
        draw = random.Random(f"{self.seed}-{number}")
        trial = Trial(
            self, name, seed=draw.choice(SEEDS), epoch=draw.randrange(2, EPOCHS * 2 // 3),
            delay_s=round(draw.uniform(0, 0.5), 2), packed=draw.random() < 0.5, random=draw,
        )  # fmt: skip
        self._configure(name)
        for part in PREPARED:
            shutil.copytree(self._results("calm") / part, self._results(name) / part)
        started = time.monotonic()
        problem, resumed = "", []
        try:
            FAULTS[kind](trial)
            if "Traceback" in trial.output:
                raise NotSurvivedError(f"a traceback on the terminal: {trial.output[-3000:]}")
            resumed = self._compare(name)
        except Exception as error:
            problem = str(error) if isinstance(error, NotSurvivedError) else traceback.format_exc()
        return Outcome(
            number, kind, f"seed {trial.seed}, epoch {trial.epoch} + {trial.delay_s} s" + ", packed" * trial.packed,
            time.monotonic() - started, "/".join(map(str, resumed)), problem, "; ".join(trial.notes),
        )  # fmt: skip

    def _compare(self, name: str) -> list[int]:
        """Compare every table with the undisturbed one; returns after which epoch each run went on."""
        folder = self._results(name)
        names = sorted(path.name for path in self._results("calm").glob("tables/*.csv"))
        if not names:
            raise NotSurvivedError("the undisturbed study has no tables")
        files = [Path("tables") / each for each in names]
        files += [RUNS / f"seed-{seed}" / each for seed in SEEDS for each in ("predictions.parquet", "history.csv")]
        for file in files:
            if (folder / file).read_bytes() != (self._results("calm") / file).read_bytes():
                raise NotSurvivedError(f"{file} differs from the undisturbed study's")
        left = [
            str(path.relative_to(folder)) for pattern in (".*.tmp", "resume.ckpt") for path in folder.rglob(pattern)
        ]
        snakemake = self.project.folder / ".snakemake"
        mark = f"results/{name}/logs/".encode()
        left += [path.name for path in snakemake.glob("scripts/*") if mark in path.read_bytes()]
        left += [path.name for path in snakemake.glob("tmp.*")]
        left += self._processes_left(name)
        if left:
            raise NotSurvivedError(f"left behind: {left}")
        records = [folder / RUNS / f"seed-{seed}" / "run.yaml" for seed in SEEDS]
        return [yaml.safe_load(record.read_text("utf-8"))["resumed_after_epoch"] for record in records]

    def _processes_left(self, name: str) -> list[str]:
        """What still runs of a study a while after its end; processes of ended jobs have this time to end."""
        folder, file = str(self.project.folder), f"/{name}.yaml"
        deadline = time.monotonic() + 180
        while True:
            left = [
                f"process {each.pid}"
                for each in psutil.process_iter(["cmdline", "status"])
                if any(word.startswith(folder) and word.endswith(file) for word in each.info["cmdline"] or [])
                and each.info["status"] != psutil.STATUS_ZOMBIE
            ]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--clusters", type=int, default=3, help="trials at a time, each on a cluster of its own")
    arguments = parser.parse_args()
    if not available(accounting=True):
        sys.exit(f"This needs root and Slurm: apt-get install {' '.join(PACKAGES + ACCOUNTING_PACKAGES)}")
    # Every kind as often as any other, in an order of their own.
    kinds = [arguments.only[number % len(arguments.only)] for number in range(arguments.faults)]
    random.Random(arguments.seed).shuffle(kinds)
    waiting = queue.SimpleQueue()
    for trial in enumerate(kinds, start=1):
        waiting.put(trial)

    def say(*lines: str) -> None:
        print(*lines, sep="\n", flush=True)  # noqa: T201

    def work(folder: Path) -> int:
        """Number of faults not survived among those this cluster took."""
        failed = 0
        # Two nodes of one GPU, and a database; the profile asks squeue, some faults sacct.
        with Cluster(folder / "slurm", gpus=1, nodes=2, accounting=True) as cluster:
            drill = Drill(folder / "project", cluster, arguments.seed)
            with contextlib.suppress(queue.Empty):
                while True:
                    done = drill.trial(*waiting.get_nowait())
                    failed += bool(done.problem)
                    say(
                        f"| {done.number} | {done.kind} | {done.moment} | {done.seconds:.0f} | {done.resumed} | "
                        f"{'NO' if done.problem else 'yes'} | {done.notes} |",
                        *([f"\n{done.problem}\n"] if done.problem else []),
                    )
        return failed

    say("| # | fault | moment | seconds | went on after epoch | survived | seen |", "|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="drill-") as folder, ThreadPoolExecutor(arguments.clusters) as pool:
        failed = sum(pool.map(work, [Path(folder) / str(number) for number in range(arguments.clusters)]))
    say(f"\n{len(kinds) - failed} of {len(kinds)} faults survived.")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
