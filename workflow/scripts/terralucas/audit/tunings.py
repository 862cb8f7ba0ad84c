"""What tuning and its options do to a run in miniature: a small encoder, few random chips, few epochs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from terralucas.audit.treatments import PLAIN_DECODER, PLAIN_LOSS, Effect, Treatments
from terralucas.backbones.encoder import build_backbone
from terralucas.data.normalisation import Normaliser
from terralucas.study.schema import load_schema
from terralucas.training.chip_batches import Augmentation, PackedChips
from terralucas.training.losses import build_loss
from terralucas.training.progress import TrainingOptions
from terralucas.training.resume import ResumeFile
from terralucas.training.tuned import TunedModel, make_trainable
from terralucas.training.tuned_loop import Callbacks, ChipData, EndToEnd, EndToEndOptions, fit, predict

# The smallest encoder there is, cut to its first blocks: the options are the same code for all.
_MODEL, _BLOCKS = "terramind_v1_tiny", 2
_WEIGHTS = {"source": "random", "seed": 0}
# Chips of 2 × 2 tokens, so that attention has something to choose from.
_SIDE_PX = 32
_CLASSES = 5
_BATCH = 2
_VALIDATION = 3
# Epochs at most, for early stopping to show, and steps at least, for adapters to matter, which start at zero.
_EPOCHS, _STEPS = 12, 24
# Batches of a step at most: more take longer and show nothing else.
_ACCUMULATE = 4
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class TuningProbe:
    """What tunings are tried on.

    Attributes:
        bands: their names in the order on disk.
        accumulate: batches of a step, as in miniature, by which the number of chips is chosen.
        epochs: of a run.
    """

    bands: Sequence[str]
    accumulate: int
    epochs: int

    @property
    def shown_epochs(self) -> int:
        """Epochs of the run in miniature."""
        return min(self.epochs, _EPOCHS)

    @property
    def chips(self) -> tuple[np.ndarray, np.ndarray]:
        """Chips (n, bands, side, side) and labels (n,): some whole steps, one chip more, and those for validation."""
        steps = max(3, math.ceil(_STEPS / self.shown_epochs))
        n = steps * self.accumulate * _BATCH + 1
        random = np.random.default_rng(0)
        # Validation is on a class that is not trained, so that the first epoch stays the best and stopping early shows.
        labels = np.append(random.integers(0, _CLASSES - 1, n), np.full(_VALIDATION, _CLASSES - 1))
        return random.standard_normal((len(labels), len(self.bands), _SIDE_PX, _SIDE_PX), dtype=np.float32), labels

    def in_miniature(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """`training.end_to_end` for so few epochs and chips: the same share of warm-up, and time to stop early."""
        warmup, patience = settings["warmup_epochs"], settings["early_stopping_patience"]
        return {
            **settings,
            "warmup_epochs": warmup * self.shown_epochs / self.epochs,
            "early_stopping_patience": patience and min(patience, max(1, self.shown_epochs - 2)),
            "accumulate": min(settings["accumulate"], _ACCUMULATE),
            # It is to change no result but for masks of adapters' dropout, and takes minutes.
            "compile": False,
        }


def effect_of_tuning(probe: TuningProbe, training: Mapping[str, Any]) -> Effect:
    """Training and validation losses (epochs, 2), and logits (n, K) of the weights kept; NaN where training diverges.

    Args:
        probe: what it is tried on.
        training: a complete `training` section.
    """
    chips, labels = probe.chips
    rows, one = np.arange(len(chips)), np.ones(len(probe.bands))
    settings = probe.in_miniature(training["end_to_end"])
    backbone = build_backbone(_MODEL, probe.bands, _WEIGHTS)
    blocks = backbone.encoder.encoder
    assert isinstance(blocks, nn.ModuleList), "TerraTorch keeps TerraMind's blocks in a list"
    backbone.encoder.encoder = blocks[:_BLOCKS]
    torch.manual_seed(0)
    model = TunedModel(backbone.encoder, PLAIN_DECODER, backbone.embedding, _CLASSES)
    make_trainable(model, training["tuning"], settings["lora"])
    as_they_are = Normaliser("none", 0 * one, one, 0 * one)
    packed = PackedChips(chips, labels, as_they_are, Augmentation(**settings["augmentation"]), seed=0)
    train, validation = np.split(rows, [-_VALIDATION])
    ones = np.ones(len(rows))
    data = ChipData(packed, [str(row) for row in rows], train, validation, lambda epoch: ones, workers=0)
    fixed = {"epochs": probe.shown_epochs, "batch_size": _BATCH, "drop_last": False, "precision": "32"}
    options, tuning = TrainingOptions.of({**training, **fixed}), EndToEndOptions.of(settings)
    loss = build_loss(PLAIN_LOSS, np.ones(_CLASSES), _CPU)
    module = EndToEnd(model, loss, data, options, tuning, 0, Callbacks(lambda: None, lambda row: None))
    with tempfile.TemporaryDirectory() as folder:
        progress = fit(module, _CPU, ResumeFile(Path(folder) / "state", "", math.inf))
    losses = np.array([[row["train_loss"], row["validation_nll"]] for row in progress.history])
    if progress.diverged:
        return [losses, np.array([math.nan])]
    kept = module.model if module.averaged is None else module.averaged.module
    kept.load_state_dict(progress.best_state, strict=False)
    return [losses, predict(kept, packed, rows, _CPU, "32", len(rows)).numpy()]


def tuning_treatments(tunings: Sequence[str], training: Mapping[str, Any], bands: Sequence[str]) -> Treatments:
    """The tunings of a grid, and `frozen`, with the study's options.

    Args:
        tunings: `lora`, `full` or both.
        training: a complete `training` section.
        bands: names in their order on disk.
    """
    probe = TuningProbe(bands, min(training["end_to_end"]["accumulate"], _ACCUMULATE), training["epochs"])
    return Treatments(
        {name: {**training, "tuning": name} for name in dict.fromkeys(["frozen", *tunings])},
        load_schema()["properties"]["training"],
        partial(effect_of_tuning, probe),
        "losses and logits",
        "training.tuning {}",
        "training.{}",
        # What a small learning rate learns in few steps is little; the same training gives the same bits.
        tolerance=1e-6,
        key_tolerance=0.0,
    )
