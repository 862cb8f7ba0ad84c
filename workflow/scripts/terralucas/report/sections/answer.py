"""The section “The answer”: a sentence about each contrast of the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from terralucas.report.wording import contrast_state, margin_text, needed_text, p_sentence
from terralucas.tables.scores import MAIN_SCORES, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, AVERAGED


def answer_items(contrasts: pd.DataFrame, power: pd.DataFrame, level: float) -> list[dict[str, str]]:
    """Write a sentence for each contrast of the question: the result in macro and micro accuracy, with intervals.

    Returns:
        Records of contrast, state (of macro accuracy: higher, lower, same, open or none) and sentence.
    """
    asked = contrasts[(contrasts["family"] == AVERAGED) & (contrasts["classes"] == ALL_CLASSES)]
    needs = {_key(row): row for row in power[power["classes"] == ALL_CLASSES].to_dict("records")}
    items = []
    for name, rows in asked.groupby("contrast", sort=False):
        by_metric = {row["metric"]: row for row in rows.to_dict("records")}
        chosen = [by_metric[metric] for metric in MAIN_SCORES if metric in by_metric]
        if not chosen:
            continue
        text = _sentence(chosen, [_need(row, needs.get(_key(row))) for row in chosen], 1.0 - level)
        sentence = f"{text[0].upper()}{text[1:]}."
        items.append({"contrast": str(name), "state": contrast_state(chosen[0]), "sentence": sentence})
    return items


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["contrast"], row["scope"], row["metric"]


def _sentence(rows: Sequence[Mapping[str, Any]], needs: Sequence[str], alpha: float) -> str:
    """Join the clauses of a contrast's scores; a need that both scores share is written once."""
    if len(rows) > 1 and needs[0] and len(set(needs)) == 1 and {contrast_state(row) for row in rows} == {"open"}:
        first, second = (f"{SCORES[row['metric']].prose} ({_gap(row)})" for row in rows)
        return f"{first} is inconclusive, and so is {second}; {needs[0]}"
    return "; ".join(_clause(row, need, alpha) for row, need in zip(rows, needs, strict=True))


def _gap(row: Mapping[str, Any]) -> str:
    metric = SCORES[row["metric"]]
    return (
        f"{metric.signed(row['difference'])}{metric.unit} {metric.gap(row['crossed_low'], row['crossed_high'])}".strip()
    )


def _clause(row: Mapping[str, Any], need: str, alpha: float) -> str:
    metric, gap, what = SCORES[row["metric"]], _gap(row), contrast_state(row)
    a, _, b = row["contrast"].partition(" − ")
    if pd.isna(row["difference"]):
        return f"{metric.prose} could not be compared"
    one_seed = ", for new chips alone: one seed says nothing of new training" if row["n_seeds"] < 2 else ""
    if what == "none":
        return f"{metric.prose} differs by {gap} without an interval, so that nothing is shown"
    if what in ("higher", "lower"):
        small = row["p_equivalence_holm"] < alpha
        within = f", which is less than the margin of {margin_text(row['margin'], metric)}" if small else ""
        return f"in {metric.prose} {a} is {what} than {b}: {gap}, {p_sentence(row['p_holm'])}{within}{one_seed}"
    if what == "same":
        probability = p_sentence(row["p_equivalence_holm"])
        margin = margin_text(row["margin"], metric)
        return f"in {metric.prose} {a} and {b} are equivalent within ± {margin}: {gap}, {probability}{one_seed}"
    if row["n_seeds"] < 2:
        return f"{metric.prose} is inconclusive with one seed: {gap} for new chips alone"
    if not need:
        return f"{metric.prose} is inconclusive: {gap}"
    return f"{metric.prose} is inconclusive: {gap}; {need}"


def _need(row: Mapping[str, Any], need: Mapping[str, Any] | None) -> str:
    """Say what would decide an open contrast.

    The text is empty with one seed, because the need is then unknown, and if this design has the power to decide.
    """
    if need is None or row["n_seeds"] < 2:
        return ""
    seeds, chips = need["seeds_needed"], need["chips_factor_needed"]
    if seeds <= row["n_seeds"] or chips == 1:
        return ""
    return needed_text(margin_text(row["margin"], SCORES[row["metric"]]), seeds, chips)
