"""What a study says beforehand that it will compare, kept with a hash and the time, and every change of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from terralucas.files import sha256_of_json, write_json

_REGISTERED = ("contrasts", "interactions", "margins", "excluded_classes", "confidence_level")


def plan_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What is registered: contrasts, claims, margins, classes left out, level, deciding metrics, seeds and split."""
    return {
        **{name: config["report"][name] for name in _REGISTERED},
        # Left out where there are none, so that plans recorded before there were claims are still the same.
        **({"claims": config["report"]["claims"]} if config["report"]["claims"] else {}),
        "metrics": ["macro_accuracy", "micro_accuracy"],
        "grid": config["grid"],
        "split": config["split"],
    }


def register(path: Path, plan: Mapping[str, Any], finished_runs: int) -> None:
    """Add a plan to a study's record unless it is the last one there.

    Args:
        path: JSON file with one entry for each plan, the first one first.
        plan: as `plan_of` gives it.
        finished_runs: runs whose results existed when the plan was made.
    """
    entries = read_registrations(path)
    digest = sha256_of_json(plan)
    if entries and entries[-1]["sha256"] == digest:
        return
    entry = {
        "sha256": digest,
        "registered_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished_runs": finished_runs,
        "plan": dict(plan),
    }
    write_json(path, [*entries, entry])


def read_registrations(path: Path) -> list[dict[str, Any]]:
    """The entries of a study's record; none where there is no record."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
