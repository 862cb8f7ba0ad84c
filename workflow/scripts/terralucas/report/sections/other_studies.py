"""The section “Beside other studies”: scores of several studies in one table, if their tables exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from terralucas.errors import StudyError
from terralucas.report.page_tables import Column, PageTable, Row, TableCell, crossed_text
from terralucas.report.wording import count_text
from terralucas.tables.scores import MAIN_SCORES, SCORES, Score
from terralucas.tables.vocabulary import ALL_CLASSES, CROSSED_MEANING, RECIPE, SCHEMA_VERSION, crossed_kind

COLUMNS = (
    "schema_version",
    "study",
    "class_codes",
    *RECIPE,
    "metric",
    "n",
    "n_seeds",
    "pooled",
    "crossed_low",
    "crossed_high",
    "crossed_interval",
    "level",
)


def other_studies_table(
    summaries: Mapping[str, pd.DataFrame], classes: Mapping[str, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """Join macro and micro accuracy, over all classes, of every recipe of several studies.

    Args:
        summaries: study → its summary.csv; the first one is this study.
        classes: study → its classes.csv, as far as there is one.

    Returns:
        One row for each study, recipe and score; no rows if there is no other study.

    Raises:
        StudyError: another version of the project made the table of a study.
    """
    if len(summaries) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    parts = []
    codes = {study: ";".join(map(str, table["class_code"])) for study, table in (classes or {}).items()}
    for study, summary in summaries.items():
        versions = set(summary["schema_version"])
        if versions != {SCHEMA_VERSION}:
            raise StudyError(
                f"The tables of the study {study} cannot be shown beside those of this study.",
                found=f"schema_version {', '.join(map(str, sorted(versions)))} in its summary.csv",
                expected=f"schema_version {SCHEMA_VERSION}",
                remedy="make its tables again with this version, or remove the study from report.beside",
            )
        chosen = summary["metric"].isin(MAIN_SCORES) & (summary["classes"] == ALL_CLASSES)
        parts.append(summary[chosen].assign(study=study, class_codes=codes.get(study, "")))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def _pooled_cell(row: pd.Series, metric: Score) -> TableCell:
    """Make a cell with the pooled score and the crossed interval."""
    return TableCell(metric.text(row["pooled"]), (crossed_text(row, metric) or "no interval",), row["pooled"])


def other_studies_page_table(beside: pd.DataFrame) -> PageTable | None:
    """Make a table of macro and micro accuracy with a column for each study; None if there is no other study."""
    if beside.empty:
        return None
    scores = {(row["study"], row["metric"], *(row[name] for name in RECIPE)): row for _, row in beside.iterrows()}
    # For each score, one column for each study.
    columns = [(metric, study) for metric in beside["metric"].unique() for study in beside["study"].unique()]
    own = set(beside.loc[beside["study"] == beside["study"].iloc[0], "loss"])
    rows = []
    for key in beside[RECIPE].drop_duplicates().itertuples(index=False, name=None):
        found = [(scores.get((study, metric, *key)), SCORES[metric]) for metric, study in columns]
        cells = [TableCell("—") if row is None else _pooled_cell(row, metric) for row, metric in found]
        # Only the losses of this study have a colour on the page.
        loss = key[RECIPE.index("loss")]
        rows.append(Row(tuple(map(str, key)), cells, loss if loss in own else None))
    headings = [_heading(metric, study, beside) for metric, study in columns]
    kinds = dict.fromkeys(map(crossed_kind, beside["crossed_interval"]))
    meanings = "; ".join(f"{kind}: for {CROSSED_MEANING[kind]}" for kind in kinds)
    caption = (
        f"Scores of this and other studies, all classes: pooled, with an interval ({meanings}). A dash: the study has "
        "no such recipe."
    )
    return PageTable(caption, headings, rows)


def other_class_sentences(beside: pd.DataFrame) -> list[str]:
    """Return a sentence for each study that has other classes than this one: its scores are those of another task."""
    codes = {
        study: str(text).split(";")
        for study, text in zip(beside["study"], beside["class_codes"], strict=True)
        if isinstance(text, str) and text
    }
    own = codes.get(beside["study"].iloc[0], []) if len(beside) else []
    return [
        f"The study {study} has other classes ({len(found)}: {_list(found)}) than this one ({len(own)}), and so "
        f"another task: by chance, its macro accuracy is {100 / len(found):.3g} %, and here {100 / len(own):.3g} %."
        for study, found in codes.items()
        if own and set(found) != set(own)
    ]


def _list(codes: Sequence[str]) -> str:
    return ", ".join(codes[:12]) + (", …" if len(codes) > 12 else "")


def _heading(metric: str, study: str, beside: pd.DataFrame) -> Column:
    part = beside[(beside["study"] == study) & (beside["metric"] == metric)]
    chips = f"{part['n'].max():,.0f} test chips"
    return Column(SCORES[metric].label, f"%, {study}: {count_text(int(part['n_seeds'].max()), 'seed')}, {chips}")
