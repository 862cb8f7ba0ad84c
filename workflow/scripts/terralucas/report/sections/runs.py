"""The section “Runs”: status, scores and cost of every run, and the notice about runs without a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from terralucas.predictions import DIVERGED, FINISHED
from terralucas.report.page_tables import Column, PageTable, TableCell, recipe_name, recipe_row
from terralucas.report.wording import count_text, duration_text, list_text, value_text
from terralucas.tables.scores import PERCENT, SCORES
from terralucas.tables.vocabulary import FAILED, RECIPE

# At most so many lost runs are named in the notice; the table of runs has all of them.
_MOST_NAMED = 12


def lost_run_sentences(runs: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Name the runs that diverged, failed or are missing, and say which recipes and seeds are compared.

    Args:
        runs: runs.csv.
        compared: one row for each run that is compared.
    """
    lost = runs[runs["status"] != FINISHED]
    if lost.empty:
        return []
    sentences = []
    for status, group in lost.groupby("status", sort=False):
        verb = status if status in (DIVERGED, FAILED) else f"{'is' if len(group) == 1 else 'are'} {status}"
        names = [row["run"] + (f" ({row['reason']})" if status == DIVERGED else "") for row in group.to_dict("records")]
        shown = list_text(names[:_MOST_NAMED]) + (
            f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        )
        sentences.append(f"{len(group)} of {count_text(len(runs), 'run')} {verb}: {shown}.")
    seeds = list_text([str(seed) for seed in sorted(compared["seed"].unique())])
    kept, grid = (len(table[RECIPE].drop_duplicates()) for table in (compared, runs))
    marked = runs[RECIPE].drop_duplicates().merge(compared[RECIPE].drop_duplicates(), how="left", indicator=True)
    gone = [recipe_name(row) for _, row in marked[marked["_merge"] == "left_only"].iterrows()]
    left_out = f"; left out, with fewer than half of their seeds: {list_text(gone)}" if gone else ""
    averages = " An average over other settings uses only the settings that still have all recipes it needs."
    sentences.append(
        f"All comparisons are of {kept} of {count_text(grid, 'recipe')} on the seeds they all have ({seeds})"
        f"{left_out}. Runs are not lost at random, so the comparisons favour recipes that lost runs."
        + (averages if gone else "")
    )
    return sentences


def run_sentences(runs: pd.DataFrame) -> list[str]:
    """Count the runs that were best at their last epoch, which might have improved with more epochs."""
    runs = runs[runs["status"] == FINISHED]
    sentences = []
    last = int(((runs["best_epoch"] >= runs["epochs"]) & (runs["epochs"] > 1)).sum())
    if last:
        verb = "was" if last == 1 else "were"
        sentences.append(
            f"{last} of {count_text(len(runs), 'run')} {verb} best at the last epoch and might have improved."
        )
    else:
        sentences.append("No run was best at its last epoch.")
    return sentences


def run_table(runs: pd.DataFrame) -> PageTable:
    """Make a table with the sizes, scores and cost of each run."""
    columns = [
        Column("Seed"),
        Column("Chips", "train / val. / test"),
        Column("Best epoch"),
        Column("Macro acc.", "validation, %"),
        Column("Macro acc.", "%"),
        Column("Micro acc.", "%"),
        Column("NLL"),
        Column("Time"),
        Column("Peak memory"),
        Column("Device", is_text=True),
        Column("Resumed", is_text=True),
    ]
    columns.append(Column("Status", is_text=True))
    rows = [recipe_row(run, _run_cells(run)) for run in runs.to_dict("records")]
    caption = "Runs. Scores are of the test chips unless they are called validation; accuracies in percent."
    return PageTable(caption, columns, rows)


def _run_cells(run: Mapping[str, Any]) -> list[TableCell]:
    memory = run["peak_memory_mib"]
    shares = ("validation_macro_accuracy", "macro_accuracy", "micro_accuracy")
    return [
        TableCell(str(run["seed"]), order=run["seed"]),
        TableCell(
            " / ".join(_integer_text(run[f"n_{part}"]) for part in ("train", "validation", "test")),
            order=run["n_train"],
        ),
        TableCell(f"{_integer_text(run['best_epoch'])} of {_integer_text(run['epochs'])}", order=run["best_epoch"]),
        *(TableCell(PERCENT.text(run[name]), order=run[name]) for name in shares),
        TableCell(SCORES["nll"].text(run["nll"]), order=run["nll"]),
        TableCell(duration_text(run["seconds"]), order=run["seconds"]),
        TableCell("—" if pd.isna(memory) else f"{memory:.0f} MiB", order=memory),
        TableCell("—" if pd.isna(run["device"]) else str(run["device"])),
        TableCell("—" if pd.isna(run["resumed"]) else value_text(bool(run["resumed"]))),
        TableCell(str(run["status"])),
    ]


def _integer_text(value: float) -> str:
    """Return a number without decimals, or a dash if it is missing."""
    return "—" if pd.isna(value) else f"{value:.0f}"
