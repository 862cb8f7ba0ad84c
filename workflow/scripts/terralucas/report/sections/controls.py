"""The section “Controls”: a comparison of recipes with simple rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from terralucas.report.page_tables import PageTable, recipe_name
from terralucas.report.score_tables import interval_words, score_table
from terralucas.report.wording import count_text
from terralucas.tables.scores import MAIN_SCORES, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, RECIPE


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
    control = row["control"] + ("" if row["control_backbone"] == "none" else f" on {row['control_backbone']}")
    recipe = f"the best recipe in {metric.prose} ({recipe_name(row)}, {metric.text(row['pooled'])}{PERCENT_SIGN})"
    other = f"the best control ({control.replace('_', ' ')}, {metric.text(row['control_pooled'])}{PERCENT_SIGN})"
    gap = f"{metric.signed(row['difference'])}{metric.unit} {metric.gap(row['low'], row['high'])}".strip()
    if pd.isna(row["low"]):
        return f"{recipe[0].upper()}{recipe[1:]} and {other} differ by {gap} without an interval."
    if row["low"] <= 0.0 <= row["high"]:
        return f"No recipe is shown to beat a simple rule in {metric.prose}: {recipe} against {other}: {gap}."
    is_better = (row["difference"] > 0) == metric.higher_is_better
    return f"{recipe[0].upper()}{recipe[1:]} is {'better' if is_better else 'worse'} than {other}: {gap}."


def control_table(controls: pd.DataFrame, summary: pd.DataFrame) -> PageTable | None:
    """Make a table of the controls and the best recipes, sorted by macro accuracy; None without controls."""
    scores = controls[controls["classes"] == ALL_CLASSES]
    if scores.empty:
        return None
    own = summary[summary["classes"] == ALL_CLASSES]
    leaders = own[own["metric"].isin(MAIN_SCORES)].sort_values("pooled", ascending=False, kind="stable")
    names = leaders.drop_duplicates("metric")[RECIPE].drop_duplicates()
    both = pd.concat([scores, own.merge(names, on=RECIPE)], ignore_index=True)
    count = len(own[RECIPE].drop_duplicates())
    caption = (
        f"Controls, and of {count_text(count, 'recipe')} the best in macro and in micro accuracy, on the same splits. "
        f"{interval_words(both)}. Controls are grey; those with a backbone’s name read its features."
    )
    return score_table(both, ("macro_accuracy", "micro_accuracy", "macro_f1", "mcc", "nll"), caption)
