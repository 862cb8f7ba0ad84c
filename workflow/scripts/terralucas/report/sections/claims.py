"""What the claims of an earlier study come to, and the scores of other studies beside this one's, for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from terralucas.report.wording import needed_text, p_sentence
from terralucas.tables.scores import SCORES, Score
from terralucas.tables.vocabulary import ALL_CLASSES, REFUTED, RELATION_EQUIVALENT, RELATION_HIGHER, UNDECIDABLE


def claim_items(claims: pd.DataFrame, level: float) -> list[dict[str, str]]:
    """For each claim its name, what it says, the verdict over all classes, and why, in sentences.

    Args:
        claims: claims.csv.
        level: of the intervals.
    """
    found = []
    for name, rows in claims.groupby("claim", sort=False):
        by_classes = {row["classes"]: row for row in rows.to_dict("records")}
        row = by_classes.pop(ALL_CLASSES)
        sentence = _sentence(row, 1.0 - level)
        others = [
            f" {classes[0].upper()}{classes[1:]} (class code) it is {other['verdict']}."
            for classes, other in by_classes.items()
            if other["verdict"] != row["verdict"]
        ]
        found.append({
            "name": str(name), "says": str(row["says"]), "verdict": row["verdict"],
            "sentence": f"{sentence[0].upper()}{sentence[1:]}.{''.join(others)}",
        })  # fmt: skip
    return found


def _sentence(row: Mapping[str, Any], alpha: float) -> str:
    metric, a, b = SCORES[row["metric"]], row["a"], row["b"]
    if pd.isna(row["difference"]):
        return f"no two recipes of this study differ in {a} and {b} alone"
    ends = metric.gap(row["crossed_low"], row["crossed_high"])
    gap = f"{metric.signed(row['difference'])}{metric.unit} {ends}".strip()
    head = f"in {metric.prose}"
    if row["n_seeds"] < 2:
        return f"{head} {a} − {b} is {gap} for new chips alone, and one seed says nothing of new training"
    if row["verdict"] == UNDECIDABLE:
        return f"{head} {a} − {b} is {gap}{_need(row, metric)}"
    within = _margin(row["margin"], metric)
    if row["relation"] == RELATION_EQUIVALENT and row["verdict"] == REFUTED:
        return f"{head} {a} and {b} differ by more than {within}: {gap}, {p_sentence(row['p_exceeding_holm'])}"
    if row["relation"] == RELATION_EQUIVALENT or row["p_holm"] >= alpha:
        return f"{head} {a} and {b} are equivalent within ± {within}: {gap}, {p_sentence(row['p_equivalence_holm'])}"
    side = RELATION_HIGHER if row["difference"] > 0 else "lower"
    return f"{head} {a} is {side} than {b}: {gap}, {p_sentence(row['p_holm'])}"


def _need(row: Mapping[str, Any], metric: Score) -> str:
    """What would decide it; nothing where there is no margin, or where this design mostly would."""
    seeds, chips = row["seeds_needed"], row["chips_factor_needed"]
    if pd.isna(row["margin"]) or seeds <= row["n_seeds"] or chips == 1:
        return ""
    return f"; {needed_text(_margin(row['margin'], metric), seeds, chips)}"


def _margin(margin: float, metric: Score) -> str:
    if not metric.percent:
        return f"{margin:g}"
    number = f"{100 * margin:g}"
    return f"{number} point{'' if number == '1' else 's'}"
