"""Kinds of stored features, and which of them a decoder reads.

A kind is `pooled` (the mean over a chip's tokens) or `tokens` (all of them), of the encoder's last layer; or of
several layers side by side, as in `tokens-6-12`. Each kind is a pass and a file of its own, so that a decoder that
needs another one can join a study without making what it has again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def kind_of_features(decoder: Mapping[str, Any]) -> str:
    """The kind of features an entry of `decoders` reads."""
    base = "pooled" if decoder["pooling"] == "mean" else "tokens"
    return "-".join([base, *map(str, decoder.get("layers") or [])])


def is_pooled(kind: str) -> bool:
    """Whether a chip has one vector rather than one for each token."""
    return kind.partition("-")[0] == "pooled"


def layers_of(kind: str) -> list[int]:
    """Layers of a kind, counted from 1; none stands for the last one."""
    return [int(number) for number in kind.split("-")[1:]]


def read_layers(kind: str, outputs: Sequence[T]) -> list[T]:
    """Those of an encoder's layers that a kind puts side by side."""
    return [outputs[layer - 1] for layer in layers_of(kind)] or [outputs[-1]]
