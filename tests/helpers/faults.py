"""A study that is disturbed once, and the faults of the drill: what is done to it and what a user would do."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from helpers.cluster import NARROW
from terralucas.study.head import read_head
from terralucas.training.resume import ResumeFile

if TYPE_CHECKING:
    from helpers.cluster import Cluster
    from helpers.drill import Drill

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
# Other work of the machine makes trials slow; only one that hangs takes this long.
PATIENCE_S = 900
# Ctrl-C must end a study within a minute, and Snakemake some seconds later.
INTERRUPTED_S = 75
# States of a job whose processes are gone; a job that is COMPLETING still ends them.
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
SACCT = ("--slurm-status-command", "sacct")


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
        options: of Snakemake, beside those of every trial.
        profile: of Snakemake.
    """

    drill: Drill
    name: str
    seed: int
    epoch: int
    delay_s: float
    packed: bool
    random: random.Random
    notes: list[str] = field(default_factory=list)
    options: tuple[str, ...] = ()
    profile: str = "profiles/slurm"

    @property
    def cluster(self) -> Cluster:
        return self.drill.cluster

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
            "--profile", self.profile, *QUICK, "--configfile", f"config/{self.name}.yaml",
            "--group-components", f"runs-{{backbone}}-{{decoder}}={2 if self.packed else 1}", *self.options,
        )  # fmt: skip
        with self.terminal.open("a", encoding="utf-8") as terminal:
            # A shell lets its background jobs ignore Ctrl-C, and what they start as well.
            return subprocess.Popen(
                ["env", "--default-signal=INT", *map(str, command)], cwd=project.folder,
                env=os.environ | project.environment | {"NO_COLOR": "1"},
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
        # It holds its log open.
        log = f"{self.name}/logs/train_run/tiny/weighted_ce/mlp/seed-{self.seed}.log"
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(file.path.endswith(log) for file in each.open_files()):
                    return each
        raise NotSurvivedError(f"no process trains {self.folder / RUNS}/seed-{self.seed}; the moment was missed")

    def slurm_job(self) -> str:
        """The Slurm job in which the run trains."""
        return self._variable_of_training("SLURM_JOB_ID")

    def node(self) -> str:
        """The node on which the run trains."""
        return self._variable_of_training("SLURMD_NODENAME")

    def jobs(self) -> dict[str, str]:
        """States of the study's jobs that wait or run, by id; not of those that are ending."""
        rows = [row.split("|") for row in self.cluster.run("squeue", "-h", "-o", "%i|%T|%j").splitlines()]
        return {row[0]: row[1] for row in rows if row[2].startswith(f"{self.name}-") and row[1] != "COMPLETING"}

    def interrupt(self, process: subprocess.Popen, *phrases: str) -> None:
        """Press Ctrl-C; the study ends within a minute and says all of this."""
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        self.must_fail_saying(*phrases, process=process)
        seconds = time.monotonic() - started
        self.notes.append(f"ended {seconds:.0f} s after Ctrl-C")
        if seconds > INTERRUPTED_S:
            raise NotSurvivedError(f"ended only {seconds:.0f} s after Ctrl-C")

    def _variable_of_training(self, name: str) -> str:
        environment = Path(f"/proc/{self.training_process().pid}/environ").read_bytes().split(b"\0")
        return next(each for each in environment if each.startswith(f"{name}=".encode())).decode().split("=")[1]

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
    trial.cluster.run("scancel", trial.slurm_job())
    trial.must_end_well(process)


def requeue(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    job = trial.slurm_job()
    # The profile forbids it; an administrator can all the same.
    trial.cluster.run("scontrol", "update", f"JobId={job}", "Requeue=1")
    trial.cluster.run("scontrol", "requeue", job)
    trial.must_end_well(process)


def node_down(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    node = trial.node()
    trial.cluster.node_down("drill", node)
    time.sleep(5)
    trial.cluster.node_up(node)
    trial.must_end_well(process)


def controller_restart(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    trial.cluster.restart_controller()
    trial.must_end_well(process)


def controller_outage(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    trial.cluster.kill_controller()
    time.sleep(60)
    trial.cluster.start_controller()
    trial.must_end_well(process)


def time_limit(trial: Trial) -> None:
    """The run hangs until its time is up; SLURM wakes it and warns it with SIGTERM, and kills it 2 s later."""
    process = trial.start()
    training = trial.until_struck(process)
    job = trial.slurm_job()
    training.suspend()
    trial.cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    trial.must_end_well(process)
    trial.notes.append(trial.cluster.run("scontrol", "show", "job", job).split("JobState=")[1].split()[0])


def head_interrupted(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    trial.interrupt(process, "What is finished is kept", "all SLURM jobs of this session are cancelled")
    if trial.jobs():
        raise NotSurvivedError(f"jobs go on after Ctrl-C: {trial.jobs()}")
    trial.must_end_well()


def _kill_head(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def head_killed(trial: Trial) -> None:
    """SIGKILL of the head process: its jobs go on, its lock stays."""
    _kill_head(trial)
    trial.must_fail_saying("--unlock")
    trial.drill.project.snakemake("--unlock", "--configfile", f"config/{trial.name}.yaml")
    trial.must_end_well()


def jobs_end_without_head(trial: Trial) -> None:
    """SIGKILL of the head process; a run ends well before the next start, which keeps it."""
    _kill_head(trial)
    record = trial.folder / RUNS / f"seed-{trial.seed}" / "run.yaml"
    trial.wait(lambda: record.is_file() and not trial.jobs())
    state = record.stat()
    trial.drill.project.snakemake("--unlock", "--configfile", f"config/{trial.name}.yaml")
    trial.must_end_well()
    if (record.stat().st_ino, record.stat().st_mtime_ns) != (state.st_ino, state.st_mtime_ns):
        raise NotSurvivedError("a finished run was made again")


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
    trial.must_fail_saying("is not what was written", f"delete results/{trial.name}/features")
    features.unlink()
    trial.must_end_well()


def _interrupt_with_sidecar(trial: Trial) -> Path:
    process = trial.start()
    trial.until_struck(process)
    process.send_signal(signal.SIGINT)
    trial.finish(process)
    resume_file = trial.folder / RUNS / f"seed-{trial.seed}" / "resume.ckpt"
    trial.wait(resume_file.is_file)
    return resume_file


def sidecar_corrupted(trial: Trial) -> None:
    resume_file = _interrupt_with_sidecar(trial)
    content = bytearray(resume_file.read_bytes())
    if trial.random.random() < 0.5:
        content = content[: trial.random.randrange(len(content))]
    else:
        content[trial.random.randrange(len(content))] ^= 1 << trial.random.randrange(8)
    resume_file.write_bytes(content)
    trial.must_end_well()


def sidecar_foreign(trial: Trial) -> None:
    """A whole resume_file of another configuration, whose numbers would show."""
    path = _interrupt_with_sidecar(trial)
    saved = torch.load(io.BytesIO(path.read_bytes()[64:]), weights_only=True)
    for value in saved["state"]["model"].values():
        value.zero_()
    ResumeFile(path, "of another configuration", 0).save(saved["state"])
    trial.must_end_well()


def predictions_half_written(trial: Trial) -> None:
    trial.must_end_well()
    predictions = trial.folder / RUNS / f"seed-{trial.seed}" / "predictions.parquet"
    content = predictions.read_bytes()
    predictions.write_bytes(content[: trial.random.randrange(len(content))])
    trial.must_fail_saying("is not the one that its run.yaml describes", "delete the folder")
    shutil.rmtree(predictions.parent)
    trial.must_end_well()


def node_lost(trial: Trial) -> None:
    """A node goes down for the rest of the study, and the other one takes over."""
    process = trial.start()
    trial.until_struck(process)
    node = trial.node()
    trial.cluster.node_down("drill", node)
    try:
        trial.must_end_well(process)
    finally:
        trial.cluster.node_up(node)


def only_node_down(trial: Trial) -> None:
    """The only node of a site with accounting goes down and comes back; it must not stay excluded."""
    trial.options = SACCT
    trial.cluster.node_down("drill", "n2")
    try:
        process = trial.start()
        trial.until_struck(process)
        trial.cluster.node_down("drill", "n1")
        time.sleep(5)
        trial.cluster.run("scontrol", "update", "NodeName=n1", "State=RESUME")
        trial.must_end_well(process)
    finally:
        trial.cluster.node_up("n2")


def _preempt(trial: Trial, partition: str) -> None:
    trial.options = ("--default-resources", f"slurm_partition={partition}")
    process = trial.start()
    trial.until_struck(process)
    nodes = len(trial.cluster.nodes)
    trial.cluster.run(
        "sbatch", "-p", "urgent", f"-N{nodes}", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 5"
    )  # fmt: skip
    trial.must_end_well(process)


def _let_slurm_requeue(trial: Trial) -> None:
    """Edit the profile as its user does."""
    folder = trial.drill.project.folder / "profiles"
    (folder / "requeue").mkdir(exist_ok=True)
    text = (folder / "slurm" / "config.yaml").read_text(encoding="utf-8")
    (folder / "requeue" / "config.yaml").write_text(text.replace("slurm-no-requeue", "slurm-requeue"), encoding="utf-8")
    trial.profile = "profiles/requeue"


def preempted_requeue(trial: Trial) -> None:
    """A job with higher priority takes the node, and SLURM starts the job again."""
    _let_slurm_requeue(trial)
    _preempt(trial, "requeued")


def preempted_cancel(trial: Trial) -> None:
    _preempt(trial, "cancelled")


def preempted_cancel_requeue(trial: Trial) -> None:
    """The job may be requeued, and the partition cancels it all the same."""
    _let_slurm_requeue(trial)
    _preempt(trial, "cancelled")


def submit_limit(trial: Trial) -> None:
    """A QOS allows one job of a user in the queue, and the study has two."""
    trial.packed, trial.options = False, ("--slurm-qos", NARROW)
    process = trial.start()
    trial.wait(lambda: "takes no more jobs for now (QOSMaxSubmitJobPerUserLimit" in trial.output, process)
    trial.must_end_well(process)


def submit_refused(trial: Trial) -> None:
    """The partition takes no jobs for a while."""
    trial.cluster.run("scontrol", "update", "PartitionName=gpu", "State=INACTIVE")
    try:
        process = trial.start()
        trial.wait(lambda: "takes no more jobs for now (Batch job submission failed: Req" in trial.output, process)
        time.sleep(10)
    finally:
        trial.cluster.run("scontrol", "update", "PartitionName=gpu", "State=UP")
    trial.must_end_well(process)


def submit_unanswered(trial: Trial) -> None:
    """The controller takes a job, and its answer is lost."""
    trial.packed = False
    answers = trial.cluster.folder / "unanswered"
    answers.write_text("")
    trial.cluster.replace_client(
        "sbatch",
        f'id=$({{real}} "$@") || exit 1\n'
        f"if [ $(wc -l < '{answers}') -lt 2 ]; then echo $id >> '{answers}'; "
        "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1; fi\n"
        "echo $id\n",
    )
    try:
        process = trial.start()
        trial.wait(lambda: len(answers.read_text().split()) == 2, process)
        trial.must_end_well(process)
    finally:
        trial.cluster.restore_client("sbatch")
    trial.notes.append(f"lost {' '.join(answers.read_text().split())}")


def submit_slow_interrupted(trial: Trial) -> None:
    """Ctrl-C while both jobs are being submitted to a slow controller."""
    trial.packed = False
    begun = trial.cluster.folder / "begun"
    begun.unlink(missing_ok=True)
    trial.cluster.replace_client("sbatch", f"touch '{begun}'; sleep 3\nexec {{real}} \"$@\"\n")
    try:
        process = trial.start()
        trial.wait(begun.exists, process)
        time.sleep(trial.random.uniform(0, 4))
        trial.interrupt(process, "all SLURM jobs of this session are cancelled")
        time.sleep(5)
        if trial.jobs():
            raise NotSurvivedError(f"jobs go on after Ctrl-C: {trial.jobs()}")
    finally:
        trial.cluster.restore_client("sbatch")
    trial.must_end_well()


def squeue_fails_interrupted(trial: Trial) -> None:
    """Ctrl-C while squeue fails."""
    process = trial.start()
    trial.until_struck(process)
    trial.cluster.replace_client("squeue", "echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1\n")
    try:
        time.sleep(2)
        trial.interrupt(process, "all SLURM jobs of this session are cancelled")
    finally:
        trial.cluster.restore_client("squeue")
    if trial.jobs():
        raise NotSurvivedError(f"jobs go on after Ctrl-C: {trial.jobs()}")
    trial.must_end_well()


def outage_interrupted(trial: Trial) -> None:
    """Ctrl-C while the controller is away: its jobs cannot be cancelled; the next start does it."""
    process = trial.start()
    trial.until_struck(process)
    trial.cluster.kill_controller()
    time.sleep(5)
    try:
        trial.interrupt(process, "To cancel them: scancel --name=")
    finally:
        trial.cluster.start_controller()
    trial.must_end_well()


def squeue_lies(trial: Trial) -> None:
    process = trial.start()
    trial.until_struck(process)
    trial.cluster.replace_client("squeue", "echo 'The batch system is busy; please come back later'\n")
    time.sleep(20)
    trial.cluster.restore_client("squeue")
    trial.must_end_well(process)


def job_outlives_study(trial: Trial) -> None:
    """Jobs of a killed head wait until the study, started again, is finished; then they start."""
    trial.packed = False
    trial.cluster.replace_client("sbatch", 'exec {real} --hold "$@"\n')
    try:
        process = trial.start()
        trial.wait(lambda: len(trial.jobs()) == len(SEEDS), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        trial.cluster.restore_client("sbatch")
    held = set(trial.jobs())
    # Jobs wait for this folder of their Snakemake, which the next one deletes; a Snakemake of before this rule left it.
    folders = [Path(path) for path in read_head(trial.folder).temporary]
    trial.drill.project.snakemake("--unlock", "--configfile", f"config/{trial.name}.yaml")
    trial.options = ("--config", "earlier_jobs=report")
    trial.must_end_well()
    if "jobs of earlier starts of this study are in the queue" not in trial.output:
        raise NotSurvivedError("jobs of an earlier start are not reported")
    before = _files_of_runs(trial)
    for folder in folders:
        folder.mkdir()
    trial.cluster.run("scontrol", "release", *held)
    # Not until squeue no longer lists them: it may list none for a moment while the machine is busy.
    for job in held:
        trial.wait(lambda job=job: any(f"JobState={state}" in _shown(trial, job) for state in ENDED))
    for folder in folders:
        folder.rmdir()
    after = _files_of_runs(trial)
    if before != after:
        changed = [path for path in before | after if before.get(path) != after.get(path)]
        states = [line for job in held for line in _shown(trial, job).splitlines() if "JobState" in line]
        raise NotSurvivedError(f"the finished runs changed: {changed}; the late jobs: {states}")
    # Snakemake sets new times where such a job ends well; they must not make anything run again.
    planned = trial.drill.project.planned("--configfile", f"config/{trial.name}.yaml")
    if planned:
        raise NotSurvivedError(f"something is done again: {planned}")


def _files_of_runs(trial: Trial) -> dict[str, str]:
    """Checksum of each file of the trial's runs."""
    runs = trial.folder / RUNS
    return {
        str(path.relative_to(runs)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(runs.glob("*/*"))
    }


def _shown(trial: Trial, job: str) -> str:
    return trial.cluster.run("scontrol", "show", "job", job)


def unlocked_while_running(trial: Trial) -> None:
    """A second head after --unlock, which also frees what runs."""
    process = trial.start()
    trial.until_struck(process)
    trial.drill.project.snakemake("--unlock", "--configfile", f"config/{trial.name}.yaml")
    trial.must_fail_saying("is running already")
    trial.must_end_well(process)


def accounting_scancel(trial: Trial) -> None:
    """sacct says "CANCELLED by" and a user."""
    trial.options = SACCT
    scancel(trial)


def accounting_frozen(trial: Trial) -> None:
    """The database answers nothing for a while."""
    trial.options = SACCT
    process = trial.start()
    trial.until_struck(process)
    trial.cluster.suspend_accounting()
    try:
        time.sleep(30)
    finally:
        trial.cluster.resume_accounting()
    trial.must_end_well(process)


FAULTS: dict[str, Callable[[Trial], None]] = {
    function.__name__: function
    for function in (
        sigkill_job, sigterm_job, scancel, requeue, node_down, controller_restart, controller_outage, time_limit,
        head_interrupted, head_killed, jobs_end_without_head, two_heads, disk_full, results_read_only,
        features_corrupted, sidecar_corrupted, sidecar_foreign, predictions_half_written, node_lost, only_node_down,
        preempted_requeue, preempted_cancel, preempted_cancel_requeue, submit_limit, submit_refused,
        submit_unanswered, submit_slow_interrupted, squeue_fails_interrupted, outage_interrupted, squeue_lies,
        job_outlives_study, unlocked_while_running,
        accounting_scancel, accounting_frozen,
    )
}  # fmt: skip
