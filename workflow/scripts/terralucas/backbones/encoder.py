"""Build the frozen TerraMind encoder with TerraTorch, after checking its checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.serialization import config as serialization

from terralucas.errors import StudyError
from terralucas.files import sha256_of_file

logger = logging.getLogger(__name__)

MODALITY = "S2L2A"


@dataclass(frozen=True)
class Backbone:
    """A frozen encoder in evaluation mode.

    Attributes:
        encoder: maps (n, bands, H, W) to a list of token grids (n, tokens, D), one for each layer.
        embedding: width D of a token.
    """

    encoder: nn.Module
    embedding: int


def build_backbone(model: str, bands: Sequence[str], weights: Mapping[str, Any]) -> Backbone:
    """Build a TerraMind encoder for the given bands.

    Args:
        model: name in TerraTorch's backbone registry.
        bands: names of the bands in their order in the input; each band uses its own part of the patch embedding.
        weights: a record, as returned by `terralucas.backbones.weights.obtain`.

    Raises:
        StudyError: the checkpoint is missing or has changed since it was recorded, or it does not contain all weights
            of the encoder with their shapes.
    """
    # Importing TerraTorch takes seconds; frozen runs do not need it.
    from terratorch.registry import BACKBONE_REGISTRY

    # Importing TerraTorch lowers this precision for the whole process: float32 products would use bfloat16 or TF32.
    torch.set_float32_matmul_precision("highest")
    arguments: dict[str, Any] = {"modalities": [MODALITY], "bands": {MODALITY: list(bands)}, "pretrained": False}
    if weights["source"] == "random":
        torch.manual_seed(weights["seed"])
        logger.warning("%s has random weights (seed %d); it is not pre-trained", model, weights["seed"])
    else:
        _check_file(Path(weights["path"]), weights["sha256"])
        _check_checkpoint(BACKBONE_REGISTRY.build(model, modalities=[MODALITY], pretrained=False), weights["path"])
        arguments["ckpt_path"] = weights["path"]
    # A checkpoint is several times larger than the encoder. With memory-mapping, only the needed weights are read.
    with serialization.patch("load.mmap", True):  # type: ignore[attr-defined]  # torch adds it when imported
        encoder = BACKBONE_REGISTRY.build(model, **arguments).eval().requires_grad_(False)
    return Backbone(encoder, int(encoder.out_channels[-1]))


def _check_file(path: Path, sha256: str) -> None:
    """Raise an error if the file has changed since an earlier job recorded it: the record would name other weights."""
    found = sha256_of_file(path) if path.is_file() else "no file"
    if found != sha256:
        raise StudyError(
            f"The weights file {path} of the backbone is gone or has changed since it was recorded.",
            found=found,
            expected=f"sha256 {sha256}",
            remedy="delete results/<study>/weights/<backbone>.json; the weights are then fetched and recorded again",
        )


def _check_checkpoint(encoder: nn.Module, path: str) -> None:
    """Raise an error if the checkpoint lacks a weight of the encoder for all bands; TerraTorch would only warn."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damaged files raise RuntimeError, UnpicklingError, EOFError and others
        raise StudyError(
            f"The weights file {path} of the backbone can't be read.",
            found=": ".join([type(error).__name__, *str(error).splitlines()[:1]]),
            expected="a state dict that torch.load(weights_only=True) can read",
            remedy="fetch the file again",
        ) from error
    # Buffers (the sine-cosine position embeddings) are computed and need not be in the checkpoint.
    missing = [name for name, _ in encoder.named_parameters() if name not in checkpoint]
    misfit = [
        f"{name} {tuple(checkpoint[name].shape)} instead of {tuple(value.shape)}"
        for name, value in encoder.named_parameters()
        if name in checkpoint and checkpoint[name].shape != value.shape
    ]
    if missing or misfit:
        raise StudyError(
            f"The checkpoint {path} does not contain all weights of the encoder; the others would stay random.",
            found=f"{len(missing)} weights missing ({', '.join(missing[:3])} …)" if missing else "; ".join(misfit[:3]),
            expected=f"all {sum(1 for _ in encoder.parameters())} weights of {type(encoder).__name__} for {MODALITY}",
            remedy="use the published TerraMind checkpoint of this model, or correct backbones.<name>.model",
        )
