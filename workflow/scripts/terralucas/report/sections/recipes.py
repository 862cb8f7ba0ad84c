"""The section “Recipes”: the scores of all recipes."""

from __future__ import annotations

from typing import Any

import pandas as pd

from terralucas.report import score_tables
from terralucas.report.page_tables import recipe_name, score_cell
from terralucas.tables.scores import MAIN_SCORES, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, CONTROL, RECIPE

# The scores are divided between two tables, because one table would be wider than a screen.
PAGE_TABLES = {
    caption: [name for name, score in SCORES.items() if score.page_table == kind]
    for kind, caption in (("right", "How often recipes are right"), ("agreement", "Agreement and probabilities"))
}


def leader_cards(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Make cards of the highest pooled macro and micro accuracy; recipes with the same shown value are tied."""
    cards = []
    for name in MAIN_SCORES:
        metric = SCORES[name]
        scores = summary[(summary["metric"] == name) & (summary["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
        card: dict[str, Any] = {"metric": metric, "of": len(scores), "value": None, "recipes": []}
        if len(scores):
            card["value"] = metric.text(scores["pooled"].max())
            for _, row in scores[scores["pooled"].map(metric.text) == card["value"]].iterrows():
                small = score_cell(row, metric).small
                card["recipes"].append({"name": recipe_name(row), "intervals": "; ".join(small)})
        cards.append(card)
    return cards


def leader_sentences(summary: pd.DataFrame, classes: pd.DataFrame, chance: float) -> list[str]:
    """Compare the interval of the best recipe with guessing, and with always predicting the most common class."""
    largest = classes.loc[classes["n"].idxmax()]
    references = {
        "macro_accuracy": ("guessing", chance),
        "micro_accuracy": (f"always answering “{largest['class_name']}”", float(largest["share"])),
    }
    sentences = []
    for name, (reference, level) in references.items():
        scores = summary[(summary["metric"] == name) & (summary["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
        if scores.empty:
            continue
        best = scores.loc[scores["pooled"].idxmax()]
        if pd.isna(best["crossed_low"]):
            verdict = "there is no interval to compare it with"
        else:
            side = "above" if best["crossed_low"] > level else "below" if best["crossed_high"] < level else ""
            verdict = f"the interval of the best lies {side} that" if side else "the interval of the best includes that"
        metric = SCORES[name]
        sentences.append(
            f"In {metric.prose} {reference} would score about {metric.text(level)}{PERCENT_SIGN}: {verdict}."
        )
    return sentences


def recipe_tables(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Make two tables of scores of recipes and controls for each set of classes."""
    parts = []
    for classes, table in summary.groupby("classes", sort=False):
        which = "of all classes" if classes == ALL_CLASSES else f"{classes} (class code)"
        notes = (
            " ★ marks the best of a column, which is not a tested difference."
            if len(table[RECIPE].drop_duplicates()) > 1
            else ""
        )
        notes += " Controls are grey." if (table["loss"] == CONTROL).any() else ""
        words = score_tables.interval_words(table)
        page_tables = [
            score_tables.score_table(table, names, f"{caption}, {which}. {words}.{notes}")
            for caption, names in PAGE_TABLES.items()
        ]
        parts.append({"name": which, "tables": page_tables})
    return parts
