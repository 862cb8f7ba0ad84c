"""Find backbones that have different names but the same weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from terralucas.backbones.encoder import build_backbone
from terralucas.backbones.weights import matches_configuration
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.stored import read_json


def refuse_duplicates(
    backbone: str,
    own: Mapping[str, Any],
    others: Mapping[str, tuple[Path, Mapping[str, Any]]],
    model: str,
    bands: Sequence[str],
) -> None:
    """Raise an error if two backbones have the same weights: the difference of their scores would be noise.

    Args:
        backbone: name of the backbone whose weights were just fetched.
        own: record of its weights, as returned by `weights.obtain`.
        others: for each backbone that differs from this one only in its weights, by name: the path of its record, and
            the weights in the configuration. Missing and outdated records are ignored; their backbones are compared
            when their weights are recorded.
        model: model of all these backbones, a name in TerraTorch's backbone registry.
        bands: names of the bands in their order in the input.

    Raises:
        StudyError: another backbone has the same file, the same seed or the same encoder weights; or a checkpoint does
            not contain all weights of the encoder.
    """
    for other, weights in _read_current_records(others):
        if reason := _describe_equality(own, weights, model, bands):
            raise StudyError(
                f"The backbones {backbone!r} and {other!r} are one treatment: they have the same weights.",
                found=f"the same model with the same weights ({reason})",
                expected="a different model or different weights for each name in grid.backbones",
                remedy="correct backbones.<name>.weights, or remove one of the names from the grid",
            )


def _read_current_records(
    others: Mapping[str, tuple[Path, Mapping[str, Any]]],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and record of each backbone whose record exists and agrees with the configuration and its file."""
    for name, (path, weights) in others.items():
        if not path.is_file():
            continue
        record = read_json(path)
        if matches_configuration(record, weights) and (record["path"] is None or _is_file_unchanged(record)):
            yield name, record


def _is_file_unchanged(record: Mapping[str, Any]) -> bool:
    path = Path(record["path"])
    return path.is_file() and sha256_of_file(path) == record["sha256"]


def _describe_equality(own: Mapping[str, Any], other: Mapping[str, Any], model: str, bands: Sequence[str]) -> str:
    """Return why two records are of the same weights, for a message; an empty text if their weights differ."""
    origin = _describe_origin(own)
    if origin == _describe_origin(other):
        return origin
    if own["source"] == other["source"] == "random":
        return ""
    # Two different files may contain the same encoder, if one was loaded and saved again.
    if _hash_encoder(own, model, bands) != _hash_encoder(other, model, bands):
        return ""
    return f"{origin} and {_describe_origin(other)} hold the same encoder"


def _hash_encoder(weights: Mapping[str, Any], model: str, bands: Sequence[str]) -> str:
    """Return the SHA-256 of all weights of an encoder, so that two large encoders need not be in memory together."""
    digest = hashlib.sha256()
    for name, value in build_backbone(model, bands, weights).encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy())
    return digest.hexdigest()


def _describe_origin(weights: Mapping[str, Any]) -> str:
    return f"random seed {weights['seed']}" if weights["source"] == "random" else f"sha256 {weights['sha256']}"
