"""The training loop of a decoder and its head on frozen features.

A plain loop: batches here are so small that a framework's work per step would cost several times the arithmetic.
Every epoch draws its batch order and its dropout from streams of their own, so that a run resumed at an epoch's end
goes on exactly as an undisturbed one, and all recipes of a seed see the same batches in the same order.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from terralucas.device import autocast
from terralucas.randomness import Stream, torch_seed
from terralucas.training.losses import Loss, start_epoch
from terralucas.training.progress import (
    Progress,
    TrainingOptions,
    epoch_order,
    find_divergence,
    keep_best,
    validation_row,
)
from terralucas.training.resume import ResumeFile, saving_last_epoch

logger = logging.getLogger(__name__)

# Evaluation has no gradients to keep, so its batches need not be the training's.
_EVALUATION_BATCH = 256


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


def train(
    model: nn.Module,
    loss: Loss,
    data: TrainingData,
    options: TrainingOptions,
    seed: int,
    resume_file: ResumeFile,
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
        resume_file: where progress is saved, and from which a killed run goes on.
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
    progress = _restore(resume_file, model, optimiser, scaler)
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

    with saving_last_epoch(resume_file) as last_epoch:
        for epoch in range(progress.epoch + 1, options.epochs + 1):
            order = epoch_order(seed, epoch, data.train, options)
            torch.manual_seed(torch_seed(seed, Stream.DROPOUT, epoch))
            model.train()
            start_epoch(loss, epoch)
            losses = _pass(step, data, order, batch, on_first_step if epoch == 1 else lambda: None)
            row = {"epoch": epoch, "train_loss": float(losses.mean()), **_validate(model, loss, data, context)}
            if (found := find_divergence(losses, row)) is not None:
                first = (found.batch or 0) * batch
                chips = f"in rows {', '.join(map(str, order[first : first + batch]))} of the index"
                progress.diverged = found.describe(f"learning rate {options.learning_rate:g}", chips)
                return progress
            keep_best(progress, row, model.state_dict(), options.monitor)
            on_epoch(row)
            last_epoch.reached(_state(progress, model, optimiser, scaler), last=epoch == options.epochs)
    return progress


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


@torch.inference_mode()
def predict(model: nn.Module, features: Tensor, rows: np.ndarray, device: torch.device, precision: str) -> Tensor:
    """Logits (len(rows), K) in float32 on the device, without dropout."""
    _, context = autocast(precision, device)
    model.eval()
    index = torch.from_numpy(rows).to(features.device)
    with context():
        parts = [model(features[part].to(device)).float() for part in index.split(_EVALUATION_BATCH)]
    return torch.cat(parts)


def _validate(
    model: nn.Module, loss: Loss, data: TrainingData, context: Callable[[], AbstractContextManager[object]]
) -> dict[str, float]:
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
    resume_file: ResumeFile, model: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> Progress:
    state = resume_file.load()
    if state is None:
        return Progress()
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    scaler.load_state_dict(state["scaler"])
    progress = Progress(**state["progress"])
    logger.info("Resuming after epoch %d", progress.epoch)
    return progress
