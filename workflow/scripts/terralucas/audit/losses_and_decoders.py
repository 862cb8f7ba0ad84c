"""What losses and decoders do, on random features of the study's widths with labels in the proportions of its chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from terralucas.audit.treatments import PLAIN_DECODER, PLAIN_LOSS, Effect, Treatments
from terralucas.backbones.feature_kinds import kind_of_features, layers_of
from terralucas.backbones.sizes import DEPTH, PATCH_PX, WIDTH, size_of, tokens_of
from terralucas.study.schema import load_schema
from terralucas.training.decoders import DecoderModel, read_tokens
from terralucas.training.losses import Loss, build_loss, class_weights, head_scale, start_epoch

# Chips that decoders are tried on, with all their tokens.
_FEW = 4


@dataclass(frozen=True)
class Probe:
    """What settings are tried on.

    Attributes:
        labels: (n,) class indices of all chips of the study.
        n_classes: K.
        side_px: side of a chip.
        models: names of the backbones' models.
        epochs: epochs of a run.
        losses: all of the grid, whose heads decoders are tried with.
    """

    labels: np.ndarray
    n_classes: int
    side_px: int
    models: tuple[str, ...]
    epochs: int
    losses: tuple[Mapping[str, Any], ...]

    @property
    def batch(self) -> np.ndarray:
        """Labels (3 K,): one chip of each class, and others in the proportions of the study."""
        drawn = np.random.default_rng(0).choice(self.labels, 2 * self.n_classes)
        return np.concatenate([np.arange(self.n_classes), drawn])

    def tokens(self, n: int, model: str, decoder: Mapping[str, Any]) -> torch.Tensor:
        """Random tokens (n, tokens, D) of the layers a decoder reads; a layer is the same for every decoder.

        Tokens of a chip have something in common, or their means would be close to zero.
        """
        size = size_of(model)
        shape = (n, tokens_of(self.side_px) ** 2, WIDTH[size])
        layers = layers_of(kind_of_features(decoder)) or [DEPTH[size]]
        drawn = []
        for layer in layers:
            random = np.random.default_rng([1, layer])
            drawn.append(sum(random.standard_normal(each, dtype=np.float32) for each in (shape, (n, 1, shape[-1]))))
        return torch.from_numpy(np.concatenate(drawn, axis=-1))


def effect_of_loss(probe: Probe, epochs: Sequence[int], setting: Mapping[str, Any]) -> Effect:
    """What a loss does to a plain head in some epochs of a run; arrays as `_effect` gives them."""
    counts = np.bincount(probe.labels, minlength=probe.n_classes)
    weights = class_weights(setting.get("class_weights", "none"), probe.labels, probe.n_classes, setting.get("beta"))
    loss = build_loss(setting, weights, torch.device("cpu"), counts)
    # Chips of one token: a plain head reads no more.
    small = replace(probe, side_px=PATCH_PX)
    return [
        array
        for epoch in epochs
        for array in _effect(small, loss, epoch, PLAIN_DECODER, probe.models[0], probe.batch, head_scale(setting))
    ]


def effect_of_decoder(probe: Probe, setting: Mapping[str, Any]) -> Effect:
    """What a decoder does with the features of every model and the heads of all losses, under plain cross-entropy."""
    loss = build_loss(PLAIN_LOSS, np.ones(probe.n_classes), torch.device("cpu"))
    return [
        array
        for model in dict.fromkeys(probe.models)
        for scale in dict.fromkeys(head_scale(each) for each in probe.losses)
        for array in _effect(probe, loss, 1, setting, model, probe.batch[:_FEW], scale)
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
    """The initial parameters, the value of the loss on a batch, and its gradients."""
    features = read_tokens(decoder, probe.tokens(len(labels), model, decoder))
    # The same initial weights and the same dropout for all, as far as shapes allow. torch.manual_seed would also note
    # the whole stack for a GPU that is not used, which takes longer than all the rest.
    torch.default_generator.manual_seed(0)
    head = DecoderModel(decoder, features.shape[-1], probe.n_classes, cosine_scale).train()
    start_epoch(loss, epoch)
    torch.default_generator.manual_seed(0)
    value = loss(head(features), torch.from_numpy(labels))
    parameters = list(head.parameters())
    return [tensor.detach().numpy() for tensor in (*parameters, value, *torch.autograd.grad(value, parameters))]


def losses_or_decoders(section: str, name: str, settings: Mapping[str, Mapping[str, Any]], probe: Probe) -> Treatments:
    """The losses or decoders of a grid.

    Args:
        section: `losses` or `decoders`.
        name: of the one to be audited.
        settings: all of the grid's section, by name.
        probe: what they are tried on.
    """
    effect = partial(effect_of_decoder, probe)
    if section == "losses":
        # Beside the first epoch and the last, those in which a loss of the grid changes.
        changes = {setting["drw_epoch"] for setting in settings.values() if "drw_epoch" in setting}
        effect = partial(
            effect_of_loss, probe, sorted({min(each, probe.epochs) for each in {1, probe.epochs, *changes}})
        )
    return Treatments(
        settings,
        load_schema()["properties"][section]["additionalProperties"],
        effect,
        "loss, gradients and parameters",
        f"{section}.{{}}",
        f"{section}.{name}.{{}}",
    )
