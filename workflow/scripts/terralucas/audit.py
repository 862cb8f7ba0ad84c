"""Whether the names of a study are different treatments, and whether every key that is written changes something.

Each setting is built as a run builds it and tried on a probe: random features of the study's widths, with labels in the
proportions of its chips. Two settings are the same treatment where loss, gradients and parameters are equal. What is
found here is what a comparison of unknown treatments cannot tell from its scores: such as class weights that a loss
accepts and drops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from terralucas.decoders import DecoderModel, read_by
from terralucas.encoders import DEPTH, PATCH_PX, WIDTH, size_of, tokens_of
from terralucas.errors import StudyError
from terralucas.kinds import kind_of_features, layers_of
from terralucas.knobs import CHOICES, alternatives
from terralucas.losses import Loss, build_loss, class_weights, head_scale, start_epoch

# Far above the rounding of float32, far below what another setting does.
_TOLERANCE = 1e-4
_PLAIN_LOSS = {"type": "ce", "class_weights": "none", "reduction": "weighted_mean", "label_smoothing": 0.0}
_PLAIN_DECODER = {"pooling": "mean", "layers": None, "hidden": None, "dropout": 0.0}
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
    """

    labels: np.ndarray
    n_classes: int
    side_px: int
    models: tuple[str, ...]
    epochs: int

    @property
    def batch(self) -> np.ndarray:
        """Labels (3 K,): one chip of each class, and others in the proportions of the study."""
        drawn = np.random.default_rng(0).choice(self.labels, 2 * self.n_classes)
        return np.concatenate([np.arange(self.n_classes), drawn])

    def tokens(self, n: int, model: str, decoder: Mapping[str, Any]) -> torch.Tensor:
        """Random tokens (n, tokens, D) of the layers a decoder reads; a layer is the same for every decoder."""
        size = size_of(model)
        shape = (n, tokens_of(self.side_px) ** 2, WIDTH[size])
        layers = layers_of(kind_of_features(decoder)) or [DEPTH[size]]
        drawn = [np.random.default_rng([1, layer]).standard_normal(shape, dtype=np.float32) for layer in layers]
        return torch.from_numpy(np.concatenate(drawn, axis=-1))


def effect_of_loss(probe: Probe, setting: Mapping[str, Any]) -> list[np.ndarray]:
    """What a loss does to a plain head, in a run's first epoch and in its last; arrays as `_effect` gives them."""
    counts = np.bincount(probe.labels, minlength=probe.n_classes)
    weights = class_weights(setting.get("class_weights", "none"), probe.labels, probe.n_classes, setting.get("beta"))
    loss = build_loss(setting, weights, torch.device("cpu"), counts)
    # Chips of one token: the mean of many random ones would be close to zero.
    small = replace(probe, side_px=PATCH_PX)
    return [
        array
        for epoch in (1, probe.epochs)
        for array in _effect(small, loss, epoch, _PLAIN_DECODER, probe.models[0], probe.batch, head_scale(setting))
    ]


def effect_of_decoder(probe: Probe, setting: Mapping[str, Any]) -> list[np.ndarray]:
    """What a decoder does with the features of every model, under plain cross-entropy."""
    loss = build_loss(_PLAIN_LOSS, np.ones(probe.n_classes), torch.device("cpu"))
    return [
        array
        for model in dict.fromkeys(probe.models)
        for array in _effect(probe, loss, 1, setting, model, probe.batch[:_FEW], None)
    ]


def _effect(
    probe: Probe,
    loss: Loss,
    epoch: int,
    decoder: Mapping[str, Any],
    model: str,
    labels: np.ndarray,
    cosine_scale: float | None,
) -> list[np.ndarray]:
    """The initial parameters, the value of the loss on a batch, and its gradients."""
    features = read_by(decoder, probe.tokens(len(labels), model, decoder))
    # The same initial weights and the same dropout for all, as far as shapes allow. torch.manual_seed would also note
    # the whole stack for a GPU that is not used, which takes longer than all the rest.
    torch.default_generator.manual_seed(0)
    head = DecoderModel(decoder, features.shape[-1], probe.n_classes, cosine_scale).train()
    start_epoch(loss, epoch)
    torch.default_generator.manual_seed(0)
    value = loss(head(features), torch.from_numpy(labels))
    parameters = list(head.parameters())
    return [tensor.detach().numpy() for tensor in (*parameters, value, *torch.autograd.grad(value, parameters))]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    """Whether two effects are equal up to rounding, each array relative to its size."""
    return len(a) == len(b) and all(
        x.shape == y.shape and np.linalg.norm(x - y) <= _TOLERANCE * max(np.linalg.norm(x), np.linalg.norm(y))
        for x, y in zip(a, b, strict=True)
    )


def audit(
    section: str,
    name: str,
    settings: Mapping[str, Mapping[str, Any]],
    written: Iterable[str],
    probe: Probe,
) -> dict[str, Any]:
    """Try a setting against those it is compared with, and each of its keys against other values.

    Args:
        section: `losses` or `decoders`.
        name: of the setting.
        settings: all settings of the grid's section, by name.
        written: keys of the setting that the configuration writes down; defaults are not asked to do anything.
        probe: what they are tried on.

    Returns:
        A record: the names it differs from, and the keys that were found to change something.

    Raises:
        StudyError: the setting is the same treatment as another, or a key changes nothing.
    """
    # The sums are small: threads would only wait for each other.
    torch.set_num_threads(1)
    effect = {"losses": effect_of_loss, "decoders": effect_of_decoder}[section]
    setting, own = settings[name], effect(probe, settings[name])
    others = [other for other in settings if other != name]
    keys = [key for key in written if key not in CHOICES]
    problems = [
        f"it does the same as {section}.{other}: equal loss, gradients and parameters"
        for other in others
        if same(own, effect(probe, settings[other]))
    ]
    problems += [
        f"{section}.{name}.{key} is {setting[key]} and changes nothing: no other value changes loss, gradients or "
        "parameters"
        for key in keys
        if not any(_differs(own, effect, probe, changed) for changed in alternatives(section, setting, key))
    ]
    if problems:
        raise StudyError(
            f"The setting {section}.{name} is not what it says.",
            found="; ".join(problems),
            expected="something else from each name of the grid, and an effect of each key that is written",
            remedy="leave the key out or choose a type that uses it; give one treatment one name (docs/treatments.md)",
        )
    return {"differs_from": others, "keys_with_effect": keys}


def _differs(
    own: list[np.ndarray],
    effect: Callable[[Probe, Mapping[str, Any]], list[np.ndarray]],
    probe: Probe,
    changed: Mapping[str, Any],
) -> bool:
    try:
        return not same(own, effect(probe, changed))
    except StudyError:
        # It does not fit the study's chips, such as a window larger than the grid.
        return False
