"""End-to-end training: a backbone learns together with its decoder, on chips, under Lightning's Trainer.

What frozen runs do, these do as well, with the same code: order of batches, monitor, best epoch, history, resume_file.
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
from terralucas.training.resume import LastEpoch, ResumeFile, saving_last_epoch

logger = logging.getLogger(__name__)

# It announces devices and tips on the terminal, past the job's own handlers.
logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)

# As the batches of a feature pass: evaluation keeps no activations.
_EVALUATION_BATCH = 32


@dataclass(frozen=True)
class EndToEndOptions:
    """How a backbone and its decoder train together; see `training.end_to_end` in the configuration."""

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
        """The options among all keys of the configuration's section."""
        return cls(**{name: settings[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class ChipData:
    """The chips of a study as training reads them.

    Attributes:
        chips: batches of them.
        point_ids: (n,) ids.
        train: (n_train,) row numbers.
        validation: (n_validation,) row numbers.
        mass: maps an epoch to what each chip (n,) adds to the denominator of the loss.
        workers: processes that read ahead.
    """

    chips: PackedChips
    point_ids: list[str]
    train: np.ndarray
    validation: np.ndarray
    mass: Callable[[int], np.ndarray]
    workers: int


@dataclass(frozen=True)
class Callbacks:
    """Whom training tells.

    Attributes:
        on_first_step: called once, after the first optimiser step.
        on_epoch: called with each new row of the history.
    """

    on_first_step: Callable[[], None]
    on_epoch: Callable[[dict[str, float]], None]


class EndToEnd(lightning.LightningModule):
    """A backbone with its decoder in training, under Lightning's Trainer.

    Args:
        model: on its device; `trained_state` says which of its weights a run keeps.
        loss: of (logits, labels).
        data: chips and rows.
        options: what all runs have.
        tuning: what only end-to-end training has.
        seed: of the run; draws batch order, dropout and augmentation.
        callbacks: whom to tell.
        parts: pieces a batch is cut into to fit into memory.
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
        parts: int = 1,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.data = model, loss, data
        self.options, self.tuning, self.seed, self.callbacks = options, tuning, seed, callbacks
        self.batches = EpochBatches(seed, data.train, options, tuning.accumulate, data.mass, parts)
        self.averaged = (
            None
            if tuning.ema_decay is None
            else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(tuning.ema_decay))
        )
        self.progress = Progress()
        self.last_epoch: LastEpoch | None = None
        self.largest_batch = 0
        self.waited_s = self.trained_s = 0.0
        self._losses: list[Tensor] = []
        self._rates: list[list[float]] = []
        self._restored: Mapping[str, Any] | None = None

    @property
    def evaluation_batch(self) -> int:
        """Chips evaluated at a time: no more than training has in memory at once."""
        return min(_EVALUATION_BATCH, self.batches.chips_per_piece)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to train: all epochs are done, or validation has not improved for long enough."""
        patience, progress = self.tuning.early_stopping_patience, self.progress
        waited = progress.epoch - progress.best_epoch
        return progress.epoch >= self.options.epochs or (patience is not None and waited >= patience)

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; `on_train_start` restores the parts that Lightning makes later."""
        self._restored = state
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"], strict=False)
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"], strict=False)
        logger.info("Resuming after epoch %d", self.progress.epoch)

    def configure_optimizers(self) -> Any:
        """AdamW with the backbone's own learning rate, and its schedule."""
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
        """Give optimiser, schedule and loss scaler the state they were saved with."""
        if self._restored is None:
            return
        self._optimiser().load_state_dict(self._restored["optimiser"])
        self._schedule().load_state_dict(self._restored["schedule"])
        self.trainer.precision_plugin.load_state_dict(self._restored["scaler"])
        self._restored = None

    def on_train_epoch_start(self) -> None:
        """Start the epoch's own streams; Lightning leaves the mode to us."""
        self._losses.clear()
        self._rates.clear()
        self._started, self._waited_before = time.monotonic(), self._loader_waited_s()
        torch.manual_seed(torch_seed(self.seed, Stream.DROPOUT, self.batches.epoch))
        self.model.train()
        start_epoch(self.loss, self.batches.epoch)

    def training_step(self, batch: tuple[Tensor, Tensor, float], number: int) -> Tensor:
        """The weighted loss of one piece of a step."""
        chips, labels, weight = batch
        value = self.loss(self.model(chips).float(), labels)
        self._losses.append(value.detach())
        self._rates.append([float(rate) for rate in self._schedule().get_last_lr()])
        return value * weight

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """A step, and with it the moving average of the weights."""
        super().optimizer_step(*arguments, **named)
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)

    def on_train_batch_end(self, outputs: Any, batch: tuple[Tensor, Tensor, float], number: int) -> None:
        """Tell of the first step; remember what fits into memory."""
        self.largest_batch = max(self.largest_batch, len(batch[1]))
        if self.progress.epoch == 0 and number + 1 == min(self.batches.per_step, self.trainer.num_training_batches):
            self.callbacks.on_first_step()

    def on_train_epoch_end(self) -> None:
        """Validate, keep the best weights, and save where the run could go on."""
        batches, progress = self.batches.batches(), self.progress
        losses = torch.stack(self._losses).cpu().numpy().astype(np.float64)
        self._log_waiting()
        weights = np.array([batch.weight for batch in batches]) / self.batches.per_step
        evaluated = self.model if self.averaged is None else self.averaged.module
        labels = self.data.chips.labels[self.data.validation]
        rows, precision = self.data.validation, self.options.precision
        logits = predict(evaluated, self.data.chips, rows, self.device, precision, self.evaluation_batch).cpu()
        row = {
            "epoch": self.batches.epoch,
            "train_loss": float((losses * weights).sum() / self.batches.steps),
            **validation_row(float(self.loss(logits.to(self.device), labels.to(self.device))), logits, labels),
        }
        if (found := find_divergence(losses, row, self.batches.per_step)) is not None:
            piece = -1 if found.batch is None else found.batch
            backbone, others = self._rates[piece]
            chips = ", ".join(self.data.point_ids[i] for i in batches[piece].rows)
            progress.diverged = found.describe(f"learning rate {others:g} (backbone {backbone:g})", chips)
            self.trainer.should_stop = True
            return
        keep_best(progress, row, trained_state(evaluated), self.options.monitor)
        self.callbacks.on_epoch(row)
        self.trainer.should_stop = self.is_finished
        self.batches.epoch = progress.epoch + 1
        assert self.last_epoch is not None, "set by fit"
        self.last_epoch.reached(self._state(), last=self.is_finished)

    def _log_waiting(self) -> None:
        """Log how long the epoch waited for its training batches; a run that goes on counts anew."""
        seconds = time.monotonic() - self._started
        waited = self._loader_waited_s() - self._waited_before
        self.trained_s, self.waited_s = self.trained_s + seconds, self.waited_s + waited
        logger.info(
            "epoch %d: %.1f s, %.1f %% of it waiting for chips", self.batches.epoch, seconds, 100 * waited / seconds
        )

    def _state(self) -> dict[str, Any]:
        """A copy in host memory of everything a run needs to go on; a GPU has no room for two."""
        return _on_host({
            "progress": {**self.progress.__dict__, "history": list(self.progress.history)},
            "model": trained_state(self.model),
            "averaged": self._averaged_state(),
            "optimiser": self._optimiser().state_dict(),
            "schedule": self._schedule().state_dict(),
            "scaler": self.trainer.precision_plugin.state_dict(),
        })  # fmt: skip

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

    Returns:
        The progress after the last epoch, or after the last before training diverged.

    Raises:
        StudyError: `drop_last` leaves no batch.
        torch.OutOfMemoryError, Terminated, KeyboardInterrupt: as they came, after the end of the last whole epoch was
            saved.
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
        # Under SLURM, Lightning would start its jobs again by itself; here Snakemake does, and it alone.
        plugins=plugins,
        max_epochs=options.epochs - module.progress.epoch,
        accumulate_grad_batches=module.batches.per_step,
        gradient_clip_val=tuning.clip_norm,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = TimedLoader(module.data.chips, module.batches, module.data.workers, pin=device.type == "cuda")
    with saving_last_epoch(resume_file) as module.last_epoch:
        try:
            module.train()
            trainer.fit(module, loader)
        except SystemExit as ending:
            # What Lightning makes of Ctrl-C.
            raise KeyboardInterrupt from ending
    return module.progress


def schedule(tuning: EndToEndOptions, steps_per_epoch: int, epochs: int) -> Callable[[int], float]:
    """Factor of the learning rates at each step: a linear rise, then one, or a cosine's fall to zero.

    Loshchilov & Hutter (2017), SGDR, eq. 5, without restarts.
    """
    rise, total = tuning.warmup_epochs * steps_per_epoch, epochs * steps_per_epoch

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / math.ceil(rise)
        if tuning.schedule == "none":
            return 1.0
        return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(total - rise, 1)))

    return factor


@torch.inference_mode()
def predict(
    model: nn.Module, chips: PackedChips, rows: np.ndarray, device: torch.device, precision: str, batch: int
) -> Tensor:
    """Logits (len(rows), K) in float32 on the device, `batch` chips at a time, without dropout and augmentation."""
    _, context = autocast(precision, device)
    model.eval()
    parts = np.split(rows, range(batch, len(rows), batch))
    with context():
        return torch.cat([model(chips[Batch(part)][0].to(device)).float() for part in parts])


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What a run keeps of a model: its whole state dict, or of a LoRA encoder and its decoder the trained weights."""
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    is_whole = len(trained) == sum(1 for _ in model.parameters())
    return {name: value for name, value in model.state_dict().items() if is_whole or name in trained}


def _on_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _on_host(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_on_host(item) for item in value]
    return value
