"""Section answer: what each contrast of the question shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from terralucas.report.wording import margin_text, needed_text, p_sentence, state
from terralucas.tables.scores import MAIN_SCORES, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, AVERAGED


def answer_items(contrasts: pd.DataFrame, power: pd.DataFrame, level: float) -> list[dict[str, str]]:
    """One sentence for each contrast of the question: what macro and micro accuracy show, with the crossed intervals.

    Returns:
        Records of contrast, state (of macro accuracy: higher, lower, same, open or none) and sentence.
    """
    asked = contrasts[(contrasts["family"] == AVERAGED) & (contrasts["classes"] == ALL_CLASSES)]
    needs = {_key(row): row for row in power[power["classes"] == ALL_CLASSES].to_dict("records")}
    found = []
    for name, rows in asked.groupby("contrast", sort=False):
        by_metric = {row["metric"]: row for row in rows.to_dict("records")}
        chosen = [by_metric[metric] for metric in MAIN_SCORES if metric in by_metric]
        if not chosen:
            continue
        text = _sentence(chosen, [_need(row, needs.get(_key(row))) for row in chosen], 1.0 - level)
        found.append({"contrast": str(name), "state": state(chosen[0]), "sentence": text[0].upper() + text[1:] + "."})
    return found


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["contrast"], row["scope"], row["metric"]


def _sentence(rows: Sequence[Mapping[str, Any]], needs: Sequence[str], alpha: float) -> str:
    """The clauses of a contrast's scores; what both lack is said once."""
    if len(rows) > 1 and needs[0] and len(set(needs)) == 1 and {state(row) for row in rows} == {"open"}:
        first, second = (f"{SCORES[row['metric']].prose} ({_gap(row)})" for row in rows)
        return f"{first} is undecidable with this design, and so is {second}; {needs[0]}"
    return "; ".join(_clause(row, need, alpha) for row, need in zip(rows, needs, strict=True))


def _gap(row: Mapping[str, Any]) -> str:
    metric = SCORES[row["metric"]]
    return (
        f"{metric.signed(row['difference'])}{metric.unit} {metric.gap(row['crossed_low'], row['crossed_high'])}".strip()
    )


def _clause(row: Mapping[str, Any], need: str, alpha: float) -> str:
    metric, gap, what = SCORES[row["metric"]], _gap(row), state(row)
    a, _, b = row["contrast"].partition(" − ")
    if pd.isna(row["difference"]):
        return f"{metric.prose} could not be compared"
    one_seed = ", for new chips alone: one seed says nothing of new training" if row["n_seeds"] < 2 else ""
    if what == "none":
        return f"{metric.prose} differs by {gap} without an interval, so that nothing is shown"
    if what in ("higher", "lower"):
        small = row["p_equivalence_holm"] < alpha
        within = f", which is less than the margin of {margin_text(row)}" if small else ""
        return f"in {metric.prose} {a} is {what} than {b}: {gap}, {p_sentence(row['p_holm'])}{within}{one_seed}"
    if what == "same":
        probability = p_sentence(row["p_equivalence_holm"])
        return (
            f"in {metric.prose} {a} and {b} are equivalent within ± {margin_text(row)}: {gap}, {probability}{one_seed}"
        )
    if row["n_seeds"] < 2:
        return f"{metric.prose} is undecidable with one seed: {gap} for new chips alone"
    if not need:
        return f"{metric.prose} is undecided: {gap}"
    return f"{metric.prose} is undecidable with this design: {gap}; {need}"


def _need(row: Mapping[str, Any], need: Mapping[str, Any] | None) -> str:
    """What would decide an open contrast; nothing where one seed can't tell, or where this design mostly would."""
    if need is None or row["n_seeds"] < 2:
        return ""
    seeds, chips = need["seeds_needed"], need["chips_factor_needed"]
    return "" if seeds <= row["n_seeds"] or chips == 1 else needed_text(margin_text(row), seeds, chips)
