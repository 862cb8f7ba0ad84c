"""The training loop of a decoder and its head on frozen features.

A plain loop: batches here are so small that a framework's work per step would cost several times the arithmetic.
Every epoch draws its batch order and its dropout from streams of their own, so that a run resumed at an epoch's end
goes on exactly as an undisturbed one, and all recipes of a seed see the same batches in the same order.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from terralucas.device import autocast
from terralucas.errors import StudyError
from terralucas.randomness import Stream, generator, torch_seed
from terralucas.training.losses import Loss, start_epoch
from terralucas.training.resume import Sidecar, boundaries

logger = logging.getLogger(__name__)

# Evaluation has no gradients to keep, so its batches need not be the training's.
_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class TrainingOptions:
    """How a run trains; see `training` in the configuration."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    drop_last: bool
    monitor: str
    precision: str

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> TrainingOptions:
        """The options among all keys of the configuration's section."""
        return cls(**{name: training[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class TrainingData:
    """Features of all chips and the rows of each part.

    Attributes:
        features: (n, D) or (n, tokens, D) float32, on the training device or in host memory.
        labels: (n,) int64 class indices, on the training device.
        train: (n_train,) row numbers.
        validation: (n_validation,) row numbers.
    """

    features: Tensor
    labels: Tensor
    train: np.ndarray
    validation: np.ndarray


@dataclass
class Progress:
    """State of a run at the end of an epoch.

    Attributes:
        epoch: epochs done.
        history: one row for each epoch done.
        best_epoch: epoch (from 1) with the best validation score; of equal ones the earliest.
        best_score: its score.
        best_state: its state dict.
        diverged: where and how training left the finite numbers; empty if it did not. It would again, so that this is
            a result of the run and no error.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -1.0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    diverged: str = ""


def train(
    model: nn.Module,
    loss: Loss,
    data: TrainingData,
    options: TrainingOptions,
    seed: int,
    sidecar: Sidecar,
    on_first_step: Callable[[], None] = lambda: None,
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None,
) -> Progress:
    """Train with AdamW and keep the weights of the epoch with the best validation score.

    Args:
        model: on its device; its initial weights are the caller's.
        loss: of (logits, labels).
        data: features, labels and rows.
        options: hyper-parameters.
        seed: of the run; draws batch order and dropout.
        sidecar: where progress is saved, and from which a killed run goes on.
        on_first_step: called once, after the first optimiser step.
        on_epoch: called with each new row of the history.

    Returns:
        The progress after the last epoch, or after the last before training diverged; the model is left with the last
        weights.

    Raises:
        StudyError: `drop_last` leaves no batch.
        Terminated, KeyboardInterrupt: as they came, after the end of the last whole epoch was saved.
    """
    device = data.labels.device
    precision, context = autocast(options.precision, device)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    # float16 gradients underflow without loss scaling; the scaler does nothing under other precisions.
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
    progress = _restore(sidecar, model, optimiser, scaler)
    batch = options.batch_size

    def step(features: Tensor, labels: Tensor) -> Tensor:
        with context():
            # As in validation: a CPU's autocast leaves the focal loss in bfloat16, a GPU's casts it by itself.
            value = loss(model(features).float(), labels)
        optimiser.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimiser)
        scaler.update()
        return value.detach()

    with boundaries(sidecar) as boundary:
        for epoch in range(progress.epoch + 1, options.epochs + 1):
            order = epoch_order(seed, epoch, data.train, options)
            torch.manual_seed(torch_seed(seed, Stream.DROPOUT, epoch))
            model.train()
            start_epoch(loss, epoch)
            losses = _pass(step, data, order, batch, on_first_step if epoch == 1 else lambda: None)
            row = {"epoch": epoch, "train_loss": float(losses.mean()), **_validate(model, loss, data, context)}
            rate, batches = f"learning rate {options.learning_rate:g}", np.split(order, range(batch, len(order), batch))
            progress.diverged = not_finite(losses, row, rate, batches, "in rows {} of the index")
            if progress.diverged:
                return progress
            keep_best(progress, row, model.state_dict(), options.monitor)
            on_epoch(row)
            boundary.reached(_state(progress, model, optimiser, scaler), last=epoch == options.epochs)
    return progress


def epoch_order(seed: int, epoch: int, train: np.ndarray, options: TrainingOptions) -> np.ndarray:
    """The rows of the training chips in the order of an epoch, without the last incomplete batch if it is dropped.

    All recipes of a seed see the same batches in the same order.

    Raises:
        StudyError: `drop_last` leaves no batch.
    """
    last = len(train) - len(train) % options.batch_size if options.drop_last else len(train)
    if last == 0:
        raise StudyError(
            "No batch is left to train on.",
            found=f"{len(train)} training chips and training.drop_last with batches of {options.batch_size}",
            remedy="set training.drop_last to false, or lower training.batch_size",
        )
    return generator(seed, Stream.BATCH_ORDER, epoch).permutation(train)[:last]


def _pass(
    step: Callable[[Tensor, Tensor], Tensor],
    data: TrainingData,
    order: np.ndarray,
    batch: int,
    on_first_step: Callable[[], None],
) -> np.ndarray:
    """One pass over the rows in `order`; returns the (batches,) losses."""
    device = data.labels.device
    rows = torch.from_numpy(order).to(data.features.device)
    labels = data.labels[rows.to(device)]
    losses = []
    for start in range(0, len(order), batch):
        losses.append(step(data.features[rows[start : start + batch]].to(device), labels[start : start + batch]))
        if start == 0:
            on_first_step()
    return torch.stack(losses).cpu().numpy().astype(np.float64)


def not_finite(
    losses: np.ndarray,
    row: Mapping[str, float],
    rate: str,
    batches: Sequence[Sequence[Any]],
    words: str,
    per_step: int = 1,
) -> str:
    """Where an epoch left the finite numbers, in words; empty where it did not.

    Args:
        losses: (batches,) of the epoch.
        row: of the history.
        rate: the learning rate, in words.
        batches: what the chips of each batch are called.
        words: how to say of a batch that these are its chips.
        per_step: batches of an optimiser step.
    """
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        first = int(wrong[0])
        steps = math.ceil(len(losses) / per_step)
        place = f"in epoch {row['epoch']}, step {first // per_step + 1} of {steps}"
        chips = words.format(", ".join(map(str, batches[first])))
        return f"training loss {losses[first]} {place}, {rate}, chips {chips}"
    if not np.isfinite(row["validation_nll"]):
        return f"validation NLL {row['validation_nll']} after epoch {row['epoch']}, {rate}"
    return ""


@torch.inference_mode()
def predict(model: nn.Module, features: Tensor, rows: np.ndarray, device: torch.device, precision: str) -> Tensor:
    """Logits (len(rows), K) in float32 on the device, without dropout."""
    _, context = autocast(precision, device)
    model.eval()
    index = torch.from_numpy(rows).to(features.device)
    with context():
        parts = [model(features[part].to(device)).float() for part in index.split(_EVALUATION_BATCH)]
    return torch.cat(parts)


def accuracies(labels: np.ndarray, predictions: np.ndarray) -> tuple[float, float]:
    """Macro accuracy (mean recall of the classes that occur) and micro accuracy."""
    n = np.bincount(labels)
    hits = np.bincount(labels[labels == predictions], minlength=len(n))
    return float((hits[n > 0] / n[n > 0]).mean()), float(hits.sum() / n.sum())


def _validate(model: nn.Module, loss: Loss, data: TrainingData, context: Callable) -> dict[str, float]:
    labels = data.labels[torch.from_numpy(data.validation).to(data.labels.device)]
    with torch.inference_mode():
        model.eval()
        index = torch.from_numpy(data.validation).to(data.features.device)
        with context():
            logits = torch.cat(
                [model(data.features[part].to(labels.device)).float() for part in index.split(_EVALUATION_BATCH)]
            )
            value = float(loss(logits, labels))
        return validation_row(value, logits, labels)


def validation_row(value: float, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """What the history says of the validation chips: the loss (`value`), NLL, macro and micro accuracy."""
    macro, micro = accuracies(labels.cpu().numpy(), logits.argmax(dim=1).cpu().numpy())
    return {
        "validation_loss": value,
        "validation_nll": float(nn.functional.cross_entropy(logits, labels)),
        "validation_macro_accuracy": macro,
        "validation_micro_accuracy": micro,
    }


def keep_best(progress: Progress, row: dict[str, float], state: Mapping[str, Tensor], monitor: str) -> None:
    """Count an epoch in, and keep its weights if its validation score is the best so far."""
    progress.epoch = int(row["epoch"])
    progress.history.append(row)
    score = row[f"validation_{monitor}"]
    if score > progress.best_score:
        progress.best_epoch, progress.best_score = progress.epoch, score
        progress.best_state = {name: value.detach().cpu().clone() for name, value in state.items()}


def _state(
    progress: Progress, model: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> dict[str, Any]:
    """A copy of everything a run needs to go on; training goes on changing the originals."""
    return {
        "progress": {**progress.__dict__, "history": list(progress.history)},
        "model": {name: value.detach().clone() for name, value in model.state_dict().items()},
        "optimiser": copy.deepcopy(optimiser.state_dict()),
        "scaler": scaler.state_dict(),
    }


def _restore(
    sidecar: Sidecar, model: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> Progress:
    state = sidecar.load()
    if state is None:
        return Progress()
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    scaler.load_state_dict(state["scaler"])
    progress = Progress(**state["progress"])
    logger.info("Resuming after epoch %d", progress.epoch)
    return progress
