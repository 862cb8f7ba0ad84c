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

from terralucas.backbones.checkpoint_files import is_zip
from terralucas.backbones.checkpoints import check_encoder
from terralucas.backbones.terratorch_parts import terramind_registry
from terralucas.errors import StudyError
from terralucas.files import real_path, sha256_of_file

logger = logging.getLogger(__name__)

MODALITY = "S2L2A"
# Side in pixels of the chips by which an encoder shows that it sees each band: two patches.
_SEEN_PX = 32


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
        StudyError: the checkpoint is missing or has changed since it was recorded, it does not fill the encoder, or the
            encoder does not see one of the bands.
    """
    registry = terramind_registry()
    # All of TerraTorch lowers this precision for its whole process: float32 products would use bfloat16 or TF32.
    torch.set_float32_matmul_precision("highest")
    arguments: dict[str, Any] = {"modalities": [MODALITY], "bands": {MODALITY: list(bands)}, "pretrained": False}
    if weights["source"] == "random":
        torch.manual_seed(weights["seed"])
        logger.warning("%s has random weights (seed %d); it is not pre-trained", model, weights["seed"])
    else:
        check_weights(model, weights)
        arguments["ckpt_path"] = weights["path"]
    # A checkpoint is several times larger than the encoder. With memory-mapping, only the needed weights are read.
    can_be_mapped = weights["source"] != "random" and is_zip(Path(weights["path"]))
    with serialization.patch("load.mmap", can_be_mapped):  # type: ignore[attr-defined]  # torch adds it when imported
        encoder = registry.build(model, **arguments).eval().requires_grad_(False)
    _require_seeing(encoder, bands, weights)
    return Backbone(encoder, int(encoder.out_channels[-1]))


@torch.inference_mode()
def _require_seeing(encoder: nn.Module, bands: Sequence[str], weights: Mapping[str, Any]) -> None:
    """Raise a StudyError if the tokens of an encoder do not change with one of the bands, or are no numbers."""

    def tokens(values: torch.Tensor) -> torch.Tensor:
        # One at a time: in a batch, equal chips may differ by rounding.
        return encoder(values)[-1]

    nothing = torch.zeros(1, len(bands), _SEEN_PX, _SEEN_PX)
    before = tokens(nothing)
    blind = []
    for number, band in enumerate(bands):
        changed = nothing.clone()
        changed[:, number] = 1.0
        if torch.equal(tokens(changed), before):
            blind.append(band)
    if torch.isfinite(before).all() and not blind:
        return
    raise StudyError(
        f"The weights {weights['path']} of the backbone cannot be used for the bands of the study.",
        found=f"the same tokens whatever the values of {', '.join(blind)}" if blind else "tokens that are no numbers",
        expected="weights that were trained with each of these bands",
        remedy="use other weights, or take these bands out of dataset.bands; a program that converts weights of fewer "
        "bands may have filled the others with zeros",
    )


def check_weights(model: str, weights: Mapping[str, Any]) -> bool:
    """Raise an error if the file of a record has changed, or does not fill the encoder of a model for all bands.

    Returns:
        Whether the weights were ever trained.

    Args:
        model: name in TerraTorch's backbone registry.
        weights: a record of weights that are not random, as returned by `terralucas.backbones.weights.obtain`.

    Raises:
        StudyError: see `terralucas.backbones.checkpoints.check_encoder`.
    """
    path = Path(weights["path"])
    _check_file(path, weights)
    return check_encoder(terramind_registry().build(model, modalities=[MODALITY], pretrained=False), path, weights)


def _check_file(path: Path, weights: Mapping[str, Any]) -> None:
    """Raise an error if the file has changed since an earlier job recorded it: the record would name other weights."""
    found = sha256_of_file(path) if path.is_file() else "no file that this machine can read"
    if found != weights["sha256"]:
        remedy = "put the file back where every machine of the study can read it; if it is elsewhere now, set "
        remedy += "backbones.<name>.weights.path and start the study; or "
        if weights["source"] == "huggingface":
            remedy = ""
        # A link of the study leads to the user's own file.
        file = real_path(weights["path"]) if weights["source"] == "file" else path
        raise StudyError(
            f"The weights file {file} of the backbone is gone or has changed since it was recorded.",
            found=found,
            expected=f"sha256 {weights['sha256']}",
            remedy=f"{remedy}start snakemake --cores 1 --force -- results/<study>/weights/<backbone>.json in the "
            "folder of the project: it fetches a download again and records the weights as they are; what was made of "
            "other weights is then made again",
        )
