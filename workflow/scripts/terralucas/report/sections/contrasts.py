"""What the contrasts say, in sentences and tables made of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from terralucas.report.page_tables import ALL_CLASSES, Cell, Column, PageTable, Row, scale
from terralucas.report.wording import METRICS, PERCENT, Metric, counted, listed, p_sentence, p_text
from terralucas.statistics.contrasts import AVERAGED, CELL, EQUIVALENT, SHOWN

MAIN = ("macro_accuracy", "micro_accuracy")
# Beyond this a number of times more chips is no plan.
_MOST_CHIPS = 1000.0


def answers(contrasts: pd.DataFrame, power: pd.DataFrame, level: float) -> list[dict[str, str]]:
    """One sentence for each contrast of the question: what macro and micro accuracy show, with the crossed intervals.

    Returns:
        Records of contrast, state (of macro accuracy: higher, lower, same, open or none) and sentence.
    """
    asked = contrasts[(contrasts["family"] == AVERAGED) & (contrasts["classes"] == ALL_CLASSES)]
    needs = {_key(row): row for row in power[power["classes"] == ALL_CLASSES].to_dict("records")}
    found = []
    for name, rows in asked.groupby("contrast", sort=False):
        by_metric = {row["metric"]: row for row in rows.to_dict("records")}
        chosen = [by_metric[metric] for metric in MAIN if metric in by_metric]
        if not chosen:
            continue
        text = _sentence(chosen, [_need(row, needs.get(_key(row))) for row in chosen], 1.0 - level)
        found.append({"contrast": str(name), "state": state(chosen[0]), "sentence": text[0].upper() + text[1:] + "."})
    return found


def state(row: Mapping[str, Any]) -> str:
    """What a contrast shows: higher, lower, same, open, or none where there is no interval."""
    if pd.isna(row["crossed_low"]):
        return "none"
    if row["verdict"] == SHOWN:
        return "higher" if row["difference"] > 0 else "lower"
    return "same" if row["verdict"] == EQUIVALENT else "open"


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["contrast"], row["scope"], row["metric"]


def _sentence(rows: Sequence[Mapping[str, Any]], needs: Sequence[str], alpha: float) -> str:
    """The clauses of a contrast's scores; what both lack is said once."""
    if len(rows) > 1 and needs[0] and len(set(needs)) == 1 and {state(row) for row in rows} == {"open"}:
        first, second = (f"{METRICS[row['metric']].prose} ({_gap(row)})" for row in rows)
        return f"{first} is undecidable with this design, and so is {second}; {needs[0]}"
    return "; ".join(_clause(row, need, alpha) for row, need in zip(rows, needs, strict=True))


def _gap(row: Mapping[str, Any]) -> str:
    metric = METRICS[row["metric"]]
    return (
        f"{metric.signed(row['difference'])}{metric.unit} {metric.gap(row['crossed_low'], row['crossed_high'])}".strip()
    )


def _clause(row: Mapping[str, Any], need: str, alpha: float) -> str:
    metric, gap, what = METRICS[row["metric"]], _gap(row), state(row)
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


def margin_text(row: Mapping[str, Any]) -> str:
    """The margin of a contrast, in points."""
    number = f"{100 * row['margin']:g}"
    return f"{number} point{'' if number == '1' else 's'}"


def needed_text(margin: str, seeds: float, chips: float) -> str:
    """What would decide a margin: seeds, or more chips of every class."""
    ways = [f"{seeds:.0f} seeds"] if not pd.isna(seeds) else []
    if not pd.isna(chips) and chips <= _MOST_CHIPS:
        ways.append(f"{factor_text(chips)} times the chips")
    if not ways:
        return f"neither more seeds nor more chips alone would decide {margin}"
    alone = "" if len(ways) == 2 else f" (more {'chips' if 'seeds' in ways[0] else 'seeds'} alone would not do)"
    return f"to decide {margin} it would need {' or '.join(ways)}{alone}"


def factor_text(factor: float) -> str:
    """A factor with two digits, never rounded down."""
    digits = 1 if factor < 10 else 0
    return f"{np.ceil(factor * 10**digits) / 10**digits:.{digits}f}"


def verdict_counts(contrasts: pd.DataFrame, metric: str) -> str:
    """How many contrasts of a metric show a difference, are equivalent, or undecided, by family."""
    chosen = contrasts[(contrasts["metric"] == metric) & (contrasts["classes"] == ALL_CLASSES)]
    parts = []
    for family, rows in chosen.groupby("family", sort=False):
        states = [state(row) for row in rows.to_dict("records")]
        shown, same = sum(each in ("higher", "lower") for each in states), states.count("same")
        equivalent = f", {same} equivalent within the margin" if rows["margin"].notna().any() else ""
        open_ones = len(states) - shown - same
        parts.append(f"{family}: {shown} of {len(states)} show a difference{equivalent}, {open_ones} undecided")
    return f"{METRICS[metric].label}, {'; '.join(parts)}." if parts else ""


def contrast_table(contrasts: pd.DataFrame, name: str, classes: str, level: float) -> PageTable | None:
    """All contrasts of one score with both intervals, tests and verdict; None where there are none."""
    metric = METRICS[name]
    rows = contrasts[(contrasts["metric"] == name) & (contrasts["classes"] == classes)].to_dict("records")
    if not rows:
        return None
    place = scale([row[key] for row in rows for key in ("crossed_low", "crossed_high", "difference")])
    margin = rows[0]["margin"]
    mcnemar = any(not pd.isna(row["mcnemar_mid"]) for row in rows)
    columns = [
        Column("Over", is_text=True),
        Column("Difference", "points" if metric.percent else ""),
        Column("Picture", "crossed; dashed: zero", is_text=True),
        Column("Verdict", is_text=True),
        Column("p", "Holm-adjusted"),
        Column("P(A > B)"),
    ]
    columns += [Column("p, equivalence", "Holm-adjusted")] if not pd.isna(margin) else []
    columns += [Column("McNemar", "mid-p")] if mcnemar else []
    body = [Row((row["contrast"],), _contrast_cells(row, metric, place, not pd.isna(margin), mcnemar)) for row in rows]
    higher = "Higher is better" if metric.higher_is_better else "Lower is better, so that a negative one favours A"
    within = f" Margin: {margin_text(rows[0])}." if not pd.isna(margin) else ""
    seeds = "seeds: mean over seeds and its interval for new seeds" if any(
        not pd.isna(row["seeds_low"]) for row in rows) else "no seeds interval"  # fmt: skip
    caption = (
        f"Paired differences A − B in {metric.prose}, {_of(classes)}: pooled, with {100 * level:g}\u00a0% intervals "
        f"(crossed: new seeds and new chips; {seeds}). {higher}.{within}"
    )
    return PageTable(caption, columns, body, Column("Contrast A − B", is_text=True))


def _of(classes: str) -> str:
    return "all classes" if classes == ALL_CLASSES else f"{classes} (class code)"


def _contrast_cells(row: dict[str, Any], metric: Metric, place: Any, has_margin: bool, mcnemar: bool) -> list[Cell]:
    what, crossed = state(row), metric.gap(row["crossed_low"], row["crossed_high"])
    kind = "crossed" if row["n_seeds"] > 1 else "chips"
    seeds = metric.gap(row["seeds_low"], row["seeds_high"])
    small = [f"{kind} {crossed}"] if crossed else ["no interval"]
    small += [f"seeds {metric.signed(row['seeds_difference'])} {seeds}"] if seeds else []
    marks = (row["crossed_low"], row["difference"], row["crossed_high"], 0.0)
    over = {AVERAGED: "all other settings", CELL: row["scope"]}.get(row["family"], "interaction")
    verdicts = {"higher": "A higher", "lower": "A lower", "same": "equivalent", "none": "no interval"}
    if row["family"] not in (AVERAGED, CELL):
        verdicts |= {"higher": "above zero", "lower": "below zero"}
    cells = [
        Cell(over),
        Cell(metric.signed(row["difference"]), tuple(small), row["difference"]),
        Cell("", whisker=tuple(map(place, marks)) if crossed else None, shown=what in ("higher", "lower")),
        Cell(verdicts.get(what, "undecided")),
        Cell(p_text(row["p_holm"]), (f"alone {p_text(row['p_value'])}",), row["p_holm"]),
        Cell("—" if pd.isna(row["p_greater"]) else f"{row['p_greater']:.3f}", order=row["p_greater"]),
    ]
    if has_margin:
        cells.append(Cell(p_text(row["p_equivalence_holm"]), order=row["p_equivalence_holm"]))
    if mcnemar:
        known = not pd.isna(row["mcnemar_mid"])
        right = (f"{row['only_a']:.0f} : {row['only_b']:.0f} chips",) if known else ()
        cells.append(Cell(p_text(row["mcnemar_mid"]), right, row["mcnemar_mid"]))
    return cells


def mcnemar_sentence(contrasts: pd.DataFrame, level: float) -> str:
    """What McNemar's tests say, and what they don't; nothing where there are none."""
    tests = contrasts[(contrasts["classes"] == ALL_CLASSES) & contrasts["mcnemar_mid"].notna()]
    if tests.empty:
        return ""
    shown = int((tests["mcnemar_mid"] < 1 - level).sum())
    return (
        f"McNemar’s test finds {counted(shown, 'pair')} of recipes in {len(tests)} that differ in micro accuracy "
        f"(mid-p below {1 - level:.2g}, unadjusted). It takes the runs as they are, so it speaks of these trained "
        "models and not of the recipes. Beside its p: chips right for A alone and for B alone."
    )


def mixed_model_sentences(mixed: pd.DataFrame) -> list[str]:
    """Where the mixed model comes to something else than the contrasts, or that it does nowhere."""
    if mixed.empty:
        return []
    apart = mixed[mixed["discrepancy"].notna() & (mixed["discrepancy"] != "")]
    unsettled = mixed[~mixed["converged"].astype(bool)]
    sentences = [
        f"A mixed model (recipes fixed, seeds random; it knows no chips and no overlap of training sets) agrees in "
        f"{len(mixed) - len(apart)} of {counted(len(mixed), 'comparison')}."
    ]
    for row in apart.to_dict("records"):
        metric = METRICS[row["metric"]]
        sentences.append(
            f"{row['contrast']} ({_scope(row)}), {metric.prose}: {metric.signed(row['mixed_difference'])} "
            f"{metric.gap(row['mixed_low'], row['mixed_high'])} by the model, {metric.signed(row['difference'])} "
            f"{metric.gap(row['crossed_low'], row['crossed_high'])} here; {row['discrepancy']}."
        )
    if len(unsettled):
        sentences.append(f"The model did not converge for {counted(len(unsettled), 'contrast')}.")
    return sentences


def _scope(row: Mapping[str, Any]) -> str:
    parts = [] if row["scope"] == "all" else [row["scope"]]
    return ", ".join([*parts, "all classes" if row["classes"] == ALL_CLASSES else row["classes"]])


def power_table(power: pd.DataFrame, contrasts: pd.DataFrame) -> PageTable | None:
    """What each contrast can show and what would decide its margin, for all classes."""
    rows = power[(power["classes"] == ALL_CLASSES) & (power["family"] != CELL)]
    if rows.empty:
        return None
    known = contrasts[contrasts["classes"] == ALL_CLASSES].set_index(["contrast", "scope", "metric"])
    body = []
    for (contrast, scope, family), group in rows.groupby(["contrast", "scope", "family"], sort=False):
        cells = [Cell(family)]
        by_metric = {row["metric"]: row for row in group.to_dict("records")}
        for metric in MAIN:
            row, seeds = by_metric[metric], known.loc[(contrast, scope, metric), "n_seeds"]
            cells += _power_cells(row, int(seeds))
        body.append(Row((str(contrast),), cells))
    share = f"{100 * rows['power'].iloc[0]:.0f}\u00a0%"
    columns = [Column("Kind", is_text=True)]
    for metric in MAIN:
        label = METRICS[metric].label
        columns += [
            Column("Smallest difference", f"{label}, points"),
            Column("Seeds needed", f"{label}"),
            Column("Chips needed", f"{label}, times those of each class"),
        ]
    margins = listed([f"{margin_text(by_metric[metric])} of {METRICS[metric].prose}" for metric in MAIN])
    caption = (
        f"What this design can tell: the smallest true difference it shows in {share} of studies, and what would "
        f"decide the margin ({margins}), from the spread that was observed."
    )
    return PageTable(caption, columns, body, Column("Contrast", is_text=True))


def _power_cells(row: Mapping[str, Any], n_seeds: int) -> list[Cell]:
    seeds, chips = row["seeds_needed"], row["chips_factor_needed"]
    never = "—" if n_seeds < 2 else "none would do"
    enough = not pd.isna(chips) and chips == 1
    return [
        Cell(PERCENT.text(row["smallest_difference"]), order=row["smallest_difference"]),
        Cell(never if pd.isna(seeds) else f"{seeds:.0f}", order=seeds),
        Cell(never if pd.isna(chips) else "enough" if enough else factor_text(chips), order=chips),
    ]


def power_sentences(power: pd.DataFrame, n_seeds: int) -> list[str]:
    """The range of what averaged contrasts can show, and how many margins this design decides."""
    rows = power[(power["classes"] == ALL_CLASSES) & (power["family"] == AVERAGED)]
    if rows.empty:
        return []
    if n_seeds < 2:
        return ["One seed tells nothing of the spread over trainings, so that the power can't be told."]
    sentences = []
    for metric in MAIN:
        chosen = rows[rows["metric"] == metric]
        known = chosen["smallest_difference"].dropna()
        if known.empty:
            continue
        decided = int(((chosen["chips_factor_needed"] == 1) | (chosen["seeds_needed"] <= n_seeds)).sum())
        low, high = PERCENT.text(known.min()), PERCENT.text(known.max())
        span = low if low == high else f"{low} to {high}"
        sentences.append(
            f"Averaged over all other settings, the smallest difference in {METRICS[metric].prose} that this design "
            f"shows with a power of {100 * chosen['power'].iloc[0]:.0f}\u00a0% is {span} points; it decides the margin "
            f"of {margin_text(chosen.iloc[0])} for {decided} of {counted(len(chosen), 'contrast')}."
        )
    return sentences
