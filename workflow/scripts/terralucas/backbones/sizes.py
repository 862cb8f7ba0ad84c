"""Sizes of TerraMind's encoders, by the last part of the model name."""

from __future__ import annotations

from terralucas.data.dataset import PATCH_PX

WIDTH = {"tiny": 192, "small": 384, "base": 768, "large": 1024}
DEPTH = {"tiny": 12, "small": 12, "base": 12, "large": 24}
PARAMETERS_M = {"tiny": 6, "small": 22, "base": 86, "large": 303}


def model_size(model: str) -> str:
    """Return tiny, small, base or large from a model name such as terramind_v1_base."""
    return model.rsplit("_", 1)[-1]


def tokens_per_side(side_px: int) -> int:
    """Return the number of tokens along one side of a chip; an incomplete patch counts as one token."""
    return -(-side_px // PATCH_PX)
