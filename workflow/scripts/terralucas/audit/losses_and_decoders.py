"""Measure the effects of losses and decoders on random features.

The features have the widths of the backbones of the study; the labels have the class shares of its chips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from terralucas.audit.treatments import PLAIN_DECODER, PLAIN_LOSS, Effect, Treatments
from terralucas.backbones.feature_kinds import kind_of_features, layers_of
from terralucas.backbones.sizes import DEPTH, WIDTH, model_size, tokens_per_side
from terralucas.data.dataset import PATCH_PX
from terralucas.study.schema import load_schema
from terralucas.training.decoders import DecoderModel, read_tokens
from terralucas.training.losses import Loss, build_loss, class_weights, head_scale, start_epoch

# Number of chips on which decoders are tried, with all their tokens.
_DECODER_CHIPS = 4


@dataclass(frozen=True)
class Probe:
    """The data on which losses and decoders are tried.

    Attributes:
        labels: (n,) class indices of all chips of the study.
        n_classes: number of classes K.
        side_px: side of a chip in pixels.
        models: model names of the backbones.
        epochs: number of epochs of a run.
        losses: all losses of the grid; decoders are tried with the head of each loss.
    """

    labels: np.ndarray
    n_classes: int
    side_px: int
    models: tuple[str, ...]
    epochs: int
    losses: tuple[Mapping[str, Any], ...]

    @property
    def batch(self) -> np.ndarray:
        """Labels (3 K,): one chip of each class, then 2 K chips drawn with the class shares of the study."""
        drawn = np.random.default_rng(0).choice(self.labels, 2 * self.n_classes)
        return np.concatenate([np.arange(self.n_classes), drawn])

    def tokens(self, n: int, model: str, decoder: Mapping[str, Any]) -> torch.Tensor:
        """Return random tokens (n, tokens, D) of the layers that a decoder reads; all decoders get the same layers.

        All tokens of a chip share a random vector; without it, their mean would be close to zero.
        """
        size = model_size(model)
        shape = (n, tokens_per_side(self.side_px) ** 2, WIDTH[size])
        layers = layers_of(kind_of_features(decoder)) or [DEPTH[size]]
        drawn = []
        for layer in layers:
            random = np.random.default_rng([1, layer])
            of_tokens = random.standard_normal(shape, dtype=np.float32)
            drawn.append(of_tokens + random.standard_normal((n, 1, shape[-1]), dtype=np.float32))
        return torch.from_numpy(np.concatenate(drawn, axis=-1))


def effect_of_loss(probe: Probe, epochs: Sequence[int], setting: Mapping[str, Any]) -> Effect:
    """Return the effect of a loss on a linear head in the given epochs: the arrays of `_effect` for each epoch."""
    counts = np.bincount(probe.labels, minlength=probe.n_classes)
    weights = class_weights(setting.get("class_weights", "none"), probe.labels, probe.n_classes, setting.get("beta"))
    loss = build_loss(setting, weights, torch.device("cpu"), counts)
    # One token for each chip is enough, because the plain decoder reads only the mean token.
    small = replace(probe, side_px=PATCH_PX)
    return [
        array
        for epoch in epochs
        for array in _effect(small, loss, epoch, PLAIN_DECODER, probe.models[0], probe.batch, head_scale(setting))
    ]


def effect_of_decoder(probe: Probe, setting: Mapping[str, Any]) -> Effect:
    """Return the effect of a decoder for every model and the head of every loss, under plain cross-entropy."""
    loss = build_loss(PLAIN_LOSS, np.ones(probe.n_classes), torch.device("cpu"))
    return [
        array
        for model in dict.fromkeys(probe.models)
        for scale in dict.fromkeys(head_scale(each) for each in probe.losses)
        for array in _effect(probe, loss, 1, setting, model, probe.batch[:_DECODER_CHIPS], scale)
    ]


def _effect(
    probe: Probe,
    loss: Loss,
    epoch: int,
    decoder: Mapping[str, Any],
    model: str,
    labels: np.ndarray,
    cosine_scale: float | None,
) -> Effect:
    """Return the initial parameters of decoder and head, the loss of a batch, and the gradients of the loss."""
    features = read_tokens(decoder, probe.tokens(len(labels), model, decoder))
    # All settings start with the same weights and the same dropout mask, if their shapes are equal. `torch.manual_seed`
    # would also record a stack trace for CUDA, which takes longer than everything else here.
    torch.default_generator.manual_seed(0)
    head = DecoderModel(decoder, features.shape[-1], probe.n_classes, cosine_scale).train()
    start_epoch(loss, epoch)
    torch.default_generator.manual_seed(0)
    value = loss(head(features), torch.from_numpy(labels))
    parameters = list(head.parameters())
    return [tensor.detach().numpy() for tensor in (*parameters, value, *torch.autograd.grad(value, parameters))]


def loss_or_decoder_treatments(
    section: str, name: str, settings: Mapping[str, Mapping[str, Any]], probe: Probe
) -> Treatments:
    """Return all losses or all decoders of a grid as treatments to compare.

    Args:
        section: `losses` or `decoders`.
        name: name of the audited setting.
        settings: all settings of this section in the grid, by name.
        probe: the data on which they are tried.
    """
    effect = partial(effect_of_decoder, probe)
    if section == "losses":
        # The first and the last epoch, and each epoch in which a loss of the grid starts to use class weights.
        changes = {setting["drw_epoch"] for setting in settings.values() if "drw_epoch" in setting}
        epochs = sorted({min(epoch, probe.epochs) for epoch in {1, probe.epochs, *changes}})
        effect = partial(effect_of_loss, probe, epochs)
    counts = np.bincount(probe.labels, minlength=probe.n_classes)
    balanced = (
        ", because every class has the same number of chips, so that its weight is 1" if np.ptp(counts) == 0 else ""
    )
    return Treatments(
        settings,
        load_schema()["properties"][section]["additionalProperties"],
        effect,
        "loss, gradients and parameters",
        f"{section}.{{}}",
        f"{section}.{name}.{{}}",
        reasons={"class_weights": balanced},
    )
