"""Decoder and head on frozen tokens, with TerraTorch's architecture and parameter names.

A state dict moves to and from TerraTorch's `ScalarOutputModel`: `decoder.hidden_layer.*` is its `MLPDecoder`'s layer
and `head.head.2.*` its `ScalarHead`'s. The modules are rebuilt here because importing TerraTorch costs a run more time
than its training. TerraTorch has no pooling by attention (`attention.query`) and no normalised head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from terralucas.errors import StudyError


def central_tokens(n_tokens: int, window: int) -> list[int]:
    """Numbers of the tokens around the middle of a chip, where the labelled point is.

    A window of w of a grid of s × s tokens begins at row and column (s − w) div 2. It lies around the middle where both
    are even or both are odd; otherwise half a token towards the upper left.

    Args:
        n_tokens: tokens of a chip, s².
        window: side w of the window in tokens.

    Returns:
        w² numbers, row by row.

    Raises:
        StudyError: the window is larger than the grid.
    """
    side = math.isqrt(n_tokens)
    if window > side:
        raise StudyError(
            "A decoder's window is larger than the grid of tokens.",
            found=f"window: {window} for chips of {side} × {side} tokens",
            remedy=f"set decoders.<name>.window to {side} or less",
        )
    first = (side - window) // 2
    return [row * side + column for row in range(first, first + window) for column in range(first, first + window)]


def read_tokens(setting: Mapping[str, Any], tokens: Tensor) -> Tensor:
    """What a decoder reads of a token grid.

    Args:
        setting: an entry of `decoders`.
        tokens: (n, tokens, D).

    Returns:
        (n, D) for `mean` (of all tokens) and `center` (of the window's), otherwise the tokens themselves.

    Raises:
        StudyError: the window is larger than the grid.
    """
    if setting["pooling"] == "mean":
        return tokens.mean(dim=1)
    if setting["pooling"] == "center":
        return tokens[:, central_tokens(tokens.shape[1], setting["window"])].mean(dim=1)
    return tokens


class _Attention(nn.Module):
    """Mean of the tokens x_t weighted by softmax(q·x_t / √D), with one learned query q.

    Scaled dot-product attention (Vaswani et al. 2017, eq. 1) with the tokens as keys and values. The query starts at
    zero, so that training starts from the mean.
    """

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(embedding))

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(x @ self.query / math.sqrt(x.shape[-1]), dim=1)
        return (weights[..., None] * x).sum(dim=1)


class _Hidden(nn.Module):
    """A linear layer with ReLU on every token (TerraTorch's `MLPDecoder` on one layer's tokens)."""

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(embedding, hidden)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.hidden_layer(x))


class _Cosine(nn.Linear):
    """s cos(w_c, x): class scores of normalised weights and vectors, without bias (Cao et al. 2019)."""

    def __init__(self, width: int, n_classes: int, scale: float) -> None:
        super().__init__(width, n_classes, bias=False)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * functional.linear(functional.normalize(x, dim=-1), functional.normalize(self.weight, dim=1))


class _Dropout(nn.Dropout):
    """Dropout that on a CPU takes four elements of its mask from each random number.

    PyTorch's own draws a number for each, which is a sixth to a quarter of an MLP's step, and other masks on CPUs of
    another maker. The rate is rounded to a multiple of 2⁻¹⁶.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        bounds = torch.iinfo(torch.int16)
        steps = bounds.max - bounds.min + 1
        dropped = min(round(self.p * steps), steps - 1)
        numbers = torch.empty(math.ceil(x.numel() / 4), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
        is_kept = numbers.view(torch.int16)[: x.numel()].view(x.shape) >= bounds.min + dropped
        return x * is_kept.to(x.dtype).div_(1 - dropped / steps)


class _ScalarHead(nn.Module):
    """Dropout and a linear layer on every token, class scores averaged over tokens (TerraTorch's `ScalarHead`)."""

    def __init__(self, width: int, n_classes: int, dropout: float, cosine_scale: float | None) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Identity(),
            _Dropout(dropout) if dropout > 0 else nn.Identity(),
            nn.Linear(width, n_classes) if cosine_scale is None else _Cosine(width, n_classes, cosine_scale),
        )

    def forward(self, x: Tensor) -> Tensor:
        _, dropout, scores = self.head
        x = dropout(x)
        if x.dim() == 3 and isinstance(scores, _Cosine):
            return scores(x).mean(dim=1)
        # The mean of a linear layer's scores is the layer's score of the mean, at a fraction of the work.
        return scores(x.mean(dim=1) if x.dim() == 3 else x)


class DecoderModel(nn.Module):
    """Class scores from a frozen backbone's features.

    Args:
        setting: an entry of `decoders`.
        embedding: width D of the features.
        n_classes: number of classes K.
        cosine_scale: the scale s of a normalised head, which gives s cos(w_c, x); None for a linear head.

    `forward` maps what `read_tokens` gives, vectors (n, D) or token grids (n, tokens, D), to logits (n, K).
    """

    def __init__(
        self, setting: Mapping[str, Any], embedding: int, n_classes: int, cosine_scale: float | None = None
    ) -> None:
        super().__init__()
        hidden = embedding if setting["hidden"] == "embedding" else setting["hidden"]
        self.attention = _Attention(embedding) if setting["pooling"] == "attention" else nn.Identity()
        self.decoder = nn.Identity() if hidden is None else _Hidden(embedding, hidden)
        self.head = _ScalarHead(embedding if hidden is None else hidden, n_classes, setting["dropout"], cosine_scale)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.decoder(self.attention(features)))
