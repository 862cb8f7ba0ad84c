"""The same model in TerraTorch's own configuration, where TerraTorch has its decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from terralucas.backbones.encoder import MODALITY
from terralucas.training.trained_run import TrainedRun

FACTORY = "EncoderDecoderFactory"
# Of chips, in pixels: twice TerraMind's patch.
_SIDES = 32


@dataclass(frozen=True)
class TerraTorchModel:
    """What TerraTorch builds the model from, or why it cannot.

    Attributes:
        configuration: section `model` of a TerraTorch configuration; None if TerraTorch has no equal decoder.
        reason: why there is none; None if there is one.
    """

    configuration: Mapping[str, Any] | None
    reason: str | None = None


def describe_for_terratorch(run: TrainedRun, side_px: int) -> TerraTorchModel:
    """Describe the model of a run as TerraTorch's `ClassificationTask`, whose weights have the same names.

    TerraTorch's heads average logits over all tokens, and its MLP is as wide as the embedding and works on each token.

    Args:
        run: a trained run.
        side_px: side of its chips. TerraTorch mirrors the borders of other chips than those of a multiple of 32 px, and
            its configuration has no key to switch that off for TerraMind.
    """
    if side_px % _SIDES:
        return TerraTorchModel(
            None, f"TerraTorch enlarges chips of {side_px} px to a multiple of {_SIDES} px by mirroring their borders"
        )
    setting = run.model.setting
    channels: list[int] = run.model.encoder.out_channels  # type: ignore[assignment]  # TerraTorch sets it
    problem = _find_difference(setting, channels[-1], "head.head.2.bias" in run.model.state_dict())
    if problem is not None:
        return TerraTorchModel(None, problem)
    layer = (setting.get("layers") or [len(channels)])[0] - 1
    select = {"name": "SelectIndices", "indices": [layer]}
    if setting["hidden"] is None:
        decoder: dict[str, Any] = {"decoder": "IdentityDecoder"}
        necks = [select, {"name": "AggregateTokens", "pooling": "mean"}]
    else:
        decoder = {"decoder": "MLPDecoder"}
        necks = [select, {"name": "ReshapeTokensToImage", "remove_cls_token": False}]
    source = run.record["features"]
    arguments = {
        "backbone": source["model"],
        "backbone_pretrained": False,
        "backbone_modalities": [MODALITY],
        "backbone_bands": {MODALITY: list(run.bands)},
        "necks": necks,
        **decoder,
        "head_dropout": float(setting["dropout"]),
        "num_classes": len(run.classes),
    }
    return TerraTorchModel(
        {
            "class_path": "terratorch.tasks.ClassificationTask",
            "init_args": {"model_factory": FACTORY, "model_args": arguments, "loss": "ce"},
        }
    )


def _find_difference(setting: Mapping[str, Any], width: int, has_linear_head: bool) -> str | None:
    """Return what TerraTorch's decoders cannot do of a decoder on tokens of a width; None if there is an equal one."""
    pooling, hidden = setting["pooling"], setting["hidden"]
    if pooling in ("attention", "center"):
        return f"TerraTorch has no decoder with the pooling {pooling}"
    if len(setting.get("layers") or []) > 1:
        return "TerraTorch's decoders read several layers in another way"
    if not has_linear_head:
        return "TerraTorch has no head with normalised weights"
    if hidden not in (None, "embedding", width):
        return f"TerraTorch's MLP is as wide as the embedding ({width}), and not {hidden}"
    if hidden is not None and pooling == "mean":
        return "TerraTorch's MLP works on tokens, and not on their mean"
    return None
