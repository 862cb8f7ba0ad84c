"""Scores of several studies in one table, where their tables are there."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from terralucas.errors import StudyError
from terralucas.report.page_tables import Column, PageTable, Row, TableCell
from terralucas.report.wording import counted
from terralucas.tables.scores import MAIN_SCORES, SCORES, Score
from terralucas.tables.vocabulary import ALL_CLASSES, RECIPE, SCHEMA_VERSION

COLUMNS = (
    "schema_version", "study", *RECIPE, "metric", "n", "n_seeds",
    "pooled", "crossed_low", "crossed_high", "crossed_interval", "level",
)  # fmt: skip


def other_studies_table(summaries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Macro and micro accuracy, over all classes, of every recipe of several studies.

    Args:
        summaries: study → its summary.csv; this study first.

    Returns:
        One row for each study, recipe and score; none where there is no other study.

    Raises:
        StudyError: a study's table was made by another version.
    """
    if len(summaries) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    parts = []
    for study, summary in summaries.items():
        versions = set(summary["schema_version"])
        if versions != {SCHEMA_VERSION}:
            raise StudyError(
                f"The tables of the study {study} can't stand beside this study's.",
                found=f"schema_version {', '.join(map(str, sorted(versions)))} in its summary.csv",
                expected=f"schema_version {SCHEMA_VERSION}",
                remedy="make its tables again with this version, or take it out of report.beside",
            )
        chosen = summary["metric"].isin(MAIN_SCORES) & (summary["classes"] == ALL_CLASSES)
        parts.append(summary[chosen].assign(study=study))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def _score(row: pd.Series, metric: Score) -> TableCell:
    interval = metric.interval(row["crossed_low"], row["crossed_high"])
    name = "chips" if str(row["crossed_interval"]).startswith("chips") else "crossed"
    return TableCell(metric.text(row["pooled"]), (f"{name} {interval}" if interval else "no interval",), row["pooled"])


def other_studies_page_table(beside: pd.DataFrame) -> PageTable | None:
    """Macro and micro accuracy of every recipe, with a column for each study; None where there is no other study."""
    if beside.empty:
        return None
    scores = {(row["study"], row["metric"], *(row[name] for name in RECIPE)): row for _, row in beside.iterrows()}
    # Studies side by side, score by score.
    columns = [(metric, study) for metric in beside["metric"].unique() for study in beside["study"].unique()]
    own = set(beside.loc[beside["study"] == beside["study"].iloc[0], "loss"])
    rows = []
    for key in beside[RECIPE].drop_duplicates().itertuples(index=False, name=None):
        found = [(scores.get((study, metric, *key)), SCORES[metric]) for metric, study in columns]
        cells = [TableCell("—") if row is None else _score(row, metric) for row, metric in found]
        # Only losses of this study have a colour on its page.
        loss = key[RECIPE.index("loss")]
        rows.append(Row(tuple(map(str, key)), cells, loss if loss in own else None))
    headings = [_heading(metric, study, beside) for metric, study in columns]
    caption = (
        "Scores of this and other studies, all classes: pooled, with the interval for new seeds and new chips. A dash: "
        "the study has no such recipe."
    )
    return PageTable(caption, headings, rows)


def _heading(metric: str, study: str, beside: pd.DataFrame) -> Column:
    part = beside[(beside["study"] == study) & (beside["metric"] == metric)]
    chips = f"{part['n'].max():,.0f} test chips"
    return Column(SCORES[metric].label, f"%, {study}: {counted(int(part['n_seeds'].max()), 'seed')}, {chips}")
