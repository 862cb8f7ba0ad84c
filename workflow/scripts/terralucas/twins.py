"""Backbones that are one treatment under two names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from terralucas.errors import StudyError


def refuse_twins(backbone: str, record: Path, others: Mapping[str, Path]) -> None:
    """Stop where two backbones have the same weights: their difference would be noise.

    Of backbones that are fetched at the same time, the one that ends last sees both records.

    Args:
        backbone: name of the backbone whose weights were just recorded.
        record: its record, as `terralucas.weights.obtain` gives it.
        others: records of the backbones that differ from it in nothing but their weights, by name; those that are not
            there yet are passed over.

    Raises:
        StudyError: another record is of the same file, or of the same seed.
    """
    own = _identity(record)
    for other, path in others.items():
        if path.is_file() and _identity(path) == own:
            raise StudyError(
                f"The backbones {backbone!r} and {other!r} are one treatment under two names.",
                found=f"the same model with the same weights ({' '.join(map(str, own))})",
                expected="another model or other weights for each name of grid.backbones",
                remedy="correct backbones.<name>.weights, or leave one of the names out of the grid",
            )


def _identity(record: Path) -> tuple[str, str | int]:
    content = json.loads(record.read_text(encoding="utf-8"))
    return ("random seed", content["seed"]) if content["source"] == "random" else ("sha256", content["sha256"])
