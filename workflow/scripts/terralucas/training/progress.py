"""The parts of training that all runs share: options, order of chips, history, best epoch and divergence."""

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
    """Hyper-parameters of a run; see `training` in the configuration."""

    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    drop_last: bool
    monitor: str
    precision: str

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> TrainingOptions:
        """Select the options from the configuration's section `training`."""
        return cls(**{name: training[name] for name in cls.__dataclass_fields__})


@dataclass
class Progress:
    """State of a run at the end of an epoch.

    Attributes:
        epoch: number of completed epochs.
        history: one row for each completed epoch.
        best_epoch: epoch (from 1) with the best validation score; the earliest one if several are equal.
        best_score: validation score of the best epoch.
        best_state: state dict of the best epoch.
        diverged: where a loss became NaN or infinite; empty if training did not diverge. Divergence is a result of the
            run and not an error, because the same run would diverge again.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -1.0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    diverged: str = ""


def epoch_order(seed: int, epoch: int, train: np.ndarray, options: TrainingOptions) -> np.ndarray:
    """Return the rows of the training chips in the order of an epoch.

    All recipes see the same batches in the same order for one seed. With `drop_last`, the last incomplete batch is left
    out.

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
    """The place in an epoch where a loss became NaN or infinite.

    Attributes:
        what: the value that is not finite, and where it occurred, in words.
        batch: index of the first batch with such a loss; None if only the validation NLL is not finite.
    """

    what: str
    batch: int | None

    def describe(self, rate: str, chips: str) -> str:
        """Describe in words why the run ended.

        Args:
            rate: the learning rate, in words.
            chips: the chips of the batch, in words; ignored if there is no such batch.
        """
        return f"{self.what}, {rate}" + ("" if self.batch is None else f", chips {chips}")


def find_divergence(losses: np.ndarray, row: Mapping[str, float], pieces_per_step: int = 1) -> Divergence | None:
    """Return the first place in an epoch where a loss is not finite, or None if all losses are finite.

    Args:
        losses: (pieces,) training losses of the epoch.
        row: the epoch's row of the history.
        pieces_per_step: number of losses in an optimiser step.
    """
    not_finite = np.flatnonzero(~np.isfinite(losses))
    if len(not_finite):
        first, steps = int(not_finite[0]), math.ceil(len(losses) / pieces_per_step)
        place = f"in epoch {row['epoch']}, step {first // pieces_per_step + 1} of {steps}"
        return Divergence(f"training loss {losses[first]} {place}", first)
    if not np.isfinite(row["validation_nll"]):
        return Divergence(f"validation NLL {row['validation_nll']} after epoch {row['epoch']}", None)
    return None


def validation_row(value: float, logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the validation columns of the history: the loss (`value`), NLL, macro and micro accuracy."""
    macro, micro = accuracies(labels.cpu().numpy(), logits.argmax(dim=1).cpu().numpy())
    return {
        "validation_loss": value,
        "validation_nll": float(nn.functional.cross_entropy(logits, labels)),
        "validation_macro_accuracy": macro,
        "validation_micro_accuracy": micro,
    }


def keep_best(progress: Progress, row: dict[str, float], state: Mapping[str, Tensor], monitor: str) -> None:
    """Add an epoch to the progress, and keep its weights if its validation score is the best so far."""
    progress.epoch = int(row["epoch"])
    progress.history.append(row)
    score = row[f"validation_{monitor}"]
    if score > progress.best_score:
        progress.best_epoch, progress.best_score = progress.epoch, score
        progress.best_state = {name: value.detach().cpu().clone() for name, value in state.items()}
