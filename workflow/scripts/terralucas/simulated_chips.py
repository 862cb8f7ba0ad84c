"""Whether the chips of a study are simulated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe_simulated(retrieval: Mapping[str, Any], data_report: Mapping[str, Any]) -> str:
    """Say that all or some chips are simulated, by their source or by what their files say; empty if none are.

    Args:
        retrieval: content of retrieval.json.
        data_report: content of data/report.json.
    """
    # Reports of an earlier version of the project do not count them.
    marked, number = data_report.get("n_simulated", 0), data_report["n_valid"]
    if retrieval["source"] == "simulated" or marked == number:
        return "The chips are simulated"
    return f"{marked} of {number} chips are simulated, as their files say" if marked else ""
