"""End-to-end training of a backbone with its decoder on chips, with Lightning's Trainer.

The order of batches, the monitor, the best epoch, the history and the resume file work as for frozen backbones, with
the same code.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from terralucas.device import autocast
from terralucas.randomness import Stream, torch_seed
from terralucas.training.chip_batches import Batch, EpochBatches, PackedChips, TimedLoader
from terralucas.training.losses import Loss, start_epoch
from terralucas.training.progress import Progress, TrainingOptions, find_divergence, keep_best, validation_row
from terralucas.training.resume import LastEpoch, ResumeFile, save_last_epoch_on_failure

logger = logging.getLogger(__name__)

# Lightning prints devices and tips directly to the terminal, not through the log handlers of the job.
logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)

# As large as the batches of feature extraction, because evaluation stores no activations either.
_EVALUATION_BATCH = 32


@dataclass(frozen=True)
class EndToEndOptions:
    """Hyper-parameters of end-to-end training alone; see `training.end_to_end` in the configuration."""

    backbone_learning_rate: float | None
    warmup_epochs: float
    schedule: str
    clip_norm: float | None
    accumulate: int
    early_stopping_patience: int | None
    ema_decay: float | None
    compile: bool

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> EndToEndOptions:
        """Select the options from the configuration's section `training.end_to_end`."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class ChipData:
    """The chips of a study, prepared for training.

    Attributes:
        chips: dataset of the chips.
        point_ids: (n,) ids.
        train: (n_train,) row numbers.
        validation: (n_validation,) row numbers.
        denominator_terms: maps an epoch to (n,) terms: what each chip adds to the denominator of the loss.
        workers: number of processes that load chips in advance.
    """

    chips: PackedChips
    point_ids: list[str]
    train: np.ndarray
    validation: np.ndarray
    denominator_terms: Callable[[int], np.ndarray]
    workers: int


@dataclass(frozen=True)
class Callbacks:
    """Functions that training calls to report its progress.

    Attributes:
        on_first_step: called once, after the first optimiser step.
        on_epoch: called with each new row of the history.
    """

    on_first_step: Callable[[], None]
    on_epoch: Callable[[dict[str, float]], None]


class EndToEnd(lightning.LightningModule):
    """A Lightning module that trains a backbone with its decoder.

    Args:
        model: the model on its device; a run saves the weights that `trained_state` returns.
        loss: function of (logits, labels).
        data: chips and rows.
        options: hyper-parameters that all runs have.
        tuning: hyper-parameters of end-to-end training alone.
        seed: the run's seed, which decides batch order, dropout and augmentation.
        callbacks: functions to call during training.
        pieces_per_batch: number of pieces into which each batch is cut to fit into memory.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        data: ChipData,
        options: TrainingOptions,
        tuning: EndToEndOptions,
        seed: int,
        callbacks: Callbacks,
        pieces_per_batch: int = 1,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.data = model, loss, data
        self.options, self.tuning, self.seed, self.callbacks = options, tuning, seed, callbacks
        self.batches = EpochBatches(
            seed, data.train, options, tuning.accumulate, data.denominator_terms, pieces_per_batch
        )
        self.averaged = (
            None
            if tuning.ema_decay is None
            else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(tuning.ema_decay))
        )
        self.progress = Progress()
        self.last_epoch: LastEpoch | None = None
        self.largest_piece = 0
        self.waited_s = self.trained_s = 0.0
        self._losses: list[Tensor] = []
        self._rates: list[list[float]] = []
        self._restored: Mapping[str, Any] | None = None

    @property
    def evaluation_batch(self) -> int:
        """Number of chips to evaluate at a time; at most as many as training has in memory at a time."""
        return min(_EVALUATION_BATCH, self.batches.chips_per_piece)

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or early stopping applies: validation has not improved for `patience` epochs."""
        patience, progress = self.tuning.early_stopping_patience, self.progress
        epochs_since_best = progress.epoch - progress.best_epoch
        return progress.epoch >= self.options.epochs or (patience is not None and epochs_since_best >= patience)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state; `on_train_start` restores the objects that Lightning creates later."""
        self._restored = state
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"], strict=False)
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"], strict=False)
        logger.info("Resuming after epoch %d", self.progress.epoch)

    def configure_optimizers(self) -> Any:
        """Return AdamW, with a separate learning rate for the backbone, and the learning rate schedule."""
        named = [(name, value) for name, value in self.model.named_parameters() if value.requires_grad]
        backbone = [value for name, value in named if name.startswith("encoder.")]
        others = [value for name, value in named if not name.startswith("encoder.")]
        rate = self.options.learning_rate
        groups = [
            {"params": backbone, "lr": self.tuning.backbone_learning_rate or rate},
            {"params": others, "lr": rate},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=self.options.weight_decay)
        factor = schedule(self.tuning, self.batches.steps, self.options.epochs)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Restore the saved state of optimiser, schedule and loss scaler."""
        if self._restored is None:
            return
        self._optimiser().load_state_dict(self._restored["optimiser"])
        self._schedule().load_state_dict(self._restored["schedule"])
        self.trainer.precision_plugin.load_state_dict(self._restored["scaler"])
        self._restored = None

    def on_train_epoch_start(self) -> None:
        """Seed the random streams of the epoch and set the training mode, which Lightning does not set."""
        self._losses.clear()
        self._rates.clear()
        self._started, self._waited_before = time.monotonic(), self._loader_waited_s()
        torch.manual_seed(torch_seed(self.seed, Stream.DROPOUT, self.batches.epoch))
        self.model.train()
        start_epoch(self.loss, self.batches.epoch)

    def training_step(self, batch: tuple[Tensor, Tensor, float], number: int) -> Tensor:
        """Return the weighted loss of one piece of a step."""
        chips, labels, weight = batch
        value = self.loss(self.model(chips).float(), labels)
        self._losses.append(value.detach())
        self._rates.append([float(rate) for rate in self._schedule().get_last_lr()])
        return value * weight

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Make an optimiser step, and update the moving average of the weights."""
        super().optimizer_step(*arguments, **named)
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def on_train_batch_end(self, outputs: Any, batch: tuple[Tensor, Tensor, float], number: int) -> None:
        """Call `on_first_step` after the first optimiser step, and note how many chips fit into memory."""
        self.largest_piece = max(self.largest_piece, len(batch[1]))
        pieces_of_first_step = min(self.batches.pieces_per_step, self.trainer.num_training_batches)
        if self.progress.epoch == 0 and number + 1 == pieces_of_first_step:
            self.callbacks.on_first_step()

    def on_train_epoch_end(self) -> None:
        """Validate, keep the best weights, and save the state from which the run can continue."""
        batches, progress = self.batches.batches(), self.progress
        losses = torch.stack(self._losses).cpu().numpy().astype(np.float64)
        self._log_waiting()
        weights = np.array([batch.weight for batch in batches]) / self.batches.pieces_per_step
        evaluated = self.model if self.averaged is None else self.averaged.module
        labels = self.data.chips.labels[self.data.validation]
        rows, precision = self.data.validation, self.options.precision
        logits = predict(evaluated, self.data.chips, rows, self.device, precision, self.evaluation_batch).cpu()
        row = {
            "epoch": self.batches.epoch,
            "train_loss": float((losses * weights).sum() / self.batches.steps),
            **validation_row(float(self.loss(logits.to(self.device), labels.to(self.device))), logits, labels),
        }
        if (divergence := find_divergence(losses, row, self.batches.pieces_per_step)) is not None:
            # Report the learning rates of the piece whose loss is not finite. If only the validation NLL is not finite,
            # report those of the last piece.
            piece = -1 if divergence.batch is None else divergence.batch
            backbone, others = self._rates[piece]
            chips = ", ".join(self.data.point_ids[i] for i in batches[piece].rows)
            progress.diverged = divergence.describe(f"learning rate {others:g} (backbone {backbone:g})", chips)
            self.trainer.should_stop = True
            return
        keep_best(progress, row, trained_state(evaluated), self.options.monitor)
        self.callbacks.on_epoch(row)
        self.trainer.should_stop = self.is_finished
        self.batches.epoch = progress.epoch + 1
        assert self.last_epoch is not None, "fit() sets it"
        self.last_epoch.keep(self._copy_state(), is_final=self.is_finished)

    def _log_waiting(self) -> None:
        """Log how long the epoch waited for its training batches. The totals start again when a run is resumed."""
        seconds = time.monotonic() - self._started
        waited = self._loader_waited_s() - self._waited_before
        self.trained_s, self.waited_s = self.trained_s + seconds, self.waited_s + waited
        logger.info(
            "epoch %d: %.1f s, %.1f %% of it waiting for chips", self.batches.epoch, seconds, 100 * waited / seconds
        )

    def _copy_state(self) -> dict[str, Any]:
        """Copy everything that a run needs to continue to host memory; the GPU may have no room for a copy."""
        state = {
            "progress": {**self.progress.__dict__, "history": list(self.progress.history)},
            "model": trained_state(self.model),
            "averaged": self._averaged_state(),
            "optimiser": self._optimiser().state_dict(),
            "schedule": self._schedule().state_dict(),
            "scaler": self.trainer.precision_plugin.state_dict(),
        }
        return _copy_to_host(state)

    # Lightning's types allow for several optimisers and for none; `configure_optimizers` makes one, with one schedule.
    def _optimiser(self) -> torch.optim.Optimizer:
        found = self.optimizers(use_pl_optimizer=False)
        assert isinstance(found, torch.optim.Optimizer), "configure_optimizers makes one"
        return found

    def _schedule(self) -> torch.optim.lr_scheduler.LRScheduler:
        found = self.lr_schedulers()
        assert isinstance(found, torch.optim.lr_scheduler.LRScheduler), "configure_optimizers makes one for it"
        return found

    def _loader_waited_s(self) -> float:
        loader = self.trainer.train_dataloader
        assert loader is not None, "set by fit"
        return float(loader.waited_s)

    def _averaged_state(self) -> dict[str, Tensor]:
        if self.averaged is None:
            return {}
        return {**trained_state(self.averaged), "n_averaged": self.averaged.n_averaged}


def fit(module: EndToEnd, device: torch.device, resume_file: ResumeFile) -> Progress:
    """Train with AdamW and keep the weights of the epoch with the best validation score.

    Args:
        module: model, data and options.
        device: the device to train on.
        resume_file: file to which progress is saved, and from which an interrupted run continues.

    Returns:
        The progress after the last epoch; if training diverges, the progress after the last epoch before that.

    Raises:
        StudyError: `drop_last` leaves no batch.
        torch.OutOfMemoryError, Terminated, KeyboardInterrupt: raised again after the state of the last complete epoch
            was saved.
    """
    if (state := resume_file.load()) is not None:
        module.restore(state)
    if module.is_finished:
        return module.progress
    options, tuning = module.options, module.tuning
    module.batches.epoch = module.progress.epoch + 1
    if tuning.compile:
        module.model.compile()
    precision, _ = autocast(options.precision, device)
    plugins: list[Any] = [LightningEnvironment()]
    match precision:
        case "16-mixed" | "bf16-mixed":
            plugins.append(MixedPrecision(precision, device.type))
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        # Without this plugin, Lightning would submit interrupted SLURM jobs again. Only Snakemake must do that.
        plugins=plugins,
        max_epochs=options.epochs - module.progress.epoch,
        accumulate_grad_batches=module.batches.pieces_per_step,
        gradient_clip_val=tuning.clip_norm,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = TimedLoader(module.data.chips, module.batches, module.data.workers, pin=device.type == "cuda")
    with save_last_epoch_on_failure(resume_file) as module.last_epoch:
        try:
            module.train()
            trainer.fit(module, loader)
        except SystemExit as ending:
            # Lightning turns Ctrl-C into SystemExit.
            raise KeyboardInterrupt from ending
    return module.progress


def schedule(tuning: EndToEndOptions, steps_per_epoch: int, epochs: int) -> Callable[[int], float]:
    """Return the function that maps a step to the factor of the learning rates.

    The factor rises linearly during warm-up. After that it is one, or falls to zero along a cosine (Loshchilov & Hutter
    2017, SGDR, eq. 5, without restarts).

    Args:
        tuning: `warmup_epochs` and `schedule`.
        steps_per_epoch: number of optimiser steps in an epoch.
        epochs: number of epochs.
    """
    warmup, total = tuning.warmup_epochs * steps_per_epoch, epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / math.ceil(warmup)
        if tuning.schedule == "none":
            return 1.0
        return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))

    return factor


@torch.inference_mode()
def predict(
    model: nn.Module, chips: PackedChips, rows: np.ndarray, device: torch.device, precision: str, batch: int
) -> Tensor:
    """Return the logits (len(rows), K), in float32 on the device, without dropout and augmentation.

    The model predicts `batch` chips at a time.
    """
    _, context = autocast(precision, device)
    model.eval()
    parts = np.split(rows, range(batch, len(rows), batch))
    with context():
        return torch.cat([model(chips[Batch(part)][0].to(device)).float() for part in parts])


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that a run saves: the whole state dict, or only the trained weights if others are frozen."""
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    is_whole = len(trained) == sum(1 for _ in model.parameters())
    return {name: value for name, value in model.state_dict().items() if is_whole or name in trained}


def _copy_to_host(value: Any) -> Any:
    """Copy all tensors in nested dicts and lists to host memory."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _copy_to_host(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy_to_host(item) for item in value]
    return value
