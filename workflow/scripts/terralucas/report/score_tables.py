"""The table of scores, which several sections show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from terralucas.errors import StudyError
from terralucas.report.page_tables import (
    PageTable,
    TableCell,
    best_text,
    estimate_of,
    recipe_rows,
    score_cell,
    score_column,
)
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

    def cells_of(recipe: pd.DataFrame) -> list[TableCell]:
        scores = recipe.set_index("metric")
        return [
            score_cell(scores.loc[name], metric, metric.text(estimate_of(scores.loc[name], metric)) == best[name], both)
            for name, metric in metrics.items()
        ]

    # The rows of each recipe stay together, as its score is that of all of them; recipes without it come last.
    scored = summary[summary["metric"] == sort_by].set_index(list(RECIPE))["pooled"]
    order = pd.MultiIndex.from_frame(summary[list(RECIPE)]).map(scored)
    ordered = summary.iloc[np.argsort(-order.to_numpy(dtype=float), kind="stable")]
    return PageTable(caption, [score_column(metric) for metric in metrics.values()], recipe_rows(ordered, cells_of))


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
