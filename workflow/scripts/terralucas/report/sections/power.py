"""The section “Power”: which differences this design can show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from terralucas.report.page_tables import Column, PageTable, Row, TableCell
from terralucas.report.wording import count_text, factor_text, list_text, margin_text, range_text
from terralucas.tables.scores import MAIN_SCORES, PERCENT, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, AVERAGED, CELL, INTERACTION


def power_table(power: pd.DataFrame, contrasts: pd.DataFrame) -> PageTable | None:
    """Make a table of what each contrast can show and what would decide its margin, for all classes."""
    rows = power[(power["classes"] == ALL_CLASSES) & (power["family"] != CELL)]
    if rows.empty:
        return None
    known = contrasts[contrasts["classes"] == ALL_CLASSES].set_index(["contrast", "scope", "metric"])
    body = []
    for (contrast, scope, family), group in rows.groupby(["contrast", "scope", "family"], sort=False):
        cells = [TableCell(family)]
        by_metric = {row["metric"]: row for row in group.to_dict("records")}
        for metric in MAIN_SCORES:
            row, seeds = by_metric[metric], known.loc[(contrast, scope, metric), "n_seeds"]
            # Two differences of accuracies can differ by twice as much as two accuracies.
            cells += _power_cells(row, int(seeds), 2.0 if family == INTERACTION else 1.0)
        body.append(Row((str(contrast),), cells))
    share = f"{100 * rows['power'].iloc[0]:.0f}\u00a0%"
    columns = [Column("Kind", is_text=True)]
    for metric in MAIN_SCORES:
        label = SCORES[metric].label
        columns += [
            Column("Smallest difference", f"{label}, points"),
            Column("Seeds needed", f"{label}"),
            Column("Chips needed", f"{label}, times those of each class"),
        ]
    margins = list_text(
        [
            f"{margin_text(by_metric[metric]['margin'], SCORES[metric])} of {SCORES[metric].prose}"
            for metric in MAIN_SCORES
        ]
    )
    caption = (
        f"What this design can tell: the smallest true difference it shows in {share} of studies, and what would "
        f"decide the margin ({margins}), from the spread that was observed."
    )
    return PageTable(caption, columns, body, Column("Contrast", is_text=True))


def _power_cells(row: Mapping[str, Any], n_seeds: int, largest: float = 1.0) -> list[TableCell]:
    seeds, chips = row["seeds_needed"], row["chips_factor_needed"]
    is_unknown = n_seeds < 2 or pd.isna(row["smallest_difference"])
    never = "—" if is_unknown else "none would do"
    enough = not pd.isna(chips) and chips == 1
    return [
        TableCell(_smallest_text(row["smallest_difference"], largest), order=row["smallest_difference"]),
        TableCell(never if pd.isna(seeds) else f"{seeds:.0f}", order=seeds),
        TableCell(never if pd.isna(chips) else "enough" if enough else factor_text(chips), order=chips),
    ]


def _smallest_text(smallest: float, largest: float = 1.0) -> str:
    """Return the smallest difference that is shown, in points, or `more than` the largest difference there can be."""
    return f"more than {100 * largest:.0f}" if smallest > largest else PERCENT.text(smallest)


def power_sentences(power: pd.DataFrame, n_seeds: int) -> list[str]:
    """Give the range of the smallest differences of averaged contrasts, and count the margins this design decides."""
    rows = power[(power["classes"] == ALL_CLASSES) & (power["family"] == AVERAGED)]
    if rows.empty:
        return []
    if n_seeds < 2:
        return ["With one seed, the spread over trainings is unknown, and so is the power."]
    sentences = []
    for metric in MAIN_SCORES:
        chosen = rows[rows["metric"] == metric]
        known = chosen["smallest_difference"].dropna()
        if known.empty:
            continue
        decided = int(((chosen["chips_factor_needed"] == 1) | (chosen["seeds_needed"] <= n_seeds)).sum())
        span = range_text([_smallest_text(value) for value in (known.min(), known.max())])
        margin = margin_text(chosen["margin"].iloc[0], SCORES[metric])
        sentences.append(
            f"Averaged over all other settings, the smallest difference in {SCORES[metric].prose} that this design "
            f"shows with a power of {100 * chosen['power'].iloc[0]:.0f}\u00a0% is {span} points; it decides the margin "
            f"of {margin} for {decided} of {count_text(len(chosen), 'contrast')}."
        )
    return sentences
