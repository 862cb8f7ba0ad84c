"""Backbones that are one treatment under two names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from terralucas.backbones.encoder import build_backbone
from terralucas.backbones.weights import is_of
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file


def refuse_duplicates(
    backbone: str,
    record: Path,
    others: Mapping[str, tuple[Path, Mapping[str, Any]]],
    model: str,
    bands: Sequence[str],
) -> None:
    """Stop where two backbones have the same weights: their difference would be noise.

    Of backbones that are fetched at the same time, the one that ends last sees both records.

    Args:
        backbone: name of the backbone whose weights were just recorded.
        record: its record, as `weights.obtain` gives it; removed where it is refused, so that it does not
            count as fetched when the study is started again.
        others: of the backbones that differ from it in nothing but their weights, by name: their records, and the
            weights the configuration gives them. Records that are not there yet, or of what they had before, are passed
            over; those backbones are compared when theirs are made.
        model: of all of them, a name in TerraTorch's backbone registry.
        bands: names in their order in the input.

    Raises:
        StudyError: another record is of the same file or seed, or its encoder has the same weights; or a checkpoint
            does not fill the encoder.
    """
    try:
        own = json.loads(record.read_text(encoding="utf-8"))
        for other, weights in _current(others):
            if same := _same(own, weights, model, bands):
                raise StudyError(
                    f"The backbones {backbone!r} and {other!r} are one treatment under two names.",
                    found=f"the same model with the same weights ({same})",
                    expected="another model or other weights for each name of grid.backbones",
                    remedy="correct backbones.<name>.weights, or leave one of the names out of the grid",
                )
    except StudyError:
        record.unlink()
        raise


def _current(others: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and records of those that are there, of what the configuration says and of files as they were recorded."""
    for name, (path, weights) in others.items():
        if not path.is_file():
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        if is_of(record, weights) and (record["path"] is None or _is_as_recorded(record)):
            yield name, record


def _is_as_recorded(record: Mapping[str, Any]) -> bool:
    path = Path(record["path"])
    return path.is_file() and sha256_of_file(path) == record["sha256"]


def _same(own: Mapping[str, Any], other: Mapping[str, Any], model: str, bands: Sequence[str]) -> str:
    """What two weights have in common, in words; empty if they differ."""
    identity = _identity(own)
    if identity == _identity(other):
        return identity
    if own["source"] == other["source"] == "random":
        return ""
    # Two files may hold one encoder: one is a copy that was saved again.
    if _encoder(own, model, bands) != _encoder(other, model, bands):
        return ""
    return f"{identity} and {_identity(other)} hold the same encoder"


def _encoder(weights: Mapping[str, Any], model: str, bands: Sequence[str]) -> str:
    """Fingerprint of all weights of an encoder, so that two large ones need not be in memory together."""
    digest = hashlib.sha256()
    for name, value in build_backbone(model, bands, weights).encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy())
    return digest.hexdigest()


def _identity(weights: Mapping[str, Any]) -> str:
    return f"random seed {weights['seed']}" if weights["source"] == "random" else f"sha256 {weights['sha256']}"
