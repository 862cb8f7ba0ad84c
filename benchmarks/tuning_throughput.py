"""Measure the chips per second of tuned runs, beside steps on one batch in memory, and what they wait and need.

The project's own loop (`terralucas.training.tuned_loop`) trains on the GPU if there is one, otherwise on a CPU in one
thread. The chips are random numbers in a packed array on disk, and the weights of the backbone are random; neither
changes the work. Each case runs in its own process, because the peak memory is that of a process. The first epoch is
left out, because memory is allocated and the model may be compiled in it. For each model and tuning, every case differs
from the first one in one option, and the ratio compares the speed of the case with that of the first. The column of
steps on one batch is the time of the loop divided by that of as many bare steps (forward and backward pass, AdamW) of
the same model on random chips that lie in the memory of the device (goal 1.1).

    make throughput
"""

import argparse
import json
import logging
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from terralucas.audit.treatments import PLAIN_DECODER, PLAIN_LOSS
from terralucas.backbones.encoder import build_backbone
from terralucas.data.discovery.lucas import ITALY_BANDS
from terralucas.data.normalisation import Normaliser
from terralucas.device import autocast, peak_memory_mib
from terralucas.study.job_limits import Workload, tuning_memory_mb
from terralucas.study.schema import fill_defaults, load_schema
from terralucas.training.chip_batches import Augmentation, PackedChips
from terralucas.training.losses import Loss, build_loss
from terralucas.training.progress import TrainingOptions
from terralucas.training.resume import ResumeFile
from terralucas.training.tuned import TunedModel, make_trainable
from terralucas.training.tuned_loop import Callbacks, ChipData, EndToEnd, EndToEndOptions, fit

SIDE_PX, N_CLASSES, BATCH, EPOCHS = 224, 10, 8, 2
# Number of chips in an epoch: enough for an epoch to take seconds.
CHIPS = {"cpu": 32, "cuda": 1356}
MODELS = ("terramind_v1_tiny", "terramind_v1_base")


@dataclass(frozen=True)
class Case:
    """A case to measure: a model, its tuning, and the options that decide its speed."""

    model: str
    tuning: str
    precision: str
    workers: int = 0
    compile: bool = False


def cases(device: str) -> list[list[Case]]:
    """Return groups of cases; the others in a group are compared with the first."""
    groups = []
    for model in MODELS:
        for tuning in ("full", "lora"):
            first = Case(model, tuning, "32" if device == "cpu" else "16-mixed")
            others = [replace(first, workers=1), replace(first, compile=True)]
            if device == "cuda":
                others += [replace(first, workers=4), replace(first, precision="bf16-mixed")]
            groups.append([first, *others])
    return groups


def bare_seconds(model: torch.nn.Module, loss: Loss, precision: str, device: torch.device, steps: int) -> float:
    """Measure training steps on one batch in the memory of the device, after three that warm up."""
    chips = torch.rand(BATCH, len(ITALY_BANDS), SIDE_PX, SIDE_PX, device=device)
    labels = torch.arange(BATCH, device=device) % N_CLASSES
    optimiser = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad])
    precision, context = autocast(precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
    model.train()
    for step in range(steps + 3):
        if step == 3:
            if device.type == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
        optimiser.zero_grad()
        with context():
            value = loss(model(chips).float(), labels)
        scaler.scale(value).backward()
        scaler.step(optimiser)
        scaler.update()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(case: Case, device: torch.device) -> dict[str, Any]:
    """Train, and measure speed, waiting and memory after the first epoch."""
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    schema = load_schema()
    written = {
        "batch_size": BATCH,
        "epochs": EPOCHS,
        "precision": case.precision,
        "end_to_end": {"compile": case.compile},
    }
    training = fill_defaults(written, schema["properties"]["training"], schema)
    settings = training["end_to_end"]
    n = CHIPS[device.type] + BATCH
    with tempfile.TemporaryDirectory() as folder:
        path, random = Path(folder) / "packed.npy", np.random.default_rng(0)
        array = np.lib.format.open_memmap(path, "w+", np.float32, (n, len(ITALY_BANDS), SIDE_PX, SIDE_PX))
        for chip in array:
            chip[:] = random.random(chip.shape, dtype=np.float32)
        array.flush()
        labels, rows = random.integers(0, N_CLASSES, n), np.arange(n)
        identity = Normaliser("none", np.zeros(6), np.ones(6), np.zeros(6))
        packed = PackedChips(
            np.asarray(np.load(path, mmap_mode="r")), labels, identity, Augmentation(**settings["augmentation"]), 0
        )
        train, validation = np.split(rows, [-BATCH])
        ones = np.ones(n)
        data = ChipData(packed, [str(row) for row in rows], train, validation, lambda epoch: ones, case.workers)
        backbone = build_backbone(case.model, ITALY_BANDS, {"source": "random", "seed": 0})
        model = TunedModel(backbone.encoder, PLAIN_DECODER, backbone.embedding, N_CLASSES)
        make_trainable(model, case.tuning, settings["lora"])
        loss = build_loss(PLAIN_LOSS, np.ones(N_CLASSES), device)
        first_epoch: list[tuple[float, float]] = []

        def on_epoch(row: dict[str, float]) -> None:
            if not first_epoch:
                first_epoch.append((module.trained_s, module.waited_s))

        module = EndToEnd(
            model.to(device),
            loss,
            data,
            TrainingOptions.of(training),
            EndToEndOptions.of(settings),
            0,
            Callbacks(lambda: None, on_epoch),
        )
        fit(module, device, ResumeFile(Path(folder) / "state", "", math.inf))
    peak_mib = peak_memory_mib(device)
    ((trained_s, waited_s),) = first_epoch
    trained_s, waited_s = module.trained_s - trained_s, module.waited_s - waited_s
    steps = len(train) // BATCH * (EPOCHS - 1)
    return {
        "chips_per_s": len(train) * (EPOCHS - 1) / trained_s,
        "over_bare": trained_s / bare_seconds(module.model, loss, case.precision, device, steps),
        "waiting": waited_s / trained_s,
        "peak_mib": peak_mib,
    }


def measure_in_process(case: Case) -> dict[str, Any]:
    """Return the result of `measure` for a case, run in its own process."""
    command = [sys.executable, "-m", "benchmarks.tuning_throughput", "--case", json.dumps(asdict(case))]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    chosen = parser.parse_args().case
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if chosen is not None:
        print(json.dumps(measure(Case(**json.loads(chosen)), device)))
        return
    name = torch.cuda.get_device_name() if device.type == "cuda" else "one CPU thread"
    print(f"{name}; chips of {SIDE_PX} px, batches of {BATCH}, random weights\n")
    columns = (
        "",
        "precision",
        "workers",
        "compiled",
        "chips/s",
        "ratio",
        "over steps on one batch",
        "waiting for chips",
    )
    print(f"| {' | '.join((*columns, 'peak memory, MiB', 'requested, MB'))} |")
    print("| --- " * (len(columns) + 2) + "|")
    for group in cases(device.type):
        first = None
        for case in group:
            work = Workload(case.model, CHIPS[device.type], SIDE_PX, "tokens")
            found = measure_in_process(case)
            first = first or found
            cells = [
                f"{case.model} {case.tuning}",
                case.precision,
                str(case.workers),
                "yes" if case.compile else "no",
                f"{found['chips_per_s']:.1f}",
                f"{found['chips_per_s'] / first['chips_per_s']:.2f}",
                f"{found['over_bare']:.2f}",
                f"{found['waiting']:.1%}",
                ", ".join(f"{what} {mib:,.0f}" for what, mib in found["peak_mib"].items()),
                f"{tuning_memory_mb(work, case.tuning, BATCH, int(device.type == 'cuda')):,}",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
