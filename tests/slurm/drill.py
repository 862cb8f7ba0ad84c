"""The drill: random faults while a study trains on a real Slurm, and whether its tables come out bit for bit the same.

    make drill                                          # 50 faults
    make drill OPTIONS="--faults 3 --only scancel"      # or others

Each trial is a study of its own, disturbed once. Kind, run, moment and packing are drawn from the seed; when a process
reaches that moment is up to the machine. A trial survives when the study ends, by itself or after what the error
message says to do, and every table is that of the undisturbed study.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
import yaml
from cluster import Cluster

from project import Project
from terralucas.sidecar import Sidecar
from tiny_study import TINY

EPOCHS = 150
RUNS = Path("runs/tiny/weighted_ce/mlp")
SEEDS = (0, 1)
# What comes before training is the same for all trials and need not be made again.
PREPARED = ("data", "splits", "weights", "features")
# As the profile, but for a cluster that answers at once.
QUICK = (
    "--slurm-init-seconds-before-status-checks",
    2,
    "--max-status-checks-per-second",
    1,
    "--latency-wait",
    5,
    "--retries",
    1,
)
PATIENCE_S = 300


class NotSurvivedError(AssertionError):
    """A trial did not end as it must."""


@dataclass
class Trial:
    """One study and what disturbs it.

    Attributes:
        name: of the study.
        seed: of the run that is hit.
        epoch: after which it is hit.
        delay_s: after that epoch.
        packed: whether both runs share a job.
        random: further draws of this trial.
        notes: what was seen.
    """

    drill: Drill
    name: str
    seed: int
    epoch: int
    delay_s: float
    packed: bool
    random: random.Random
    notes: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.drill.project.folder / "results" / self.name

    @property
    def output(self) -> str:
        """What the study's processes have shown so far."""
        return self.terminal.read_text(encoding="utf-8", errors="replace")

    @property
    def terminal(self) -> Path:
        return self.drill.project.folder / f"{self.name}.txt"

    def start(self) -> subprocess.Popen:
        """Start the study as a user does."""
        project = self.drill.project
        command = project.command(
            "--profile", "profiles/slurm", *QUICK, "--configfile", f"config/{self.name}.yaml",
            "--group-components", f"runs-{{backbone}}-{{decoder}}={2 if self.packed else 1}",
        )  # fmt: skip
        with self.terminal.open("a", encoding="utf-8") as terminal:
            return subprocess.Popen(
                command, cwd=project.folder, env=os.environ | project.environment | {"NO_COLOR": "1"},
                stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, start_new_session=True,
            )  # fmt: skip

    def finish(self, process: subprocess.Popen | None = None) -> int:
        """Wait for the study's end, starting it first unless it runs."""
        process = process or self.start()
        try:
            return process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise NotSurvivedError(f"did not end within {PATIENCE_S} s") from None

    def until_struck(self, process: subprocess.Popen) -> psutil.Process:
        """Wait for the moment of the fault; returns the process that trains the run."""
        log = self.folder / f"logs/train_run/tiny/weighted_ce/mlp/seed-{self.seed}.log"
        self.wait(lambda: log.is_file() and f"epoch {self.epoch}:" in log.read_text("utf-8", errors="replace"), process)
        time.sleep(self.delay_s)
        return self.training_process()

    def training_process(self) -> psutil.Process:
        target = str(self.folder / RUNS)
        for each in psutil.process_iter(["cmdline", "cwd"]):
            words = each.info["cmdline"] or []
            # Snakemake runs a copy of the script; what it works on is in its log, which it holds open.
            if any("train_run" in word for word in words[1:]) and "snakemake" not in words:
                with contextlib.suppress(psutil.Error):
                    if any(
                        file.path.endswith(f"{self.name}/logs/train_run/tiny/weighted_ce/mlp/seed-{self.seed}.log")
                        for file in each.open_files()
                    ):
                        return each
        raise NotSurvivedError(f"no process trains {target}/seed-{self.seed}; the moment was missed")

    def slurm_job(self) -> str:
        """The Slurm job in which the run trains."""
        environment = Path(f"/proc/{self.training_process().pid}/environ").read_bytes().split(b"\0")
        return next(each for each in environment if each.startswith(b"SLURM_JOB_ID=")).decode().split("=")[1]

    def wait(self, condition: Callable[[], bool], process: subprocess.Popen | None = None) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if process and process.poll() is not None:
                raise NotSurvivedError(f"the study ended before it could be disturbed: {self.output[-2000:]}")
            if time.monotonic() > deadline:
                raise NotSurvivedError("waited in vain for the moment of the fault")
            time.sleep(0.02)

    def must_end_well(self, process: subprocess.Popen | None = None) -> None:
        if self.finish(process) != 0:
            raise NotSurvivedError(f"the study failed: {self.output[-2000:]}")

    def must_fail_saying(self, *phrases: str, process: subprocess.Popen | None = None) -> None:
        """The study ends with an error that says all of this."""
        if self.finish(process) == 0:
            raise NotSurvivedError("the study ended well, and should not have been able to")
        missing = [phrase for phrase in phrases if phrase not in self.output]
        if missing:
            raise NotSurvivedError(f"the error does not say {missing}: {self.output[-2000:]}")
        self.notes.append(f"said “{phrases[0]}”")


def sigkill_job(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process).kill()
    trial.must_end_well(process)


def sigterm_job(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process).terminate()
    trial.must_end_well(process)


def scancel(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    trial.drill.cluster.run("scancel", trial.slurm_job())
    trial.must_end_well(process)


def requeue(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    job = trial.slurm_job()
    # The profile forbids it; an administrator can all the same.
    trial.drill.cluster.run("scontrol", "update", f"JobId={job}", "Requeue=1")
    trial.drill.cluster.run("scontrol", "requeue", job)
    trial.must_end_well(process)


def node_down(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    trial.drill.cluster.node_down("drill")
    time.sleep(5)
    trial.drill.cluster.node_up()
    trial.must_end_well(process)


def controller_restart(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    trial.drill.cluster.restart_controller()
    trial.must_end_well(process)


def controller_outage(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    trial.drill.cluster.kill_controller()
    time.sleep(60)
    trial.drill.cluster.start_controller()
    trial.must_end_well(process)


def time_limit(trial: Trial) -> None:
    """The run hangs until its time is up; SLURM wakes it and warns it with SIGTERM, and kills it 2 s later."""
    process = trial.start()
    training = trial.until_struck(process)
    job = trial.slurm_job()
    training.suspend()
    trial.drill.cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    trial.must_end_well(process)
    trial.notes.append(trial.drill.cluster.run("scontrol", "show", "job", job).split("JobState=")[1].split()[0])


def head_interrupted(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    process.send_signal(signal.SIGINT)
    trial.must_fail_saying("What is finished is kept", process=process)
    trial.must_end_well()


def head_killed(trial: Trial) -> None:
    """SIGKILL of the head process: its jobs go on, its lock stays."""
    process = trial.start()
    trial.until_struck(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    trial.must_fail_saying("--unlock")
    trial.drill.project.snakemake("--unlock", "--configfile", f"config/{trial.name}.yaml")
    trial.must_end_well()


def two_heads(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    trial.must_fail_saying("no other Snakemake process")
    trial.must_end_well(process)


def disk_full(trial: Trial) -> None:
    """The results lie on a file system with little room to spare, which then grows."""
    prepared = trial.folder.with_name(f"{trial.name}-prepared")
    trial.folder.rename(prepared)
    trial.folder.mkdir()
    used = sum(-(-path.stat().st_size // 4096) * 4 for path in prepared.rglob("*") if path.is_file())
    size = f"size={used + 64 + 4 * trial.epoch}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", trial.folder], check=True)
    try:
        shutil.copytree(prepared, trial.folder, dirs_exist_ok=True)
        trial.must_fail_saying("There is no space left to write", "free space")
        subprocess.run(["mount", "-o", "remount,size=64m", trial.folder], check=True)
        trial.must_end_well()
        # The tables are compared when the disk is gone.
        shutil.rmtree(prepared)
        shutil.copytree(trial.folder, prepared)
    finally:
        subprocess.run(["umount", "--lazy", trial.folder], check=True)
    trial.folder.rmdir()
    prepared.rename(trial.folder)


def results_read_only(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    # Over itself, because files that are open for writing keep a file system from turning read-only.
    subprocess.run(["mount", "--bind", trial.folder, trial.folder], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", trial.folder], check=True)
    try:
        trial.must_fail_saying("cannot be written", "make the folder writable", process=process)
    finally:
        subprocess.run(["umount", "--lazy", trial.folder], check=True)
    trial.must_end_well()


def features_corrupted(trial: Trial) -> None:
    features = trial.folder / "features/tiny/all/tokens.npy"
    content = bytearray(features.read_bytes())
    place = trial.random.randrange(len(content))
    content[place] ^= 1 << trial.random.randrange(8)
    state = features.stat()
    features.write_bytes(content)
    os.utime(features, ns=(state.st_atime_ns, state.st_mtime_ns))
    trial.must_fail_saying("are not what was written", f"delete results/{trial.name}/features")
    features.unlink()
    trial.must_end_well()


def _interrupt_with_sidecar(trial: Trial) -> Path:
    process = trial.start()
    trial.until_struck(process)
    process.send_signal(signal.SIGINT)
    trial.finish(process)
    sidecar = trial.folder / RUNS / f"seed-{trial.seed}" / "resume.ckpt"
    trial.wait(sidecar.is_file)
    return sidecar


def sidecar_corrupted(trial: Trial) -> None:
    sidecar = _interrupt_with_sidecar(trial)
    content = bytearray(sidecar.read_bytes())
    if trial.random.random() < 0.5:
        content = content[: trial.random.randrange(len(content))]
    else:
        content[trial.random.randrange(len(content))] ^= 1 << trial.random.randrange(8)
    sidecar.write_bytes(content)
    trial.must_end_well()


def sidecar_foreign(trial: Trial) -> None:
    """A whole sidecar of another configuration, whose numbers would show."""
    path = _interrupt_with_sidecar(trial)
    saved = torch.load(io.BytesIO(path.read_bytes()[64:]), weights_only=True)
    for value in saved["state"]["model"].values():
        value.zero_()
    Sidecar(path, "of another configuration", 0).save(saved["state"])
    trial.must_end_well()


def predictions_half_written(trial: Trial) -> None:
    trial.must_end_well()
    predictions = trial.folder / RUNS / f"seed-{trial.seed}" / "predictions.parquet"
    content = predictions.read_bytes()
    predictions.write_bytes(content[: trial.random.randrange(len(content))])
    trial.must_fail_saying("not those its run.yaml describes", "delete the folder")
    shutil.rmtree(predictions.parent)
    trial.must_end_well()


FAULTS: dict[str, Callable[[Trial], None]] = {
    function.__name__: function
    for function in (
        sigkill_job, sigterm_job, scancel, requeue, node_down, controller_restart, controller_outage, time_limit,
        head_interrupted, head_killed, two_heads, disk_full, results_read_only, features_corrupted, sidecar_corrupted,
        sidecar_foreign, predictions_half_written,
    )
}  # fmt: skip


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
        if left:
            raise NotSurvivedError(f"left behind: {left}")
        records = [folder / RUNS / f"seed-{seed}" / "run.yaml" for seed in SEEDS]
        return [yaml.safe_load(record.read_text("utf-8"))["resumed_after_epoch"] for record in records]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--clusters", type=int, default=3, help="trials at a time, each on a cluster of its own")
    arguments = parser.parse_args()
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
        with Cluster(folder / "slurm") as cluster:
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
