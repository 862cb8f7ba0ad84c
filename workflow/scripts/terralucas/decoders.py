"""Decoder and head on frozen tokens, with TerraTorch's architecture and parameter names.

A state dict moves to and from TerraTorch's `ScalarOutputModel`: `decoder.hidden_layer.*` is its `MLPDecoder`'s layer
and `head.head.2.*` its `ScalarHead`'s. The modules are rebuilt here because importing TerraTorch costs a run more time
than its training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class _Hidden(nn.Module):
    """A linear layer with ReLU on every token (TerraTorch's `MLPDecoder` on one layer's tokens)."""

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(embedding, hidden)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.hidden_layer(x))


class _ScalarHead(nn.Module):
    """Dropout and a linear layer on every token, class scores averaged over tokens (TerraTorch's `ScalarHead`)."""

    def __init__(self, width: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Identity(), nn.Dropout(dropout) if dropout > 0 else nn.Identity(), nn.Linear(width, n_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        scores = self.head(x)
        return scores.mean(dim=1) if scores.dim() == 3 else scores


class DecoderModel(nn.Module):
    """Class scores from a frozen backbone's features.

    Args:
        setting: an entry of `decoders`.
        embedding: width D of the backbone.
        n_classes: number of classes K.

    `forward` maps pooled vectors (n, D) (`pooling: mean`) or token grids (n, tokens, D) (`pooling: tokens`) to logits
    (n, K).
    """

    def __init__(self, setting: Mapping[str, Any], embedding: int, n_classes: int) -> None:
        super().__init__()
        hidden = embedding if setting["hidden"] == "embedding" else setting["hidden"]
        self.decoder = nn.Identity() if hidden is None else _Hidden(embedding, hidden)
        self.head = _ScalarHead(embedding if hidden is None else hidden, n_classes, setting["dropout"])

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.decoder(features))
