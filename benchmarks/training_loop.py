"""Compare the time of the project's training loop with a minimal loop that does the same computation.

Both loops train the same model on the same features with batches of the same size, for the same number of epochs, and
score the validation chips after each epoch. The minimal loop does nothing else: it has no history, no best weights, no
resume file and no checks. The loops take turns, and the ratio is the median over the rounds, so that other load on the
machine affects both equally.

    make bench
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from terralucas.backbones.feature_kinds import kind_of_features
from terralucas.training.decoders import DecoderModel
from terralucas.training.frozen_loop import TrainingData, train
from terralucas.training.losses import Loss, build_loss
from terralucas.training.progress import TrainingOptions
from terralucas.training.resume import ResumeFile

IDENTITY = {"pooling": "mean", "hidden": None, "dropout": 0.1}
MLP = {"pooling": "tokens", "hidden": "embedding", "dropout": 0.1}
# The size of LUCAS: 1,356 training and 239 validation chips of 1,994. A chip of 64 pixels has 16 tokens.
N_TRAIN, N_VALIDATION, N_TOKENS, N_CLASSES = 1356, 239, 16, 10
ROUNDS = 7
GOAL = 1.05


def bare(model: torch.nn.Module, loss: Loss, data: TrainingData, options: TrainingOptions, seed: int) -> None:
    """Train with a minimal loop that does the same computation as the project's loop."""
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    random = np.random.default_rng(seed)
    validation = torch.from_numpy(data.validation)
    for _ in range(options.epochs):
        rows = torch.from_numpy(random.permutation(data.train))
        model.train()
        for batch in rows.split(options.batch_size):
            value = loss(model(data.features[batch]), data.labels[batch])
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        model.eval()
        with torch.inference_mode():
            hits = model(data.features[validation]).argmax(dim=1) == data.labels[validation]
            float(hits.float().mean())


def timed(work: Callable, *arguments: Any) -> float:
    """Measure the seconds of one call."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


@dataclass(frozen=True)
class Case:
    """A decoder on features of one width, and the epochs that are timed at once."""

    backbone: str
    width: int
    decoder_name: str
    decoder: dict[str, Any]
    epochs: int


@dataclass(frozen=True)
class Seconds:
    """Median seconds an epoch of the minimal loop and of the project's, and the median of their ratios."""

    bare: float
    project: float
    ratio: float


CASES = (
    Case("tiny", 192, "identity", IDENTITY, 6),
    Case("tiny", 192, "mlp", MLP, 3),
    Case("base", 768, "identity", IDENTITY, 6),
    Case("base", 768, "mlp", MLP, 1),
)


def measure(case: Case, rounds: int) -> Seconds:
    """Measure both loops in turn."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    n = N_TRAIN + N_VALIDATION
    shape = (n, N_TOKENS, case.width) if kind_of_features(case.decoder) == "tokens" else (n, case.width)
    data = TrainingData(
        torch.from_numpy(random.normal(size=shape).astype(np.float32)),
        torch.from_numpy(random.permutation(np.arange(n) % N_CLASSES)),
        np.arange(N_TRAIN),
        np.arange(N_TRAIN, n),
    )
    options = TrainingOptions(1e-4, 0.05, 8, case.epochs, False, "macro_accuracy", "32")
    setting = {"type": "focal", "gamma": 2.0, "reduction": "weighted_mean"}
    loss = build_loss(setting, np.linspace(0.3, 10, N_CLASSES), torch.device("cpu"))
    bares, ours = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            resume_file = ResumeFile(Path(folder) / "resume.ckpt", "benchmark", 30.0)
            model = DecoderModel(case.decoder, case.width, N_CLASSES)
            bares.append(timed(bare, model, loss, data, options, 0) / case.epochs)
            model = DecoderModel(case.decoder, case.width, N_CLASSES)
            ours.append(timed(train, model, loss, data, options, 0, resume_file) / case.epochs)
    ratios = [own / least for least, own in zip(bares, ours, strict=True)]
    return Seconds(statistics.median(bares), statistics.median(ours), statistics.median(ratios))


def main() -> None:
    """Print the table."""
    print(f"{N_TRAIN} training chips, batches of 8, one thread; median of {ROUNDS} rounds, seconds per epoch")
    print(f"{'case':<16}{'bare':>9}{'project':>9}{'ratio':>8}")
    for case in CASES:
        seconds = measure(case, ROUNDS)
        verdict = "" if seconds.ratio <= GOAL else f"  above the goal of {GOAL}"
        name = f"{case.backbone} {case.decoder_name}"
        print(f"{name:<16}{seconds.bare:>9.3f}{seconds.project:>9.3f}{seconds.ratio:>8.2f}{verdict}", flush=True)


if __name__ == "__main__":
    main()
