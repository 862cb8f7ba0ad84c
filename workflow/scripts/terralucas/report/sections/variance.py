"""The section “Variance”: how much of the spread comes from test chips, and how much from training."""

from __future__ import annotations

import numpy as np
import pandas as pd

from terralucas.report.page_tables import Column, PageTable, TableCell, recipe_rows
from terralucas.report.wording import count_text, list_text, range_text
from terralucas.tables.scores import MAIN_SCORES, PERCENT, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, CHIPS, SPLIT


def variance_sentences(variance: pd.DataFrame) -> list[str]:
    """Say which share of the variance of one run's score comes from its test chips."""
    sentences = []
    for name in MAIN_SCORES:
        chosen = variance[(variance["metric"] == name) & (variance["classes"] == ALL_CLASSES)]
        others = chosen[(chosen["component"] != CHIPS) & chosen["share"].notna()]
        chips = chosen.loc[chosen["component"] == CHIPS, "share"].dropna()
        if others.empty or chips.empty:
            continue
        what = list_text(list(dict.fromkeys(others["component"])))
        span = range_text([f"{100 * chips.min():.0f}", f"{100 * chips.max():.0f}"])
        sentences.append(
            f"In one run’s {SCORES[name].prose} the test chips make {span}{PERCENT_SIGN} of the variance "
            f"(median recipe {100 * chips.median():.0f}{PERCENT_SIGN}), {what} the rest."
        )
    zero = variance[variance["classes"].eq(ALL_CLASSES) & variance["note"].astype(str).str.contains("below 0")]
    if len(zero):
        sentences.append(
            f"{count_text(len(zero), 'estimate')} of the part from training came out below zero, shown as 0: test "
            "chips alone explain the spread there."
        )
    if sentences:
        return sentences
    training = variance[~variance["component"].isin([CHIPS, SPLIT])]
    if training["variance"].isna().all():
        return [f"The part from training is unknown: {why_unknown(training)}."]
    return [
        "All runs of a recipe have the same accuracies, which no test chip of theirs changes, so that there is no "
        "spread to share out."
    ]


def why_unknown(training: pd.DataFrame) -> str:
    """Return why the part from training is unknown, which the note says, as `unknown: one seed`."""
    return str(training["note"].iloc[0]).removeprefix("unknown: ") if len(training) else "no recipe was compared"


def variance_page_table(variance: pd.DataFrame) -> PageTable:
    """Make a table of the variance components of one run's macro and micro accuracy: shares and deviations."""
    shown = variance[variance["classes"] == ALL_CLASSES]
    pairs = list(shown[["metric", "component"]].drop_duplicates().itertuples(index=False, name=None))

    def cells_of(recipe: pd.DataFrame) -> list[TableCell]:
        parts = recipe.set_index(["metric", "component"])
        return [_variance_cell(parts.loc[pair]) for pair in pairs]

    columns = [
        Column(component[0].upper() + component[1:], f"{SCORES[metric].label}, %") for metric, component in pairs
    ]
    caption = (
        "Components of the spread of one run’s score: share of the variance, with the standard deviation in points "
        "[limits, if they can be computed]."
    )
    return PageTable(caption, columns, recipe_rows(shown, cells_of))


def _variance_cell(row: pd.Series) -> TableCell:
    if pd.isna(row["share"]):
        return TableCell("—", (row["note"],) if isinstance(row["note"], str) and row["note"] else ())
    limits = PERCENT.interval(np.sqrt(row["low"]), np.sqrt(row["high"]))
    small = [f"{PERCENT.text(row['sd'])} points {limits}".strip()]
    small += ["below 0, shown as 0"] if isinstance(row["note"], str) and "below 0" in row["note"] else []
    return TableCell(f"{100 * row['share']:.0f}", tuple(small), row["share"])
