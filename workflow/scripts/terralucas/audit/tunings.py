"""Measure the effects of the tunings and their options in a short test run: a small encoder, few chips, few epochs."""

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

# The smallest encoder, of which only the first blocks are used. The code of the options is the same for all models.
_MODEL, _BLOCKS = "terramind_v1_tiny", 2
_WEIGHTS = {"source": "random", "seed": 0}
# Each chip has 2 × 2 tokens: with one token, attention would have no effect.
_SIDE_PX = 32
_CLASSES = 5
_BATCH = 2
_VALIDATION = 3
# Largest number of epochs: enough for early stopping. Smallest number of steps: enough for adapters, which start at
# zero, to have an effect.
_EPOCHS, _STEPS = 12, 24
# Largest number of batches in a step; more would only take longer.
_ACCUMULATE = 4
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class TuningProbe:
    """The data on which tunings are tried.

    Attributes:
        bands: names of the bands in their order on disk.
        accumulate: number of batches in a step of the test run; it decides the number of chips.
        epochs: number of epochs of a run of the study.
    """

    bands: Sequence[str]
    accumulate: int
    epochs: int

    @property
    def test_epochs(self) -> int:
        """Number of epochs of the test run."""
        return min(self.epochs, _EPOCHS)

    @property
    def chips(self) -> tuple[np.ndarray, np.ndarray]:
        """Chips (n, bands, side, side) and labels (n,): training chips for whole steps plus one, then validation."""
        steps = max(3, math.ceil(_STEPS / self.test_epochs))
        n = steps * self.accumulate * _BATCH + 1
        random = np.random.default_rng(0)
        # The class of the validation chips has no training chips. So the first epoch stays the best one, and early
        # stopping has an effect.
        labels = np.append(random.integers(0, _CLASSES - 1, n), np.full(_VALIDATION, _CLASSES - 1))
        return random.standard_normal((len(labels), len(self.bands), _SIDE_PX, _SIDE_PX), dtype=np.float32), labels

    def adapt_options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return `training.end_to_end` for the test run: the same share of warm-up, and a patience that can stop it."""
        warmup, patience = settings["warmup_epochs"], settings["early_stopping_patience"]
        return {
            **settings,
            "warmup_epochs": warmup * self.test_epochs / self.epochs,
            "early_stopping_patience": patience and min(patience, max(1, self.test_epochs - 2)),
            "accumulate": min(settings["accumulate"], _ACCUMULATE),
            # Compiling takes minutes, and should change no result except the dropout masks of adapters.
            "compile": False,
        }


def effect_of_tuning(probe: TuningProbe, training: Mapping[str, Any]) -> Effect:
    """Train and validate a tuned model in a short test run.

    Args:
        probe: the data for the test run.
        training: a complete `training` section.

    Returns:
        Training and validation losses (epochs, 2), and the logits (n, K) of the best weights; instead of the logits,
        NaN if training diverged.
    """
    chips, labels = probe.chips
    rows, one = np.arange(len(chips)), np.ones(len(probe.bands))
    settings = probe.adapt_options(training["end_to_end"])
    backbone = build_backbone(_MODEL, probe.bands, _WEIGHTS)
    blocks = backbone.encoder.encoder
    assert isinstance(blocks, nn.ModuleList), "TerraTorch keeps TerraMind's blocks in a list"
    backbone.encoder.encoder = blocks[:_BLOCKS]
    torch.manual_seed(0)
    model = TunedModel(backbone.encoder, PLAIN_DECODER, backbone.embedding, _CLASSES)
    make_trainable(model, training["tuning"], settings["lora"])
    identity = Normaliser("none", 0 * one, one, 0 * one)
    packed = PackedChips(chips, labels, identity, Augmentation(**settings["augmentation"]), seed=0)
    train, validation = np.split(rows, [-_VALIDATION])
    ones = np.ones(len(rows))
    data = ChipData(packed, [str(row) for row in rows], train, validation, lambda epoch: ones, workers=0)
    fixed = {"epochs": probe.test_epochs, "batch_size": _BATCH, "drop_last": False, "precision": "32"}
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
    """Return the tunings of a grid and `frozen` as treatments to compare, with the options of the study.

    Args:
        tunings: `lora`, `full` or both.
        training: a complete `training` section.
        bands: names of the bands in their order on disk.
    """
    probe = TuningProbe(bands, min(training["end_to_end"]["accumulate"], _ACCUMULATE), training["epochs"])
    return Treatments(
        {name: {**training, "tuning": name} for name in dict.fromkeys(["frozen", *tunings])},
        load_schema()["properties"]["training"],
        partial(effect_of_tuning, probe),
        "losses and logits",
        "training.tuning {}",
        "training.{}",
        # A small learning rate changes little in few steps. The same training gives the same bits.
        tolerance=1e-6,
        key_tolerance=0.0,
    )
