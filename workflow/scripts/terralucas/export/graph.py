"""The ensemble of the selected models as one graph of PyTorch, from the values in files of chips to probabilities."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from terralucas.backbones.terratorch_parts import terratorch_module
from terralucas.data.chips.reflectance import FILL
from terralucas.data.dataset import DN_PER_REFLECTANCE, DatasetSpec
from terralucas.data.normalisation import Normaliser
from terralucas.predict.ensemble import FROZEN, EncoderGroup, Ensemble, decode


@dataclass(frozen=True)
class ChipFormat:
    """What the values of a chip mean.

    Attributes:
        scale: value of a pixel with the reflectance 1.
        nodata: value of a missing pixel, in addition to NaN and infinity; None if there is none.
    """

    scale: float
    nodata: float | None

    @classmethod
    def of(cls, spec: DatasetSpec, *, has_tags: bool) -> ChipFormat:
        """Return the format of the chips of a study.

        Args:
            spec: description of the dataset.
            has_tags: whether its chips have tags of scale and offset. The nodata value is one of stored numbers, which
                tags change before a graph gets them: a missing 0 is then -0.1, and a valid value may be 0.
        """
        return cls(float(DN_PER_REFLECTANCE) if spec.unit == "dn" else 1.0, None if has_tags else spec.nodata)


class NormalisedInput(nn.Module):
    """Normalise chips as `terralucas.data.normalisation.Normaliser`, with constants in the unit of the chips.

    Args:
        normaliser: statistics in reflectance.
        chip_format: what the values of a chip mean.

    `forward` maps chips (n, bands, side, side) to chips of this shape; a pixel that is NaN, infinite or nodata becomes
    the mean of its band in the chips of the statistics.
    """

    mean: Tensor
    std: Tensor
    fill: Tensor

    def __init__(self, normaliser: Normaliser, chip_format: ChipFormat) -> None:
        super().__init__()
        self.nodata = chip_format.nodata
        for name in ("mean", "std", "fill"):
            value = torch.from_numpy(getattr(normaliser, name) * chip_format.scale)
            self.register_buffer(name, value.float().reshape(1, -1, 1, 1))

    def forward(self, chips: Tensor) -> Tensor:
        missing = ~torch.isfinite(chips)
        if self.nodata is not None:
            # As `are_nodata`, on which a graph cannot be traced.
            is_huge = abs(self.nodata) >= FILL
            missing = missing | (chips.abs() >= FILL if is_huge else chips == self.nodata)
        return (torch.where(missing, self.fill, chips) - self.mean) / self.std


class _Branch(nn.Module):
    """Models with one encoder and one normalisation."""

    def __init__(self, group: EncoderGroup, encoder: nn.Module, chip_format: ChipFormat) -> None:
        super().__init__()
        self.normalise = NormalisedInput(group.normaliser, chip_format)
        self.encoder = encoder
        # Copied without the encoder, which each model refers to.
        self.heads = nn.ModuleList(
            [copy.deepcopy(model, {id(group.encoder): nn.Identity()}) for model in group.models],
        )

    def forward(self, chips: Tensor) -> Tensor:
        outputs = self.encoder(self.normalise(chips))
        return torch.stack([decode(head, outputs) for head in self.heads], dim=1)  # type: ignore[arg-type]


class EnsembleGraph(nn.Module):
    """All models of an ensemble, with their normalisation.

    Args:
        ensemble: the models; they are copied.
        chip_format: what the values of a chip mean.

    `forward` maps chips (n, bands, side, side) in the unit of the study's files to logits (n, J, K) of the J models,
    and to the mean (n, K) of their probabilities.
    """

    def __init__(self, ensemble: Ensemble, chip_format: ChipFormat) -> None:
        super().__init__()
        encoders = [fix_side(encoder, ensemble.side_px) for encoder in plain_encoders(ensemble)]
        # Frozen encoders are one module, so that the graph holds their weights once, whatever the normalisation.
        branches = zip(ensemble.groups, itertools.cycle(encoders))
        self.branches = nn.ModuleList([_Branch(group, encoder, chip_format) for group, encoder in branches])
        members = [member for group in ensemble.groups for member in group.members]
        # Position of each model among the results of all branches.
        self.order = [members.index(member) for member in range(len(members))]
        self.eval().requires_grad_(False)

    def forward(self, chips: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.cat([branch(chips) for branch in self.branches], dim=1)
        if self.order != sorted(self.order):
            logits = logits[:, self.order]
        return logits, logits.softmax(dim=-1).mean(dim=1)


def has_one_encoder(ensemble: Ensemble) -> bool:
    """Return whether all models have the weights of one frozen encoder; tuned models have one each."""
    return bool(ensemble.runs[0].record["settings"]["training"].get("tuning", FROZEN) == FROZEN)


def plain_encoders(ensemble: Ensemble) -> list[nn.Module]:
    """Return a copy of the one frozen encoder, or of the tuned encoder of each group of models."""
    groups = ensemble.groups[:1] if has_one_encoder(ensemble) else ensemble.groups
    return [plain_encoder(group.encoder) for group in groups]


def plain_encoder(encoder: nn.Module) -> nn.Module:
    """Return a copy of an encoder with TerraMind's own layers: LoRA adapters become part of the weights.

    With adapters, W x + (α / r) B A x is computed (Hu et al. 2022); the copy has the weights W + (α / r) B A.
    """
    from peft import PeftModel

    encoder = copy.deepcopy(encoder)
    if not isinstance(encoder, PeftModel):
        return encoder
    merged: nn.Module = encoder.merge_and_unload()
    separate_layers = terratorch_module("terratorch.models.peft_utils").QKVSep
    # The adapters needed queries, keys and values apart; TerraMind computes them with one layer.
    for name, layer in list(merged.named_modules()):
        if isinstance(layer, separate_layers):
            parent, _, last = name.rpartition(".")
            setattr(merged.get_submodule(parent), last, _join_queries_keys_values(layer))
    return merged


def _join_queries_keys_values(layer: nn.Module) -> nn.Linear:
    parts: list[nn.Linear] = [layer.q_linear, layer.k_linear, layer.v_linear]  # type: ignore[list-item]
    has_bias = parts[0].bias is not None
    joined = nn.Linear(parts[0].in_features, sum(part.out_features for part in parts), bias=has_bias)
    joined.weight = nn.Parameter(torch.cat([part.weight for part in parts]))
    if has_bias:
        joined.bias = nn.Parameter(torch.cat([part.bias for part in parts]))
    return joined.requires_grad_(False)


def fix_side(encoder: nn.Module, side_px: int) -> nn.Module:
    """Store the position embeddings that TerraMind interpolates for chips of one side; return the changed encoder.

    The graph then has constants in the place of a bicubic interpolation, which runtimes compute with different digits.
    """
    interpolate = terratorch_module("terratorch.models.backbones.terramind.model.tm_utils").interpolate_pos_encoding
    for embedding in encoder.encoder_embeddings.values():  # type: ignore[operator]
        if embedding.image_size != (side_px, side_px):
            positions = embedding.pos_emb.clone()
            fixed = interpolate(positions, side_px, side_px, embedding.patch_size, embedding.dim_tokens)
            embedding.pos_emb, embedding.image_size = fixed.detach(), (side_px, side_px)
    return encoder
