"""The section “Classes”: recall, precision and F1 of each class."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from terralucas.report.page_tables import (
    Column,
    PageTable,
    Row,
    TableCell,
    best_text,
    recipe_name,
    recipe_rows,
    score_cell,
    score_column,
)
from terralucas.report.score_tables import interval_words
from terralucas.report.wording import class_text, count_text, list_text, range_text, tied_text
from terralucas.tables.scores import CLASS_SCORES, FEWEST_CHIPS, PERCENT, PERCENT_SIGN, Score
from terralucas.tables.vocabulary import ALL_CLASSES, CONTROL, RECIPE


def never_predicted_sentences(confusion: pd.DataFrame) -> list[str]:
    """Name the classes that a recipe never predicts, so that their precision is undefined."""
    counts = confusion.groupby([*RECIPE, "predicted_code", "predicted_name"], sort=False)["count"].sum().reset_index()
    recipes = len(counts[RECIPE].drop_duplicates())
    sentences = []
    for (_, name), group in counts[counts["count"] == 0].groupby(["predicted_code", "predicted_name"], sort=False):
        who = "any recipe" if len(group) == recipes else list_text([recipe_name(row) for _, row in group.iterrows()])
        if 3 < len(group) < recipes:
            who = f"{len(group)} of {recipes} recipes"
        sentences.append(f"“{name}” is never predicted by {who}: its precision is undefined there.")
    return sentences


def rarest_class_sentence(per_class: pd.DataFrame) -> str:
    """Say how much one test chip of the rarest class changes its recall and the macro accuracy."""
    chips = chips_by_class(per_class)
    if chips.empty:
        return ""
    n = int(chips.min())
    return (
        f"Fewest test chips: {fewest_text(chips, 'chip')} over all seeds. One of them more or less "
        f"moves the pooled recall of its class by {100 / n:.3g} points and the macro accuracy by "
        f"{100 / n / len(chips):.2g} points."
    )


def few_chips_sentences(summary: pd.DataFrame, per_class: pd.DataFrame) -> list[str]:
    """Name the classes of so few test chips that scores in which every class counts the same have no interval."""
    all_classes = summary[summary["classes"] == ALL_CLASSES]
    macro = all_classes[all_classes["metric"] == "macro_accuracy"]
    chips = chips_by_class(per_class)
    few = chips[chips < FEWEST_CHIPS]
    if few.empty or macro["crossed_low"].notna().any():
        return []
    names = list_text([f"“{name}” ({count_text(int(n), 'chip')})" for name, n in few.items()])
    return [
        f"Too few test chips over all seeds: {names}. Macro accuracy and other scores in which every class counts the "
        f"same have no intervals for new chips and no verdicts, because fewer than {FEWEST_CHIPS} chips do not show "
        "how much they vary."
    ]


def balance_sentence(per_class: pd.DataFrame) -> str:
    """Say that macro and micro accuracy are the same where all classes have as many test chips; empty otherwise."""
    if chips_by_class(per_class).nunique() != 1:
        return ""
    return "Here all classes have the same number of test chips, so that macro and micro accuracy are the same number."


def fewest_text(chips: pd.Series, noun: str) -> str:
    """Name the classes with the fewest chips, or count them if they are many, and say how many chips they have.

    Args:
        chips: chips of each class, by its name.
        noun: what the chips are called.
    """
    names = [f"“{name}”" for name in chips.index[chips == chips.min()]]
    each = " each" if len(names) > 1 else ""
    return f"{tied_text(names, 'class', 'classes')}, {count_text(int(chips.min()), noun)}{each}"


def chips_by_class(per_class: pd.DataFrame) -> pd.Series:
    """Return the number of test chips of each class that has any, by its name."""
    recall = per_class[(per_class["metric"] == "recall") & (per_class["classes"] == ALL_CLASSES)]
    chips = recall.groupby("class_name", sort=False)["n"].max()
    return chips[chips > 0]


def class_groups(per_class: pd.DataFrame) -> list[dict[str, Any]]:
    """Make a table of recipes for each class: recall with three intervals, precision and F1 with two."""
    groups = []
    shown = per_class[per_class["classes"] == ALL_CLASSES]
    for (code, name), table in shown.groupby(["class_code", "class_name"], sort=False):
        recall = table[table["metric"] == "recall"]
        best = {
            key: best_text(table.loc[table["metric"] == key, "pooled"], metric) for key, metric in CLASS_SCORES.items()
        }
        rows = recipe_rows(table, partial(_class_cells, best=best))
        own = recall.loc[recall["loss"] != CONTROL, "pooled"]
        low, high = (PERCENT.text(end) for end in (own.min(), own.max()))
        n = f"{recall['n'].max():,.0f}"
        chips = count_text(int(recall["n"].max()), "test chip")
        caption = f"{name} (n = {chips}). {interval_words(table)}; Wilson: of recall, the one to quote for few chips"
        columns = [score_column(metric) for metric in CLASS_SCORES.values()]
        groups.append(
            {
                "title": class_text(code, name),
                "n": n,
                "span": f"{range_text([low, high])}{PERCENT_SIGN}",
                "table": PageTable(f"{caption}.", columns, rows),
            }
        )
    return groups


def _class_cells(recipe: pd.DataFrame, best: Mapping[str, str | None]) -> list[TableCell]:
    scores = recipe.set_index("metric")
    return [_class_cell(scores.loc[name], metric, best[name]) for name, metric in CLASS_SCORES.items()]


def _class_cell(row: pd.Series, metric: Score, best: str | None) -> TableCell:
    cell = score_cell(row, metric, metric.text(row["pooled"]) == best)
    wilson = metric.interval(row["wilson_low"], row["wilson_high"])
    fewer = () if pd.notna(row["pooled"]) else ("never predicted",)
    return TableCell(cell.text, (*([f"Wilson {wilson}"] if wilson else []), *cell.small, *fewer), cell.order, cell.best)


def class_table(classes: pd.DataFrame) -> PageTable:
    """Make a table of the chips of each class, with their share as a number and as a bar."""
    largest = classes["share"].max()
    rows = [
        Row(
            (class_text(row["class_code"], row["class_name"]),),
            [
                TableCell(f"{row['n']:,}", order=row["n"]),
                TableCell(f"{PERCENT.text(row['share'])}{PERCENT_SIGN}", order=row["share"]),
                TableCell("", order=row["share"], bar=row["share"] / largest),
            ],
        )
        for row in classes.to_dict("records")
    ]
    columns = [Column("Chips"), Column("Share"), Column("Bar of the share", is_text=True)]
    return PageTable("Chips of each class and their share of all chips", columns, rows, Column("Class", is_text=True))
