"""The training loop of a decoder and its head on stored features.

The loop uses no framework: batches are so small that a framework's overhead per step would take several times as long
as the computation. Every epoch has its own random streams for batch order and dropout. Therefore a run that is resumed
after an epoch continues exactly as an uninterrupted run, and all recipes see the same batches in the same order for one
seed.
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
from terralucas.training.resume import ResumeFile, save_last_epoch_on_failure

logger = logging.getLogger(__name__)

# Evaluation stores no gradients, so its batches can be larger than those of training.
_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class TrainingData:
    """Features and labels of all chips, and the rows of the training and validation chips.

    Attributes:
        features: (n, D) or (n, tokens, D) float32 or float16, on the training device or in host memory, where they may
            be memory-mapped: only the rows of a batch are read.
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
        model: the model on its device, with its initial weights.
        loss: function of (logits, labels).
        data: features, labels and rows.
        options: hyper-parameters.
        seed: the run's seed, which decides batch order and dropout.
        resume_file: file to which progress is saved, and from which an interrupted run continues.
        on_first_step: called once, after the first optimiser step.
        on_epoch: called with each new row of the history.

    Returns:
        The progress after the last epoch; if training diverges, the progress after the last epoch before that. The
        model keeps the weights of the last step, not those of the best epoch.

    Raises:
        StudyError: `drop_last` leaves no batch.
        Terminated, KeyboardInterrupt: raised again after the state of the last complete epoch was saved.
    """
    device = data.labels.device
    precision, context = autocast(options.precision, device)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    # Gradients in float16 underflow without loss scaling. With other precisions the scaler does nothing.
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
    progress = _restore(resume_file, model, optimiser, scaler)
    batch = options.batch_size

    def step(features: Tensor, labels: Tensor) -> Tensor:
        with context():
            # Compute the loss in float32, as in validation: autocast does that on a GPU, but on a CPU it computes the
            # focal loss in bfloat16.
            value = loss(model(features).float(), labels)
        optimiser.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimiser)
        scaler.update()
        return value.detach()

    with save_last_epoch_on_failure(resume_file) as last_epoch:
        for epoch in range(progress.epoch + 1, options.epochs + 1):
            order = epoch_order(seed, epoch, data.train, options)
            torch.manual_seed(torch_seed(seed, Stream.DROPOUT, epoch))
            model.train()
            start_epoch(loss, epoch)
            losses = _train_epoch(step, data, order, batch, on_first_step if epoch == 1 else lambda: None)
            row = {"epoch": epoch, "train_loss": float(losses.mean()), **_validate(model, loss, data, context)}
            if (divergence := find_divergence(losses, row)) is not None:
                first = (divergence.batch or 0) * batch
                chips = f"in rows {', '.join(map(str, order[first : first + batch]))} of the index"
                progress.diverged = divergence.describe(f"learning rate {options.learning_rate:g}", chips)
                return progress
            keep_best(progress, row, model.state_dict(), options.monitor)
            on_epoch(row)
            last_epoch.keep(_copy_state(progress, model, optimiser, scaler), is_final=epoch == options.epochs)
    return progress


def _train_epoch(
    step: Callable[[Tensor, Tensor], Tensor],
    data: TrainingData,
    order: np.ndarray,
    batch: int,
    on_first_step: Callable[[], None],
) -> np.ndarray:
    """Train once on each row in `order`, and return the (batches,) losses."""
    device = data.labels.device
    rows = torch.from_numpy(order).to(data.features.device)
    labels = data.labels[rows.to(device)]
    losses = []
    for start in range(0, len(order), batch):
        features = read_batch(data.features, rows[start : start + batch], device)
        losses.append(step(features, labels[start : start + batch]))
        if start == 0:
            on_first_step()
    return torch.stack(losses).cpu().numpy().astype(np.float64)


def read_batch(features: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Return rows of features on a device, as float32."""
    return features[rows].to(device).float()


@torch.inference_mode()
def predict(model: nn.Module, features: Tensor, rows: np.ndarray, device: torch.device, precision: str) -> Tensor:
    """Return the logits (len(rows), K), in float32 on the device, without dropout."""
    _, context = autocast(precision, device)
    model.eval()
    index = torch.from_numpy(rows).to(features.device)
    with context():
        parts = [model(read_batch(features, part, device)).float() for part in index.split(_EVALUATION_BATCH)]
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
                [
                    model(read_batch(data.features, part, labels.device)).float()
                    for part in index.split(_EVALUATION_BATCH)
                ]
            )
            value = float(loss(logits, labels))
        return validation_row(value, logits, labels)


def _copy_state(
    progress: Progress, model: nn.Module, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> dict[str, Any]:
    """Copy everything that a run needs to continue, because training changes the originals."""
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
