"""The section “What was claimed”: the verdict on each claim of an earlier study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from terralucas.report.wording import margin_text, needed_text, p_sentence
from terralucas.tables.scores import SCORES, Score
from terralucas.tables.vocabulary import ALL_CLASSES, INCONCLUSIVE, REFUTED, RELATION_EQUIVALENT, RELATION_HIGHER


def claim_items(claims: pd.DataFrame, level: float) -> list[dict[str, str]]:
    """Make an item for each claim: its name, its statement, the verdict over all classes, its state
    (supported, refuted or inconclusive) and the reason.

    Args:
        claims: claims.csv.
        level: confidence level of the intervals.
    """
    items = []
    for name, rows in claims.groupby("claim", sort=False):
        by_classes = {row["classes"]: row for row in rows.to_dict("records")}
        row = by_classes.pop(ALL_CLASSES)
        sentence = _sentence(row, 1.0 - level)
        others = [
            f" {classes[0].upper()}{classes[1:]} (class code) it is {other['verdict']}."
            for classes, other in by_classes.items()
            if other["verdict"] != row["verdict"]
        ]
        items.append(
            {
                "name": str(name),
                "says": str(row["says"]),
                "verdict": row["verdict"],
                # The first word decides colour and symbol.
                "state": row["verdict"].partition(" ")[0].rstrip(",:"),
                "sentence": f"{sentence[0].upper()}{sentence[1:]}.{''.join(others)}",
            }
        )
    return items


def _sentence(row: Mapping[str, Any], alpha: float) -> str:
    metric, a, b = SCORES[row["metric"]], row["a"], row["b"]
    if pd.isna(row["difference"]):
        return f"no two recipes of this study differ in {a} and {b} alone"
    ends = metric.gap(row["crossed_low"], row["crossed_high"])
    gap = f"{metric.signed(row['difference'])}{metric.unit} {ends}".strip()
    head = f"in {metric.prose}"
    if row["n_seeds"] < 2 and pd.notna(row["crossed_low"]):
        return f"{head} {a} − {b} is {gap} for new chips alone, and one seed says nothing of new training"
    if row["verdict"] == INCONCLUSIVE:
        return f"{head} {a} − {b} is {gap}{_need(row, metric)}"
    within = margin_text(row["margin"], metric)
    if row["relation"] == RELATION_EQUIVALENT and row["verdict"] == REFUTED:
        return f"{head} {a} and {b} differ by more than {within}: {gap}, {p_sentence(row['p_exceeding_holm'])}"
    if row["relation"] == RELATION_EQUIVALENT or row["p_holm"] >= alpha:
        return f"{head} {a} and {b} are equivalent within ± {within}: {gap}, {p_sentence(row['p_equivalence_holm'])}"
    side = RELATION_HIGHER if row["difference"] > 0 else "lower"
    return f"{head} {a} is {side} than {b}: {gap}, {p_sentence(row['p_holm'])}"


def _need(row: Mapping[str, Any], metric: Score) -> str:
    """Say what would decide the claim; empty if there is no margin, or if this design has the power to decide."""
    if pd.isna(row["crossed_low"]):
        return "; there is no interval, so that nothing is shown"
    seeds, chips = row["seeds_needed"], row["chips_factor_needed"]
    if pd.isna(row["margin"]) or seeds <= row["n_seeds"] or chips == 1:
        return ""
    return f"; {needed_text(margin_text(row['margin'], metric), seeds, chips)}"
