"""The section “Controls”: a comparison of recipes with simple rules."""

from __future__ import annotations

import pandas as pd

from terralucas.report.page_tables import PageTable
from terralucas.report.score_tables import interval_words, score_table
from terralucas.report.wording import count_text
from terralucas.tables.scores import MAIN_SCORES, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, RECIPE


def control_sentences(controls: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Say for macro and micro accuracy whether any recipe has a higher score than the best control."""
    sentences = []
    for name in MAIN_SCORES:
        metric = SCORES[name]
        chosen = [
            table[(table["metric"] == name) & (table["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
            for table in (controls, summary)
        ]
        if any(table.empty for table in chosen):
            continue
        best, rows = chosen[0].loc[chosen[0]["pooled"].idxmax()], chosen[1]
        above = rows[rows["pooled"] > best["pooled"]]
        clear = int((rows["crossed_low"] > best["crossed_high"]).sum())
        interval = metric.interval(best["crossed_low"], best["crossed_high"])
        control = best["decoder"] + ("" if best["backbone"] == "none" else f" on {best['backbone']}")
        head = (
            f"The best control in {metric.prose}, {control.replace('_', ' ')}, reaches "
            f"{metric.text(best['pooled'])}{PERCENT_SIGN} {interval}".rstrip()
        )
        if above.empty:
            tail = "no recipe does better" if len(rows) > 1 else "the recipe does no better"
        else:
            tail = f"{len(above)} of {count_text(len(rows), 'recipe')} {'does' if len(above) == 1 else 'do'} better"
            tail += f", {clear or 'none'} with an interval wholly above it"
        sentences.append(f"{head}; {tail}.")
    if sentences:
        sentences.append(
            "Recipes and controls are not compared in pairs: intervals that overlap leave open which is better."
        )
    return sentences


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
