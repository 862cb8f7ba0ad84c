"""The section “Recipes”: the ranking of recipes and controls, and all their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from terralucas.report import score_tables
from terralucas.report.page_tables import PageTable, recipe_name
from terralucas.report.wording import class_set_text, count_text
from terralucas.tables.near_best import near_best
from terralucas.tables.scores import MAIN_SCORES, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, CONTROL, RECIPE

# The scores of the folded tables are divided, because one table would be wider than a screen.
PAGE_TABLES = {
    caption: [name for name, score in SCORES.items() if score.page_table == kind]
    for kind, caption in (("right", "How often recipes are right"), ("agreement", "Agreement and probabilities"))
}
RANKING = ("macro_accuracy", "micro_accuracy", "macro_f1", "worst_class_recall", "mcc", "nll")


def leader_cards(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Make cards of the highest pooled macro and micro accuracy; recipes with the same shown value are tied."""
    cards = []
    for name in MAIN_SCORES:
        metric = SCORES[name]
        scores = summary[(summary["metric"] == name) & (summary["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
        card: dict[str, Any] = {"metric": metric, "of": len(scores), "value": None, "recipes": []}
        if len(scores):
            card["value"] = metric.text(scores["pooled"].max())
            tied = scores[scores["pooled"].map(metric.text) == card["value"]]
            card["recipes"] = [recipe_name(row) for _, row in tied.iterrows()]
        cards.append(card)
    return cards


def leader_sentences(summary: pd.DataFrame, classes: pd.DataFrame, chance: float) -> list[str]:
    """Say for how many recipes the interval lies above guessing, and above always predicting the most common class.

    The interval of the highest of several recipes is not one of 95 %, so that no sentence is about it alone.
    """
    largest = classes.loc[classes["n"].idxmax()]
    references = {
        "macro_accuracy": ("guessing", chance),
        "micro_accuracy": (f"always answering “{largest['class_name']}”", float(largest["share"])),
    }
    sentences = []
    for name, (reference, level) in references.items():
        metric = SCORES[name]
        scores = summary[(summary["metric"] == name) & (summary["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
        known = scores.dropna(subset=["crossed_low"])
        if known.empty:
            continue
        above, below = int((known["crossed_low"] > level).sum()), int((known["crossed_high"] < level).sum())
        of = count_text(len(known), "recipe")
        under = f", and of {below} below" if below else ""
        sentences.append(
            f"In {metric.prose} {reference} would score about {metric.text(level)}{PERCENT_SIGN}: the interval of "
            f"{above} of {of} lies above that{under}."
        )
    return sentences


def selection_sentence(summary: pd.DataFrame, select: Mapping[str, Any], primary: str) -> str | None:
    """Say which recipe `snakemake -- select` would take; None if no recipe has the score that decides.

    Args:
        summary: the table summary.csv.
        select: the section `select` of the configuration.
        primary: the primary score, which decides where the section names none.
    """
    metric = select["metric"] or primary
    found = near_best(summary, metric)
    if found is None or len(found.rows) == 1:
        return None
    score, best = SCORES[metric], recipe_name(found.best)
    if found.n_equal > 1:
        best += f" (the first of {found.n_equal} with exactly this score)"
    side = "highest" if score.higher_is_better else "lowest"
    if select["rule"] == "best":
        return f"{best} has the {side} {score.prose}."
    if pd.isna(found.error):
        return f"{best} has the {side} {score.prose}; its standard error is unknown, so that no simpler one is taken."
    size = f"{score.text(found.error)}{score.unit}"
    if len(found.near) == 1:
        return f"No other recipe is within one standard error ({size}) of the {side} {score.prose}, that of {best}."
    return (
        f"{len(found.near)} of {len(found.rows)} recipes are within one standard error ({size}) of the {side} "
        f"{score.prose}. Of these, the one with the fewest parameters is taken."
    )


def ranking_table(summary: pd.DataFrame, controls: pd.DataFrame, primary: str) -> PageTable:
    """Make the table of recipes and controls over all classes, the best in the primary score first."""
    both = pd.concat([summary, controls], ignore_index=True)
    table = both[both["classes"] == ALL_CLASSES]
    caption = (
        f"Recipes{' and controls' if len(controls) else ''}, the highest {SCORES[primary].prose} first. "
        f"{score_tables.interval_words(table, both=False)}.{_star(table)}"
    )
    return score_tables.score_table(table, RANKING, caption, primary, both=False)


def recipe_tables(table: pd.DataFrame, names: Mapping[str, str], primary: str) -> list[dict[str, Any]]:
    """Make the folded tables of all scores with both intervals, for each set of classes.

    Args:
        table: summary.csv with the rows of controls.csv.
        names: code → name of each class.
        primary: score by which the rows are sorted.
    """
    parts: list[dict[str, Any]] = []
    for classes, of_set in table.groupby("classes", sort=False):
        which = class_set_text(str(classes), names)
        words = score_tables.interval_words(of_set)
        page_tables: Sequence[PageTable] = [
            score_tables.score_table(of_set, scores, f"{caption}, {which}. {words}.{_star(of_set)}", primary)
            for caption, scores in PAGE_TABLES.items()
        ]
        parts.append({"name": which, "tables": page_tables})
    return parts


def _star(table: pd.DataFrame) -> str:
    if len(table[RECIPE].drop_duplicates()) < 2:
        return ""
    grey = " Controls are grey." if (table["loss"] == CONTROL).any() else ""
    return f" ★ marks the best of a column, which is not a tested difference.{grey}"
