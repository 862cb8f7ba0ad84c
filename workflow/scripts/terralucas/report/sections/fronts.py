"""The section “Fronts”: whether a setting is better, or only another point of the same trade-off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from terralucas.report.page_tables import Column, PageTable, recipe_row, seeds_cell
from terralucas.report.wording import contrast_state, p_sentence
from terralucas.tables.scores import NUMBER, PERCENT
from terralucas.tables.vocabulary import ALL_CLASSES, EQUAL_MICRO, RECIPE


def front_sentences(fronts: pd.DataFrame, contrasts: pd.DataFrame) -> list[str]:
    """Say for each contrast whether one setting is better, or only another point on the same curve."""
    equal = fronts[(fronts["metric"] == EQUAL_MICRO) & fronts["micro_accuracy"].isna() & (fronts["scope"] == "all")]
    macro = contrasts[(contrasts["metric"] == "macro_accuracy") & (contrasts["classes"] == ALL_CLASSES)]
    unshifted = {row["contrast"]: row for row in macro[macro["scope"] == "all"].to_dict("records")}
    return [_front_sentence(row, unshifted.get(row["contrast"])) for row in equal.to_dict("records")]


def _front_sentence(row: Mapping[str, Any], unshifted: Mapping[str, Any] | None) -> str:
    """Write the sentence of a contrast of fronts; `unshifted` is the contrast of the runs without a shift."""
    gap = f"{PERCENT.signed(row['difference'])} points {PERCENT.gap(row['ci_low'], row['ci_high'])}".strip()
    head = f"{row['contrast']}: at equal micro accuracy, macro accuracy differs by {gap}"
    if pd.isna(row["ci_low"]):
        return f"{head}, without an interval, so that better and elsewhere can’t be told apart."
    if row["ci_low"] <= 0 <= row["ci_high"]:
        if unshifted and contrast_state(unshifted) in ("higher", "lower"):
            gap = f"{PERCENT.signed(unshifted['difference'])} points"
            return (
                f"{head}, and no difference is shown there: the {gap} without a shift may be another point "
                "of the same curve."
            )
        if unshifted:
            return f"{head}, and no difference is shown, neither there nor without a shift."
        return f"{head}, not shown."
    better = row["a"] if row["difference"] > 0 else row["b"]
    return f"{head} ({p_sentence(row['p_value'])}, unadjusted): {better} is better, not only elsewhere on the curve."


def hypervolume_table(summary: pd.DataFrame, runs: pd.DataFrame) -> PageTable:
    """Make a table of the hypervolume, the chosen shift, and both accuracies without and with the shift."""
    metrics = {
        "hypervolume": Column("Hypervolume", "%, higher is better"),
        "tau": Column("τ chosen", f"on {' and '.join(runs['chosen_on'].unique())} chips"),
        "macro_accuracy_unshifted": Column("Macro accuracy", "%, as it is"),
        "macro_accuracy_shifted": Column("Macro accuracy", "%, with τ"),
        "micro_accuracy_unshifted": Column("Micro accuracy", "%, as it is"),
        "micro_accuracy_shifted": Column("Micro accuracy", "%, with τ"),
    }
    rows = []
    for key, recipe in summary.groupby(RECIPE, sort=False):
        scores = recipe.set_index("metric")
        cells = [seeds_cell(scores.loc[name], PERCENT if name != "tau" else NUMBER) for name in metrics]
        rows.append(recipe_row(dict(zip(RECIPE, key, strict=True)), cells))
    caption = (
        "Fronts of each recipe: mean over seeds with the seeds interval. The hypervolume is the share of the square of "
        "macro and micro accuracy that some shift reaches."
    )
    return PageTable(caption, list(metrics.values()), rows)
