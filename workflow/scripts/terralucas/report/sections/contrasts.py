"""The section “Contrasts”: tables of the contrasts, and sentences about their verdicts and cross-checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from terralucas.report.page_tables import Column, PageTable, Row, TableCell, scale
from terralucas.report.wording import (
    class_set_text,
    contrast_state,
    count_text,
    list_text,
    margin_text,
    p_text,
    state_word,
)
from terralucas.tables.scores import MAIN_SCORES, SCORES, Score
from terralucas.tables.vocabulary import (
    ALL_CLASSES,
    AVERAGED,
    CELL,
    CROSSED_MEANING,
    EQUIVALENT,
    INCONCLUSIVE,
    SHOWN,
)


def verdict_counts(contrasts: pd.DataFrame, metric: str) -> str:
    """Count by family how many contrasts of a score show a difference, are equivalent, or are inconclusive."""
    chosen = contrasts[(contrasts["metric"] == metric) & (contrasts["classes"] == ALL_CLASSES)]
    parts = []
    for family, rows in chosen.groupby("family", sort=False):
        states = [contrast_state(row) for row in rows.to_dict("records")]
        shown, same = sum(each in ("higher", "lower") for each in states), states.count("same")
        equivalent = f", {same} equivalent within the margin" if rows["margin"].notna().any() else ""
        open_ones = len(states) - shown - same
        parts.append(f"{family}: {shown} of {len(states)} show a difference{equivalent}, {open_ones} inconclusive")
    return f"{SCORES[metric].label}, {'; '.join(parts)}." if parts else ""


def no_contrasts_sentence(asked: Sequence[str]) -> str:
    """Say why no settings are compared.

    Args:
        asked: names of the contrasts of the configuration, without interactions.
    """
    if not asked:
        return "The configuration names no contrasts (report.contrasts), so no settings are compared."
    return "No settings are compared, because too few recipes are left."


def not_computed_sentences(contrasts: pd.DataFrame, asked: Sequence[str]) -> list[str]:
    """Name the contrasts of the configuration that cannot be computed from the recipes that are left.

    Args:
        contrasts: contrasts.csv.
        asked: names of the contrasts and interactions of the configuration.
    """
    missing = [name for name in dict.fromkeys(asked) if name not in set(contrasts["contrast"])]
    if not missing:
        return []
    return [f"Not computed, because too few recipes are left: {list_text(missing)}."]


def contrast_table(
    contrasts: pd.DataFrame, name: str, classes: str, level: float, names: Mapping[str, str]
) -> PageTable | None:
    """Make a table of the contrasts of one score, with both intervals, tests and verdict; None without contrasts."""
    metric = SCORES[name]
    rows = contrasts[(contrasts["metric"] == name) & (contrasts["classes"] == classes)].to_dict("records")
    if not rows:
        return None
    place = scale([row[key] for row in rows for key in ("crossed_low", "crossed_high", "difference")])
    margin = rows[0]["margin"]
    mcnemar = any(not pd.isna(row["mcnemar_mid"]) for row in rows)
    kinds = list(dict.fromkeys(map(_kind, rows)))
    columns = [
        Column("Over", is_text=True),
        Column("Difference", "points" if metric.percent else ""),
        Column("Picture", f"{' or '.join(kinds)}; dashed: zero", is_text=True),
        Column("Verdict", is_text=True),
        Column("p", "Holm-adjusted"),
    ]
    columns += [Column("p, equivalence", "Holm-adjusted")] if not pd.isna(margin) else []
    columns += [Column("P(A better)", "second opinion, %")] if not pd.isna(margin) else []
    columns += [Column("McNemar", "mid-p")] if mcnemar else []
    body = [Row((row["contrast"],), _contrast_cells(row, metric, place, not pd.isna(margin), mcnemar)) for row in rows]
    higher = "Higher is better" if metric.higher_is_better else "Lower is better, so that a negative one favours A"
    within = f" Margin: {margin_text(margin, metric)}." if not pd.isna(margin) else ""
    seeds = (
        "seeds: mean over seeds and its interval for new seeds"
        if any(not pd.isna(row["seeds_low"]) for row in rows)
        else "no seeds interval"
    )
    meanings = "; ".join(f"{kind}: for {CROSSED_MEANING[kind]}" for kind in kinds)
    estimate = f"pooled, with {100 * level:g}\u00a0% intervals ({meanings}; {seeds})"
    if _is_of_means(metric):
        estimate = f"means over runs, as of the scores, with {100 * level:g}\u00a0% intervals for new seeds"
    caption = (
        f"Paired differences A − B in {metric.prose}, {class_set_text(classes, names)}: {estimate}. {higher}.{within}"
    )
    return PageTable(caption, columns, body, Column("Contrast A − B", is_text=True))


def _is_of_means(metric: Score) -> bool:
    """Return whether the means of the runs are shown, because pooling changes the score."""
    return metric.contrast_interval == "seeds"


def _kind(row: Mapping[str, Any]) -> str:
    """Return the kind of a contrast's interval, a key of `CROSSED_MEANING`; contrasts.csv has no column for it."""
    return "crossed" if row["n_seeds"] > 1 else "chips"


def _contrast_cells(row: dict[str, Any], metric: Score, place: Any, has_margin: bool, mcnemar: bool) -> list[TableCell]:
    what, crossed = contrast_state(row), metric.gap(row["crossed_low"], row["crossed_high"])
    seeds = metric.gap(row["seeds_low"], row["seeds_high"])
    if _is_of_means(metric):
        value, small = row["seeds_difference"], [f"seeds {seeds}" if seeds else "no interval"]
    else:
        value, small = row["difference"], [f"{_kind(row)} {crossed}" if crossed else "no interval"]
        small += [f"seeds {metric.signed(row['seeds_difference'])} {seeds}"] if seeds else []
    marks = (row["crossed_low"], row["difference"], row["crossed_high"], 0.0)
    over = {AVERAGED: "all other settings", CELL: row["scope"]}.get(row["family"], "interaction")
    word = state_word(row, metric)
    if row["verdict"] not in (SHOWN, EQUIVALENT, INCONCLUSIVE):
        word = "not judged" if crossed or (seeds and _is_of_means(metric)) else "no interval"
    elif row["family"] not in (AVERAGED, CELL):
        word = {"higher": "above zero", "lower": "below zero"}.get(what, word)
    else:
        word = {"better": "A better", "worse": "A worse"}.get(word, word)
    cells = [
        TableCell(over),
        TableCell(metric.signed(value), tuple(small), value),
        TableCell("", whisker=tuple(map(place, marks)) if crossed else None, shown=what in ("higher", "lower")),
        TableCell(word),
        TableCell(p_text(row["p_holm"]), (f"alone {p_text(row['p_value'])}",), row["p_holm"]),
    ]
    if has_margin:
        cells.append(TableCell(p_text(row["p_equivalence_holm"]), order=row["p_equivalence_holm"]))
    if has_margin:
        others = (f"equivalent {_share(row['bayes_equivalent'])}", f"B better {_share(row['bayes_b_better'])}")
        cells.append(TableCell(_share(row["bayes_a_better"]), others, row["bayes_a_better"]))
    if mcnemar:
        known = not pd.isna(row["mcnemar_mid"])
        right = (f"{row['only_a']:.0f} : {row['only_b']:.0f} chips",) if known else ()
        cells.append(TableCell(p_text(row["mcnemar_mid"]), right, row["mcnemar_mid"]))
    return cells


def _share(probability: float) -> str:
    """Return a probability in percent without decimals."""
    return "—" if pd.isna(probability) else f"{100 * probability:.0f}"


def mcnemar_sentence(contrasts: pd.DataFrame, level: float) -> str:
    """Say what McNemar's tests show and what they do not show; empty without such tests."""
    tests = contrasts[(contrasts["classes"] == ALL_CLASSES) & contrasts["mcnemar_mid"].notna()]
    if tests.empty:
        return ""
    shown = int((tests["mcnemar_mid"] < 1 - level).sum())
    return (
        f"McNemar’s test finds {count_text(shown, 'pair')} of recipes in {len(tests)} that differ in micro accuracy "
        f"(mid-p below {1 - level:.2g}, unadjusted). It takes the runs as given, so it is about these trained "
        "models and not about the recipes. Below its p value: chips that only A, and that only B, predicts rightly."
    )


def mixed_model_sentence(mixed: pd.DataFrame) -> str:
    """Say in how many comparisons the mixed model agrees with the contrasts; empty without a model."""
    if mixed.empty:
        return ""
    apart = mixed[mixed["discrepancy"].notna() & (mixed["discrepancy"] != "")]
    return (
        "A mixed model (recipes fixed, seeds random; it ignores the sampling of chips and the overlap of training "
        f"sets) agrees in {len(mixed) - len(apart)} of {count_text(len(mixed), 'comparison')}."
    )


def mixed_model_discrepancies(mixed: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """List the comparisons in which the mixed model does not agree with the contrasts."""
    if mixed.empty:
        return []
    apart = mixed[mixed["discrepancy"].notna() & (mixed["discrepancy"] != "")]
    sentences = []
    for row in apart.to_dict("records"):
        metric = SCORES[row["metric"]]
        sentences.append(
            f"{row['contrast']} ({_scope(row, names)}), {metric.prose}: {metric.signed(row['mixed_difference'])} "
            f"{metric.gap(row['mixed_low'], row['mixed_high'])} by the model, {metric.signed(row['difference'])} "
            f"{metric.gap(row['crossed_low'], row['crossed_high'])} here; {row['discrepancy']}."
        )
    return sentences


def _scope(row: Mapping[str, Any], names: Mapping[str, str]) -> str:
    parts = [] if row["scope"] == "all" else [row["scope"]]
    return ", ".join([*parts, class_set_text(row["classes"], names)])


def contrast_tables(contrasts: pd.DataFrame, level: float, names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Make the tables of contrasts; those of macro and micro accuracy over all classes are open, others are folded."""
    parts: list[dict[str, Any]] = []
    sets = list(dict.fromkeys(contrasts["classes"]))
    for classes in sets:
        for name in MAIN_SCORES:
            table = contrast_table(contrasts, name, classes, level, names)
            title = f"{SCORES[name].label}, {class_set_text(classes, names)}"
            parts.append({"title": title, "open": classes == ALL_CLASSES, "table": table})
    for name in sorted(SCORES, key=lambda name: SCORES[name].page_table != "right"):
        if name not in MAIN_SCORES:
            table = contrast_table(contrasts, name, ALL_CLASSES, level, names)
            parts.append({"title": f"{SCORES[name].label}, all classes", "open": False, "table": table})
    return [part for part in parts if part["table"] is not None]
