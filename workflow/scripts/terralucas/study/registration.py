"""Record the planned comparisons of a study with a hash and the time, and each later change of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from terralucas.files import sha256_of_json, write_json
from terralucas.stored import read_json

_REGISTERED = ("contrasts", "interactions", "margins", "excluded_classes", "confidence_level")


def plan_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plan to register: contrasts, claims, margins, excluded classes, level, metrics, grid and split."""
    return {
        **{name: config["report"][name] for name in _REGISTERED},
        # Without claims, the key is omitted, so that plans that were recorded before this key existed stay equal.
        **({"claims": config["report"]["claims"]} if config["report"]["claims"] else {}),
        "metrics": ["macro_accuracy", "micro_accuracy"],
        # Likewise: before this key existed, macro accuracy was always the first score.
        **({"primary": config["report"]["primary"]} if config["report"]["primary"] != "macro_accuracy" else {}),
        "grid": config["grid"],
        "split": config["split"],
    }


def register(path: Path, plan: Mapping[str, Any], finished_runs: int) -> None:
    """Add a plan to the record of a study if it differs from the last recorded plan.

    Args:
        path: JSON file with one entry for each plan, the oldest first.
        plan: plan returned by `plan_of`.
        finished_runs: number of runs whose results already existed.
    """
    entries = read_registrations(path)
    digest = sha256_of_json(plan)
    # Versions before this one kept 50 and 50.0 as they were written.
    if entries and (entries[-1]["sha256"] == digest or entries[-1]["plan"] == plan):
        return
    entry = {
        "sha256": digest,
        "registered_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "finished_runs": finished_runs,
        "plan": dict(plan),
    }
    write_json(path, [*entries, entry])


def read_registrations(path: Path) -> list[dict[str, Any]]:
    """Return the recorded plans of a study; an empty list if there is no record."""
    remedy = "restore a copy of it; or delete it, and what was planned before the runs is known no more"
    return read_json(path, remedy=remedy) if path.is_file() else []
