"""The section “Controls”: a comparison of recipes with simple rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from terralucas.report.page_tables import control_text, recipe_name
from terralucas.tables.scores import PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES


def lead_sentence(best_pair: pd.DataFrame, primary: str) -> str:
    """Say in one sentence whether the best recipe beats the best cheap rule in the primary score; empty if unknown."""
    rows = best_pair[(best_pair["classes"] == ALL_CLASSES) & (best_pair["metric"] == primary)].to_dict("records")
    return _sentence(rows[0]) if rows else ""


def control_sentences(best_pair: pd.DataFrame) -> list[str]:
    """Say for macro and micro accuracy whether the best recipe is better than the best control.

    Args:
        best_pair: best_pair.csv.
    """
    rows = best_pair[best_pair["classes"] == ALL_CLASSES].to_dict("records")
    sentences = [_sentence(row) for row in rows]
    if sentences and rows[0]["n_pairs"] > 1:
        sentences.append(
            f"These intervals hold for all {rows[0]['n_pairs']} pairs of a recipe and a control at once, because the "
            "best of several is partly the luckiest."
        )
    return sentences


def _sentence(row: Mapping[str, Any]) -> str:
    metric = SCORES[row["metric"]]
    control = control_text({"backbone": row["control_backbone"], "decoder": row["control"]})
    recipe = f"the best recipe in {metric.prose} ({recipe_name(row)}, {metric.text(row['pooled'])}{PERCENT_SIGN})"
    other = f"the best control ({control}, {metric.text(row['control_pooled'])}{PERCENT_SIGN})"
    gap = f"{metric.signed(row['difference'])}{metric.unit} {metric.gap(row['low'], row['high'])}".strip()
    if pd.isna(row["low"]):
        return f"{recipe[0].upper()}{recipe[1:]} and {other} differ by {gap} without an interval."
    if row["low"] <= 0.0 <= row["high"]:
        return f"No recipe is shown to beat a simple rule in {metric.prose}: {recipe} against {other}: {gap}."
    is_better = (row["difference"] > 0) == metric.higher_is_better
    return f"{recipe[0].upper()}{recipe[1:]} is {'better' if is_better else 'worse'} than {other}: {gap}."
