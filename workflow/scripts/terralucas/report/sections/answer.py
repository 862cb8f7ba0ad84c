"""The section “The answer”: one row and one sentence for each contrast of the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from terralucas.report.page_tables import Column, PageTable, Row, TableCell
from terralucas.report.wording import contrast_state, margin_text, needed_text, p_sentence, state_word, ways_text
from terralucas.tables.scores import MAIN_SCORES, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, AVERAGED


def _ordered(primary: str) -> list[str]:
    """Return the main scores, the primary one first."""
    return sorted(MAIN_SCORES, key=lambda name: name != primary)


def answer_table(contrasts: pd.DataFrame, power: pd.DataFrame, primary: str) -> PageTable | None:
    """Make the table of the first screen: a row for each contrast, with one interval and one word for each main score.

    Args:
        contrasts: contrasts.csv.
        power: power.csv.
        primary: name of the primary score.

    Returns:
        None if the study names no contrasts.
    """
    names = _ordered(primary)
    rows = []
    for contrast, by_metric in _asked(contrasts):
        a, _, b = contrast.partition(" − ")
        cells = [_cell(by_metric[name]) for name in names if name in by_metric]
        settles = _settles([by_metric[name] for name in names if name in by_metric], power)
        rows.append(Row((f"{a} against {b}",), [*cells, TableCell(settles[0], settles[1:])]))
    if not rows:
        return None
    columns = [
        Column(SCORES[name].label, f"{'secondary' if number else 'primary score'}, difference in points")
        for number, name in enumerate(names)
    ]
    caption = "Is the first setting better than the second, averaged over all other settings?"
    columns.append(Column("What would settle it", "rough", is_text=True))
    return PageTable(caption, columns, rows, Column("Comparison", is_text=True))


def _asked(contrasts: pd.DataFrame) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """Return for each contrast of the question its rows of the main scores, by score."""
    asked = contrasts[
        (contrasts["family"] == AVERAGED)
        & (contrasts["classes"] == ALL_CLASSES)
        & contrasts["metric"].isin(list(MAIN_SCORES))
    ]
    return [
        (str(name), {row["metric"]: row for row in rows.to_dict("records")})
        for name, rows in asked.groupby("contrast", sort=False)
    ]


def _cell(row: Mapping[str, Any]) -> TableCell:
    metric = SCORES[row["metric"]]
    interval = metric.gap(row["crossed_low"], row["crossed_high"]) or "no interval"
    return TableCell(metric.signed(row["difference"]), (interval,), row["difference"], word=state_word(row, metric))


def _settles(rows: Sequence[Mapping[str, Any]], power: pd.DataFrame) -> tuple[str, ...]:
    """Say in short lines what would settle the scores that are open."""
    needs = _needs(power)
    lines: dict[str, list[str]] = {}
    for row in rows:
        need = needs.get(_key(row))
        if contrast_state(row) == "open" and need is not None and row["n_seeds"] > 1 and not _has_power(row, need):
            text = ways_text(need["seeds_needed"], need["chips_factor_needed"])
            lines.setdefault(text or "both more seeds and more chips", []).append(SCORES[row["metric"]].prose)
    if not lines:
        return ("—",)
    if len(lines) == 1 and len(next(iter(lines.values()))) == len(rows):
        return (next(iter(lines)),)
    return tuple(f"{text} ({' and '.join(names)})" for text, names in lines.items())


def _has_power(row: Mapping[str, Any], need: Mapping[str, Any]) -> bool:
    return need["seeds_needed"] <= row["n_seeds"] or need["chips_factor_needed"] == 1


def answer_items(contrasts: pd.DataFrame, power: pd.DataFrame, level: float, primary: str) -> list[dict[str, str]]:
    """Write a sentence for each contrast of the question: the result in the main scores, with intervals.

    Returns:
        Records of contrast, state (of the primary score: higher, lower, same, open or none) and sentence.
    """
    needs, names, items = _needs(power), _ordered(primary), []
    for contrast, by_metric in _asked(contrasts):
        rows = [by_metric[name] for name in names if name in by_metric]
        clauses = [_clause(row, 1.0 - level) for row in rows]
        wishes = [_need(row, needs.get(_key(row))) for row in rows]
        texts = [f"{clause[0].upper()}{clause[1:]}." for clause in clauses]
        for wish in dict.fromkeys(wish for wish in wishes if wish):
            last = max(number for number, each in enumerate(wishes) if each == wish)
            texts[last] += f" {wish[0].upper()}{wish[1:]}."
        items.append({"contrast": contrast, "state": contrast_state(rows[0]), "sentence": " ".join(texts)})
    return items


def _needs(power: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {_key(row): row for row in power[power["classes"] == ALL_CLASSES].to_dict("records")}


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["contrast"], row["scope"], row["metric"]


def _clause(row: Mapping[str, Any], alpha: float) -> str:
    metric, what = SCORES[row["metric"]], contrast_state(row)
    a, _, b = row["contrast"].partition(" − ")
    if pd.isna(row["difference"]):
        return f"{metric.prose} could not be compared"
    difference = f"{metric.signed(row['difference'])}{metric.unit}"
    if what == "none":
        return f"{metric.prose} differs by {difference}; there is no interval, so that nothing is shown"
    span = f"anything from {metric.signed(row['crossed_low'])} to {metric.signed(row['crossed_high'])}"
    one_seed = " for new chips alone: one seed says nothing of new training" if row["n_seeds"] < 2 else ""
    if what in ("higher", "lower"):
        small = row["p_equivalence_holm"] < alpha
        within = f", and less than the margin of {margin_text(row['margin'], metric)}" if small else ""
        word = state_word(row, metric)
        p = p_sentence(row["p_holm"])
        return f"{a} is {word} than {b} in {metric.prose}: {difference}, {span} ({p}){within}{one_seed}"
    if what == "same":
        margin = margin_text(row["margin"], metric)
        p = p_sentence(row["p_equivalence_holm"])
        return f"{a} and {b} are equivalent in {metric.prose}, within ± {margin}: {difference}, {span} ({p}){one_seed}"
    return f"no clear difference in {metric.prose}: {difference}, {span}{one_seed}"


def _need(row: Mapping[str, Any], need: Mapping[str, Any] | None) -> str:
    """Say what would decide an open contrast.

    The text is empty with one seed, because the need is then unknown, and if this design has the power to decide.
    """
    if need is None or row["n_seeds"] < 2 or contrast_state(row) != "open" or _has_power(row, need):
        return ""
    margin = margin_text(row["margin"], SCORES[row["metric"]])
    return needed_text(margin, need["seeds_needed"], need["chips_factor_needed"])
