"""CPU time of a study's grid through TerraTorch's own pipeline and on stored features.

Each grid has two decoders and five seeds with 100 epochs, on 1,994 chips of 224 px. The grids are: one backbone with
the study's four losses, both backbones with the four losses, and both backbones with the two weighted losses, as in the
demo.

The total times are extrapolated. For TerraTorch's pipeline, full batches (reading, backbone, decoder, step, scores) are
timed on a few simulated chips, and the time is multiplied by the number of batches. The feature pass is timed in the
same way. For runs on stored features, whole epochs of full size are timed, and the time is multiplied by the number of
epochs. The weights of the backbone are random, which does not change the time. The time that TerraTorch and Lightning
spend outside the batches is left out; the time to start the project's jobs is included. Everything runs in one thread.

    make against
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.both_paths import (
    DECODERS,
    ChipSet,
    Training,
    original_options,
    simulated_chips,
    store_features,
    train_stock,
    train_stored,
)
from terralucas.backbones.encoder import Backbone, build_backbone
from terralucas.backbones.feature_kinds import kind_of_features
from terralucas.data.discovery.lucas import ITALY_BANDS

SIZE_PX, N_CHIPS, N_TRAIN, N_VALIDATION = 224, 1994, 1356, 239
LOSSES, SEEDS, EPOCHS = ("weighted_ce", "weighted_focal", "ce", "focal"), 5, 100
TINY, BASE = "terramind_v1_tiny", "terramind_v1_base"
GRIDS = {
    "40 runs: tiny × 4 losses × 2 decoders × 5 seeds": ((TINY,), LOSSES),
    "40 runs: base × 4 losses × 2 decoders × 5 seeds": ((BASE,), LOSSES),
    "80 runs: both × 4 losses × 2 decoders × 5 seeds": ((TINY, BASE), LOSSES),
    "40 runs: both × 2 losses × 2 decoders × 5 seeds": ((TINY, BASE), LOSSES[:2]),
}
# Number of chips of each class: about the shares of LUCAS, with enough chips of rare classes for both parts. This gives
# 77 training chips and 37 validation chips.
SAMPLE = {1: 28, 2: 10, 3: 12, 4: 39, 5: 7, 6: 4, 7: 7, 8: 3, 9: 2, 10: 2}
# Importing TerraTorch sets the precision of matrix products to "medium": bfloat16 on CPUs with instructions for it.
MULTIPLICATION = {"float32": "highest", "as imported": "medium"}
TIMED_EPOCHS = {"identity": 5, "mlp": 1}
STARTS = {
    "feature pass": "import terralucas.backbones.features, terralucas.data.indexing.index; "
    "from terratorch.registry import BACKBONE_REGISTRY",
    "run": "import terralucas.training.run, terralucas.statistics.run_scores",
}


@dataclass
class Clock(Callback):
    """A callback that records the CPU time at the end of each full batch."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the time of a training batch."""
        self.train.append(time.process_time())

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the time of a validation batch, unless it is the last one, which may be smaller."""
        if len(batch["label"]) == trainer.datamodule.batch_size:
            self.validation.append(time.process_time())


def cpu_seconds(work: Callable, *arguments: Any) -> tuple[float, Any]:
    """Call a function, and return the CPU time and the result."""
    started = time.process_time()
    result = work(*arguments)
    return time.process_time() - started, result


def start_seconds(imports: str) -> float:
    """Measure the CPU time of a Python process that only imports what a job needs."""
    spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])  # noqa: E731
    before = spent()
    subprocess.run([sys.executable, "-c", imports], check=True)
    return spent() - before


def stock_epoch(training: Training, chips: ChipSet, backbone: Backbone) -> tuple[float, Any]:
    """Estimate the CPU time of an epoch of study size in TerraTorch's pipeline.

    Returns:
        The CPU time in seconds, and the result of the timed epoch on the sample.
    """
    clock = Clock()
    ended = train_stock(training, chips, backbone.encoder.state_dict(), [clock])
    per_batch = [statistics.median(np.diff(stamps)) for stamps in (clock.train, clock.validation)]
    batches = np.array([N_TRAIN, N_VALIDATION]) / training.options.batch_size
    return float(batches @ per_batch), ended


def at_study_size(chips: ChipSet, features: torch.Tensor, path: Path) -> tuple[ChipSet, torch.Tensor]:
    """Repeat the sample's chips and features until a run reads as many as in the study; map them from a file."""
    rows = np.resize(np.arange(len(features)), N_TRAIN + N_VALIDATION)
    np.save(path, features.numpy()[rows])
    everything = np.arange(len(rows))
    chips = replace(chips, index=chips.index.iloc[rows], train=everything[:N_TRAIN], validation=everything[N_TRAIN:])
    return chips, torch.from_numpy(np.load(path, mmap_mode="c"))


@dataclass(frozen=True)
class Measured:
    """CPU seconds of a backbone and a decoder at study size.

    Attributes:
        kind: kind of the features.
        feature_pass: seconds of the feature pass of all chips, with the start of its job.
        stock: precision of matrix products → seconds of an epoch in TerraTorch.
        stored: loss → seconds of an epoch on stored features.
        difference: largest difference between the logits of the two paths after one epoch on the sample, with float32
            matrix products.
    """

    kind: str
    feature_pass: float
    stock: dict[str, float]
    stored: dict[str, float]
    difference: float


def measure(backbone: Backbone, training: Training, chips: ChipSet, start: float, folder: Path) -> Measured:
    """Time a backbone and a decoder along both paths; `start` is the CPU time to start the job of a feature pass."""
    torch.set_float32_matmul_precision("highest")
    kind = kind_of_features(DECODERS[training.decoder])
    seconds, features = cpu_seconds(store_features, backbone, chips, kind, folder / "features.npy")
    own = train_stored(training, chips, features)
    large, mapped = at_study_size(chips, features, folder / "mapped.npy")
    timed = original_options(TIMED_EPOCHS[training.decoder])
    stored = {
        loss: cpu_seconds(train_stored, replace(training, loss=loss, options=timed), large, mapped)[0] / timed.epochs
        for loss in LOSSES
    }
    stock = {}
    for name, precision in MULTIPLICATION.items():
        torch.set_float32_matmul_precision(precision)
        stock[name], ended = stock_epoch(training, chips, backbone)
        if name == "float32":
            difference = float((ended.logits - own.logits).abs().max())
    return Measured(kind, seconds / len(features) * N_CHIPS + start, stock, stored, difference)


def print_table(rows: list[tuple[str, float | None, float]]) -> None:
    """Print a Markdown table with the CPU seconds of both paths and their ratio."""
    print("| | TerraTorch, CPU s | stored features, CPU s | ratio |\n| --- | --- | --- | --- |")
    for what, stock, stored in rows:
        numbers = ("", "") if stock is None else (f"{stock:,.1f}", f"{stock / stored:,.0f}")
        print(f"| {what} | {numbers[0]} | {stored:,.2f} | {numbers[1]} |")
    print(flush=True)


def main() -> None:
    """Print a table for each backbone, and one for the grids."""
    torch.set_num_threads(1)
    starts = {name: start_seconds(imports) for name, imports in STARTS.items()}
    print("CPU time of starting a job: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in starts.items()))
    measured: dict[str, list[Measured]] = {}
    with tempfile.TemporaryDirectory(prefix="against-") as folder:
        chips = simulated_chips(Path(folder) / "chips", SAMPLE, SIZE_PX)
        for model in (TINY, BASE):
            backbone = build_backbone(model, ITALY_BANDS, {"source": "random", "seed": 0})
            trainings = [Training(model, decoder, LOSSES[0], 0, original_options(1)) for decoder in DECODERS]
            found = [measure(backbone, each, chips, starts["feature pass"], Path(folder)) for each in trainings]
            measured[model] = found
            print(
                f"{model}: after one epoch on {len(chips.train)} chips the logits of {len(chips.validation)} others "
                f"differ by at most {max(each.difference for each in found):.1e} (float32)\n"
            )
            rows: list[tuple[str, float | None, float]] = []
            for decoder, each in zip(DECODERS, found, strict=True):
                rows.append((f"{each.kind} features of {N_CHIPS:,} chips, once", None, each.feature_pass))
                epoch = statistics.mean(each.stored.values())
                rows += [
                    (f"one epoch, {decoder}, TerraTorch {name}", stock, epoch) for name, stock in each.stock.items()
                ]
            print_table(rows)
    rows = []
    for grid, (models, losses) in GRIDS.items():
        parts = [each for model in models for each in measured[model]]
        stored = sum(
            each.feature_pass + SEEDS * sum(EPOCHS * each.stored[loss] + starts["run"] for loss in losses)
            for each in parts
        )
        for name in MULTIPLICATION:
            stock = sum(SEEDS * len(losses) * EPOCHS * each.stock[name] for each in parts)
            rows.append((f"{grid}, TerraTorch {name}", stock, stored))
    print_table(rows)


if __name__ == "__main__":
    main()
