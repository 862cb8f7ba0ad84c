"""The section “Calibration”: temperature scaling."""

from __future__ import annotations

import pandas as pd

from terralucas.report.page_tables import Column, PageTable, TableCell, recipe_rows, seeds_cell
from terralucas.report.wording import count_text
from terralucas.tables.scores import NUMBER, SCORES
from terralucas.tables.vocabulary import CALIBRATION_ERRORS, CALIBRATION_SCORES


def calibration_sentences(calibration: pd.DataFrame) -> list[str]:
    """Say for how many recipes temperature scaling lowers each score, and give the range of temperatures."""
    sentences = []
    for name in ("nll", "ece", "classwise_ece"):
        change = calibration[(calibration["metric"] == name) & (calibration["stage"] == "after_minus_before")]
        lower, higher = int((change["ci_high"] < 0).sum()), int((change["ci_low"] > 0).sum())
        if change["ci_low"].isna().all():
            down = int((change["mean"] < 0).sum())
            sentences.append(
                f"{SCORES[name].label} falls for {down} of {count_text(len(change), 'recipe')}; no intervals."
            )
            continue
        raised = f" and raises it for {higher}" if higher else ""
        recipes = count_text(len(change), "recipe")
        sentences.append(
            f"Temperature scaling lowers {SCORES[name].label} for {lower} of {recipes}{raised} "
            "(intervals of the change over seeds that exclude zero, unadjusted)."
        )
    fitted = calibration.loc[calibration["metric"] == "temperature", "mean"]
    over, under = int((fitted > 1).sum()), int((fitted < 1).sum())
    sentences.append(
        f"Mean temperatures run from {fitted.min():.2f} to {fitted.max():.2f}: of {count_text(len(fitted), 'recipe')} "
        f"{over} are overconfident (above 1) and {under} underconfident (below 1)."
    )
    return sentences


def calibration_table(calibration: pd.DataFrame) -> PageTable:
    """Make a table of temperatures and of calibration scores before and after scaling, with intervals of the change.

    Below calibration errors: what a perfectly calibrated model with these probabilities would show.
    """
    labels = {name: SCORES[name].label for name in CALIBRATION_SCORES}

    def cells_of(recipe: pd.DataFrame) -> list[TableCell]:
        scores = recipe.set_index(["metric", "stage"])
        cells = [seeds_cell(scores.loc[("temperature", "fitted")], NUMBER)]
        for name in labels:
            metric = SCORES[name]
            before, after, change = (scores.loc[(name, stage)] for stage in ("before", "after", "after_minus_before"))
            gap = metric.gap(change["ci_low"], change["ci_high"])
            small = [f"change {metric.signed(change['mean'])}"] + ([f"seeds {gap}"] if gap else [])
            if name in CALIBRATION_ERRORS:
                small.append(f"if calibrated {metric.text(scores.loc[(name, 'calibrated'), 'mean'])}")
            text = f"{metric.text(before['mean'])} → {metric.text(after['mean'])}"
            cells.append(TableCell(text, tuple(small), after["mean"]))
        return cells

    columns = [Column("Temperature"), *(Column(label, "before → after, lower is better") for label in labels.values())]
    caption = (
        "Calibration before and after temperature scaling: means over seeds; seeds: interval for new seeds, of the "
        "temperature and of the changes. If calibrated: the error that a perfectly calibrated model with the "
        "probabilities before scaling would show, because few chips never fit exactly."
    )
    return PageTable(caption, columns, recipe_rows(calibration, cells_of))
