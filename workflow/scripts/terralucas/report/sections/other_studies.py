"""Scores of several studies in one table, where their tables are there."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from terralucas.errors import StudyError
from terralucas.report.page_tables import ALL_CLASSES
from terralucas.tables.tidy_csv import RECIPE, SCHEMA_VERSION

METRICS = ("macro_accuracy", "micro_accuracy")
COLUMNS = (
    "schema_version", "study", *RECIPE, "metric", "n", "n_seeds",
    "pooled", "crossed_low", "crossed_high", "crossed_interval", "level",
)  # fmt: skip


def beside_table(summaries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
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
        chosen = summary["metric"].isin(METRICS) & (summary["classes"] == ALL_CLASSES)
        parts.append(summary[chosen].assign(study=study))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]
