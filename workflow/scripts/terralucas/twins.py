"""Backbones that are one treatment under two names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from terralucas.backbone import build_backbone
from terralucas.errors import StudyError


def refuse_twins(backbone: str, record: Path, others: Mapping[str, Path], model: str, bands: Sequence[str]) -> None:
    """Stop where two backbones have the same weights: their difference would be noise.

    Of backbones that are fetched at the same time, the one that ends last sees both records.

    Args:
        backbone: name of the backbone whose weights were just recorded.
        record: its record, as `terralucas.weights.obtain` gives it.
        others: records of the backbones that differ from it in nothing but their weights, by name; those that are not
            there yet are passed over.
        model: of all of them, a name in TerraTorch's backbone registry.
        bands: names in their order in the input.

    Raises:
        StudyError: another record is of the same file or seed, or its encoder has the same weights; or a checkpoint
            does not fill the encoder.
    """
    own = json.loads(record.read_text(encoding="utf-8"))
    for other, path in others.items():
        if path.is_file() and (same := _same(own, json.loads(path.read_text(encoding="utf-8")), model, bands)):
            raise StudyError(
                f"The backbones {backbone!r} and {other!r} are one treatment under two names.",
                found=f"the same model with the same weights ({same})",
                expected="another model or other weights for each name of grid.backbones",
                remedy="correct backbones.<name>.weights, or leave one of the names out of the grid",
            )


def _same(own: Mapping[str, Any], other: Mapping[str, Any], model: str, bands: Sequence[str]) -> str:
    """What two weights have in common, in words; empty if they differ."""
    identity = _identity(own)
    if identity == _identity(other):
        return identity
    if own["source"] == other["source"] == "random":
        return ""
    # Two files may hold one encoder: one is a copy that was saved again.
    a, b = (build_backbone(model, bands, weights).encoder.state_dict() for weights in (own, other))
    is_same = all(torch.equal(value, b[name]) for name, value in a.items())
    return f"{identity} and {_identity(other)} hold the same encoder" if is_same else ""


def _identity(weights: Mapping[str, Any]) -> str:
    return f"random seed {weights['seed']}" if weights["source"] == "random" else f"sha256 {weights['sha256']}"
