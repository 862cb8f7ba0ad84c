"""Features that a job need not compute, because they are there already, or because another job's pass wrote them.

Each kind has a job of its own, so that a decoder that joins a study repeats no earlier pass. Where several kinds are
still to be computed, the first job passes the chips once for all of them, and the others wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from terralucas.files import sha256_of_file, write_json


def kinds_to_share(features: Path, kinds: Sequence[str], folder: Path, fingerprint: str) -> dict[str, Path]:
    """Return the other kinds that have no features of these chips yet, and where a pass writes them for their jobs.

    Args:
        features: the array that the job writes, `<kind>.npy`, of all chips or of a part.
        kinds: the kinds that the study needs of this backbone.
        folder: where the features of all chips are.
        fingerprint: of everything the features depend on.
    """
    return {
        kind: _shared_array(features.with_name(f"{kind}.npy"))
        for kind in kinds
        if kind != features.stem and fingerprint not in fingerprints_of(folder / f"{kind}.json")
    }


def fingerprints_of(record: Path) -> list[str | None]:
    """Return the fingerprint of the pass of some features, or those of the passes of their parts; empty without."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        return [part.get("fingerprint") for part in found.get("parts", [found])]
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def keep_record(array: Path, record: dict[str, Any], own: str, fingerprint: str) -> None:
    """Write the record of features of another kind, for its job.

    Args:
        array: the array of `kinds_to_share`.
        record: record of the features.
        own: kind of the job that passed the chips.
        fingerprint: of everything the features depend on.
    """
    write_json(array.with_suffix(".json"), {"fingerprint": fingerprint, "record": record | {"same_pass_as": own}})


def is_passed(features: Path, record: Path, fingerprint: str) -> bool:
    """Return whether the features of this very pass are there, whole, with their record.

    Args:
        features: the array that this job writes.
        record: its record, which names the fingerprint of its pass.
        fingerprint: of everything the features depend on.
    """
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        return found["fingerprint"] == fingerprint and found["sha256"] == sha256_of_file(features)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def take_over(features: Path, fingerprint: str) -> dict[str, Any] | None:
    """Move features that another job wrote for this one into place; return their record, or None if there are none.

    What was computed from other chips, weights, settings or code, or is damaged, is deleted.

    Args:
        features: the array that this job writes.
        fingerprint: of everything the features depend on.
    """
    array = _shared_array(features)
    path = array.with_suffix(".json")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        is_good = kept["fingerprint"] == fingerprint and sha256_of_file(array) == kept["record"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        is_good = False
    if is_good:
        array.replace(features)
    array.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    return dict(kept["record"]) if is_good else None


def _shared_array(features: Path) -> Path:
    # Snakemake does not know it, so that it deletes it before no job.
    return features.with_name(f".{features.name}")
