"""What all runs share while they train: options, order of batches, history, best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from terralucas.errors import StudyError
from terralucas.predictions import accuracies
from terralucas.randomness import Stream, generator


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


@dataclass(frozen=True)
class Divergence:
    """Where an epoch left the finite numbers.

    Attributes:
        what: the number that is not finite, and its place.
        batch: the first batch with such a loss; None where the validation NLL is not finite.
    """

    what: str
    batch: int | None

    def describe(self, rate: str, chips: str) -> str:
        """Return the reason a run ended.

        Args:
            rate: the learning rate, in words.
            chips: those of the batch, in words; left out where there is no such batch.
        """
        return f"{self.what}, {rate}" + ("" if self.batch is None else f", chips {chips}")


def find_divergence(losses: np.ndarray, row: Mapping[str, float], per_step: int = 1) -> Divergence | None:
    """Return where an epoch left the finite numbers, or None.

    Args:
        losses: (batches,) of the epoch.
        row: of the history.
        per_step: batches of an optimiser step.
    """
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        first, steps = int(wrong[0]), math.ceil(len(losses) / per_step)
        place = f"in epoch {row['epoch']}, step {first // per_step + 1} of {steps}"
        return Divergence(f"training loss {losses[first]} {place}", first)
    if not np.isfinite(row["validation_nll"]):
        return Divergence(f"validation NLL {row['validation_nll']} after epoch {row['epoch']}", None)
    return None


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
