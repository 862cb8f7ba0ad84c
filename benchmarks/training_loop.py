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
CASES = [("tiny", 192, "identity", IDENTITY, 6), ("tiny", 192, "mlp", MLP, 3)]
CASES += [("base", 768, "identity", IDENTITY, 6), ("base", 768, "mlp", MLP, 1)]
ROUNDS = 7
GOAL = 1.15


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


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    n = N_TRAIN + N_VALIDATION
    print(f"{N_TRAIN} training chips, batches of 8, one thread; median of {ROUNDS} rounds, seconds per epoch")
    print(f"{'case':<16}{'bare':>9}{'project':>9}{'ratio':>8}")
    for backbone, width, name, decoder, epochs in CASES:
        shape = (n, N_TOKENS, width) if kind_of_features(decoder) == "tokens" else (n, width)
        data = TrainingData(
            torch.from_numpy(random.normal(size=shape).astype(np.float32)),
            torch.from_numpy(random.permutation(np.arange(n) % N_CLASSES)),
            np.arange(N_TRAIN),
            np.arange(N_TRAIN, n),
        )
        options = TrainingOptions(1e-4, 0.05, 8, epochs, False, "macro_accuracy", "32")
        setting = {"type": "focal", "gamma": 2.0, "reduction": "weighted_mean"}
        loss = build_loss(setting, np.linspace(0.3, 10, N_CLASSES), torch.device("cpu"))
        ratios, bares, ours = [], [], []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                resume_file = ResumeFile(Path(folder) / "resume.ckpt", "benchmark", 30.0)
                model = DecoderModel(decoder, width, N_CLASSES)
                bares.append(timed(bare, model, loss, data, options, 0) / epochs)
                model = DecoderModel(decoder, width, N_CLASSES)
                ours.append(timed(train, model, loss, data, options, 0, resume_file) / epochs)
            ratios.append(ours[-1] / bares[-1])
        ratio = statistics.median(ratios)
        verdict = "" if ratio <= GOAL else f"  above the goal of {GOAL}"
        seconds = f"{statistics.median(bares):>9.3f}{statistics.median(ours):>9.3f}"
        print(f"{backbone + ' ' + name:<16}{seconds}{ratio:>8.2f}{verdict}")


if __name__ == "__main__":
    main()
