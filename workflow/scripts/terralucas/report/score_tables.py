"""The table of scores, which several sections show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from terralucas.errors import StudyError
from terralucas.report.page_tables import PageTable, best_text, estimate_of, recipe_row, score_cell, score_column
from terralucas.report.wording import no_seeds_interval
from terralucas.tables.scores import PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import CROSSED_MEANING, RECIPE, crossed_kind


def score_table(
    summary: pd.DataFrame, names: Sequence[str], caption: str, sort_by: str = "macro_accuracy", both: bool = True
) -> PageTable:
    """Make a table with a row for each recipe and a column for each score.

    Scores that are missing or rounded to 0 in every row are left out.

    Args:
        summary: rows of summary.csv and controls.csv of one set of classes.
        names: the scores.
        caption: caption of the table.
        sort_by: score by whose pooled value the rows are sorted.
        both: whether cells show both intervals, or one.
    """
    if missing := [name for name in names if name not in set(summary["metric"])]:
        raise StudyError(
            f"A table of scores lacks {', '.join(missing)}.",
            expected=f"rows of {', '.join(names)} for every recipe",
            remedy="delete the folder tables/ of the study and start the study again, which makes the tables again",
        )
    values = {name: _estimates(summary, name) for name in names}
    empty = ("—", SCORES["macro_accuracy"].text(0.0), SCORES["mcc"].text(0.0))
    metrics = {name: SCORES[name] for name in names if not values[name].map(SCORES[name].text).isin(empty).all()}
    best = {name: best_text(values[name], metric) for name, metric in metrics.items()}
    rows = []
    for key, recipe in summary.groupby(RECIPE, sort=False):
        scores = recipe.set_index("metric")
        cells = [
            score_cell(scores.loc[name], metric, metric.text(estimate_of(scores.loc[name], metric)) == best[name], both)
            for name, metric in metrics.items()
        ]
        order = scores["pooled"].get(sort_by, np.nan)
        rows.append((order, recipe_row(dict(zip(RECIPE, key, strict=True)), cells)))
    rows.sort(key=lambda pair: np.inf if pd.isna(pair[0]) else -pair[0])
    return PageTable(caption, [score_column(metric) for metric in metrics.values()], [row for _, row in rows])


def _estimates(summary: pd.DataFrame, name: str) -> pd.Series:
    rows = summary[summary["metric"] == name]
    return pd.Series([estimate_of(row, SCORES[name]) for row in rows.to_dict("records")], dtype=float)


def interval_words(table: pd.DataFrame, both: bool = True) -> str:
    """Describe the kinds of interval in a table, by the names that its cells use."""
    level = f"{100 * table['level'].iloc[0]:g}{PERCENT_SIGN}"
    kind = "chips" if set(map(crossed_kind, table["crossed_interval"])) == {"chips"} else "crossed"
    first = f"for {CROSSED_MEANING[kind]}"
    if not both:
        return f"Score of the test chips of all seeds, with its {level} interval {first}"
    first = f"{kind}: {first}"
    if table["seeds_low"].isna().all():
        return f"Pooled score with its {level} interval ({first}). {no_seeds_interval(table)}"
    return f"Pooled score with two {level} intervals ({first}; seeds: mean over seeds and its interval for new seeds)"
