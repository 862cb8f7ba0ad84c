"""The table of scores, which several sections show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from terralucas.errors import StudyError
from terralucas.report.page_tables import PageTable, best_text, recipe_row, score_cell, score_column
from terralucas.report.wording import no_seeds_interval
from terralucas.tables.scores import PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import RECIPE


def score_table(summary: pd.DataFrame, names: Sequence[str], caption: str) -> PageTable:
    """Make a table with a row for each recipe and a column for each score, sorted by pooled macro accuracy."""
    metrics = {name: SCORES[name] for name in names}
    if missing := [name for name in names if name not in set(summary["metric"])]:
        raise StudyError(
            f"A table of scores lacks {', '.join(missing)}.",
            expected=f"rows of {', '.join(names)} for every recipe",
            remedy="delete the folder tables/ of the study and start the study again, which makes the tables again",
        )
    best = {
        name: best_text(summary.loc[summary["metric"] == name, "pooled"], metric) for name, metric in metrics.items()
    }
    rows = []
    for key, recipe in summary.groupby(RECIPE, sort=False):
        scores = recipe.set_index("metric")
        cells = [
            score_cell(scores.loc[name], metric, metric.text(scores.loc[name, "pooled"]) == best[name])
            for name, metric in metrics.items()
        ]
        macro = scores["pooled"].get("macro_accuracy", np.nan)
        rows.append((macro, recipe_row(dict(zip(RECIPE, key, strict=True)), cells)))
    rows.sort(key=lambda pair: np.inf if pd.isna(pair[0]) else -pair[0])
    return PageTable(caption, [score_column(metric) for metric in metrics.values()], [row for _, row in rows])


def interval_words(table: pd.DataFrame) -> str:
    """Describe the kinds of interval in a table, by the names that its cells use."""
    level = f"{100 * table['level'].iloc[0]:g}{PERCENT_SIGN}"
    chips = table["crossed_interval"].astype(str).str.startswith("chips").all()
    first = "chips: for new chips alone" if chips else "crossed: for new seeds and new chips"
    if table["seeds_low"].isna().all():
        return f"Pooled score with its {level} interval ({first}). {no_seeds_interval(table)}"
    return f"Pooled score with two {level} intervals ({first}; seeds: mean over seeds and its interval for new seeds)"
