"""TerraMind's encoders in figures, by the last part of a model's name."""

from __future__ import annotations

WIDTH = {"tiny": 192, "small": 384, "base": 768, "large": 1024}
DEPTH = {"tiny": 12, "small": 12, "base": 12, "large": 24}
PARAMETERS_M = {"tiny": 6, "small": 22, "base": 86, "large": 303}
PATCH_PX = 16


def size_of(model: str) -> str:
    """tiny, small, base or large, of a name such as terramind_v1_base."""
    return model.rsplit("_", 1)[-1]


def tokens_of(side_px: int) -> int:
    """Tokens along a side of a chip, which is padded to whole patches."""
    return -(-side_px // PATCH_PX)
