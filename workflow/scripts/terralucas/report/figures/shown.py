"""The recipes that the figures show: all of them, or the best of many, because more marks could not be told apart."""

from __future__ import annotations

import pandas as pd

from terralucas.tables.scores import SCORES
from terralucas.tables.vocabulary import CONTROL, RECIPE

MOST_RECIPES = 40


def shown_recipes(summary: pd.DataFrame, primary: str) -> pd.DataFrame:
    """Return the recipes to draw, in the order of the study.

    Args:
        summary: summary.csv.
        primary: name of the primary score.

    Returns:
        The columns of `RECIPE`: all recipes, or the `MOST_RECIPES` with the best pooled primary score over all classes.
    """
    rows = summary[(summary["classes"] == "all") & (summary["metric"] == primary)]
    if len(rows) <= MOST_RECIPES:
        return rows[RECIPE]
    order = rows["pooled"].sort_values(ascending=not SCORES[primary].higher_is_better, kind="stable")
    return rows.loc[rows.index.isin(order.index[:MOST_RECIPES]), RECIPE]


def keep_shown(table: pd.DataFrame, recipes: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of these recipes, and those of controls, in the order of the table."""
    kept = pd.MultiIndex.from_frame(recipes)
    return table[pd.MultiIndex.from_frame(table[RECIPE]).isin(kept) | (table["loss"] == CONTROL)]


def shown_sentence(summary: pd.DataFrame, primary: str) -> str:
    """Write which recipes the figures show; empty if they show all."""
    number, shown = len(summary[RECIPE].drop_duplicates()), len(shown_recipes(summary, primary))
    if shown == number:
        return ""
    return f"Drawn: the {shown} of {number:,} recipes with the best {SCORES[primary].prose}."
