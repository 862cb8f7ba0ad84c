"""Kinds of stored features, and the kind that each decoder reads.

The kind is `pooled` (the mean of the tokens of a chip) or `tokens` (all tokens) of the last layer of the encoder. With
layer numbers, as in `tokens-6-12`, it is the concatenation of the tokens of these layers. Each kind has its own job
and its own file, so that adding a decoder to a study does not repeat an earlier pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def kind_of_features(decoder: Mapping[str, Any]) -> str:
    """Return the kind of features that an entry of `decoders` reads."""
    base = "pooled" if decoder["pooling"] == "mean" else "tokens"
    return "-".join([base, *map(str, decoder.get("layers") or [])])


def is_pooled(kind: str) -> bool:
    """Return whether a chip has one vector, and not one vector for each token."""
    return kind.partition("-")[0] == "pooled"


def layers_of(kind: str) -> list[int]:
    """Return the layer numbers of a kind, counted from 1; an empty list means the last layer."""
    return [int(number) for number in kind.split("-")[1:]]


def read_layers(kind: str, outputs: Sequence[T]) -> list[T]:
    """Return the layer outputs of an encoder that a kind concatenates."""
    return [outputs[layer - 1] for layer in layers_of(kind)] or [outputs[-1]]
