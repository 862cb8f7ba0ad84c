"""Decoder and head on the tokens of a backbone, with TerraTorch's architecture and parameter names.

A state dict can be loaded into TerraTorch's `ScalarOutputModel`, and back: `decoder.hidden_layer.*` is the layer of its
`MLPDecoder`, and `head.head.2.*` the layer of its `ScalarHead`. The modules are implemented again here, because
importing TerraTorch takes longer than training a run. TerraTorch has no attention pooling (`attention.query`) and no
normalised head.
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
    """Return the numbers of the tokens around the centre of a chip, where the labelled point is.

    In a grid of s × s tokens, a window of w × w tokens starts at row and column (s − w) div 2. The window is exactly in
    the centre if s and w are both even or both odd. Otherwise it is half a token nearer to the upper left.

    Args:
        n_tokens: number of tokens of a chip, s².
        window: side w of the window, in tokens.

    Returns:
        w² token numbers, row by row.

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
    """Return the input of a decoder: the tokens, or their mean where the pooling has no weights to learn.

    Args:
        setting: an entry of `decoders`.
        tokens: (n, tokens, D).

    Returns:
        (n, D) for the pooling `mean` (of all tokens) and `center` (of the tokens in the window); otherwise `tokens`.

    Raises:
        StudyError: the window is larger than the grid.
    """
    if setting["pooling"] == "mean":
        return tokens.mean(dim=1)
    if setting["pooling"] == "center":
        return tokens[:, central_tokens(tokens.shape[1], setting["window"])].mean(dim=1)
    return tokens


class _Attention(nn.Module):
    """Mean of the tokens x_t with weights softmax(q·x_t / √D) and one learned query q.

    This is scaled dot-product attention (Vaswani et al. 2017, eq. 1) with the tokens as keys and values. The query is
    initialised with zeros, so that training starts with the unweighted mean.
    """

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(embedding))

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.softmax(x @ self.query / math.sqrt(x.shape[-1]), dim=1)
        return (weights[..., None] * x).sum(dim=1)


class _Hidden(nn.Module):
    """A linear layer with ReLU, applied to every token (TerraTorch's `MLPDecoder` on the tokens of one layer)."""

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(embedding, hidden)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.hidden_layer(x))


class _Cosine(nn.Linear):
    """A layer without bias whose logits are s cos(w_c, x) for the class weights w_c (Cao et al. 2019)."""

    def __init__(self, width: int, n_classes: int, scale: float) -> None:
        super().__init__(width, n_classes, bias=False)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * functional.linear(functional.normalize(x, dim=-1), functional.normalize(self.weight, dim=1))


class _Dropout(nn.Dropout):
    """Dropout that, on a CPU, takes four elements of its mask from one random number of 64 bits.

    PyTorch's dropout draws one random number for each element. That takes a sixth to a quarter of the time of a
    training step with an MLP, and gives different masks on CPUs of different manufacturers. Here the rate is rounded to
    a multiple of 2⁻¹⁶.
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
    """Dropout and a linear layer on every token; logits are averaged over the tokens (TerraTorch's `ScalarHead`)."""

    def __init__(self, width: int, n_classes: int, dropout: float, cosine_scale: float | None) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.Identity(),
            _Dropout(dropout) if dropout > 0 else nn.Identity(),
            nn.Linear(width, n_classes) if cosine_scale is None else _Cosine(width, n_classes, cosine_scale),
        )

    def forward(self, x: Tensor) -> Tensor:
        _, dropout, linear = self.head
        x = dropout(x)
        if x.dim() == 3 and isinstance(linear, _Cosine):
            return linear(x).mean(dim=1)
        # A linear layer gives the same mean logits if the tokens are averaged first, which is much less work.
        return linear(x.mean(dim=1) if x.dim() == 3 else x)


class DecoderModel(nn.Module):
    """A decoder with its head, which maps the features of a backbone to logits.

    Args:
        setting: an entry of `decoders`.
        embedding: width D of the features.
        n_classes: number of classes K.
        cosine_scale: scale s of a normalised head, whose logits are s cos(w_c, x); None for a linear head.

    `forward` maps the result of `read_tokens`, vectors (n, D) or tokens (n, tokens, D), to logits (n, K).
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
