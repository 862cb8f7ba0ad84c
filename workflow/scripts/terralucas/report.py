"""The self-contained HTML report of a study: every sentence and cell is generated from the tidy tables.

The same tables, figures and context give the same bytes; the file loads nothing from anywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from terralucas.errors import StudyError
from terralucas.figures import palette
from terralucas.files import write_text
from terralucas.tidy import RECIPE
from terralucas.wording import CLASS_METRICS, METRICS, PERCENT, PERCENT_SIGN, Metric, breakable, duration, pairs, plain

ASSETS = Path(__file__).parent / "assets"
TABLES = ("summary", "contrasts", "per_class", "confusion", "curves", "runs", "classes", "durations")
FIGURES = ("accuracy", "per_class", "confusion", "curves")
# Longer lists would bury the answer and swell the file; the tables to download hold every row.
MOST_SENTENCES = 12
MOST_RUN_ROWS = 200


@dataclass(frozen=True)
class ReportContext:
    """What a report tells beyond its tables.

    `notices` are shown first; `durations` holds records of `stage`, `seconds` and `jobs`; `chance_macro_accuracy` is
    the macro accuracy of guessing, a fraction. `git_commit` is None outside version control.
    """

    study: str
    title: str
    question: str
    notices: list[str]
    dataset: dict[str, Any]
    splits: dict[str, Any]
    training: dict[str, Any]
    losses: dict[str, Any]
    decoders: dict[str, Any]
    config_yaml: str
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool
    durations: list[dict[str, Any]]
    chance_macro_accuracy: float


def build_report(
    tables: Mapping[str, pd.DataFrame], figures: Mapping[str, Path], context: ReportContext, path: Path
) -> None:
    """Write the report of a study as one HTML file that needs no other file and no network.

    Args:
        tables: the tidy tables named in `TABLES`; accuracies and shares are fractions in 0..1.
        figures: SVG files of the figures named in `FIGURES`.
        context: what the tables do not say.
        path: HTML file to write.

    Raises:
        StudyError: a table or figure is missing.
    """
    _require("table", TABLES, tables)
    _require("figure", FIGURES, figures)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "pairs": pairs,
        "plain": plain,
        "duration": duration,
        "percent": PERCENT.text,
        "breakable": breakable,
    }
    summary, contrasts = tables["summary"], tables["contrasts"]
    groups = _per_class(tables["per_class"])
    runs = tables["runs"].merge(tables["durations"].drop(columns="schema_version"), on="run", how="left")
    sizes = {name: summary[name].nunique() for name in RECIPE}
    html = environment.get_template("report.html.j2").render(
        context=context,
        metrics=METRICS,
        class_metrics=CLASS_METRICS,
        colours=palette(summary["loss"]),
        basis={"sizes": sizes, "recipes": len(summary[RECIPE].drop_duplicates())} | _basis(summary, tables["runs"]),
        leaders=[_leader(summary, name, *_reference(name, tables["classes"], context)) for name in list(METRICS)[:2]],
        answers={name: _contrasts(contrasts[contrasts["scope"] == "all"], name) for name in METRICS},
        contrasts={name: _contrasts(contrasts, name) for name in METRICS},
        most_sentences=MOST_SENTENCES,
        figures={name: _data_uri(figures[name].read_bytes(), "image/svg+xml") for name in FIGURES},
        alternatives=_alternatives(tables, groups),
        classes=tables["classes"].to_dict("records"),
        rarest=_rarest(tables["per_class"]),
        recipes=_score_rows(summary, METRICS, order_by="macro_accuracy"),
        per_class=groups,
        curves=_unfinished(tables["runs"]),
        runs=runs.head(MOST_RUN_ROWS).to_dict("records"),
        downloads=[_download(context.study, name, tables[name]) for name in TABLES],
    )
    write_text(path, html)


def _require(kind: str, names: Iterable[str], given: Mapping[str, Any]) -> None:
    missing = [name for name in names if name not in given]
    if missing:
        raise StudyError(
            f"The report lacks the {kind} {', '.join(missing)}.",
            found=", ".join(given) or "none",
            expected=", ".join(names),
            remedy=f"pass every {kind} by these names",
        )


def _recipe(row: Mapping[str, Any] | pd.Series) -> str:
    return " · ".join(str(row[name]) for name in RECIPE)


def _basis(summary: pd.DataFrame, runs: pd.DataFrame) -> dict[str, Any]:
    """Seeds, level and kinds of interval of the study, in words."""
    fewest, most = int(summary["n_seeds"].min()), int(summary["n_seeds"].max())
    known = summary.dropna(subset=["ci_low", "ci_high"])
    train, test = runs["n_train"].median(), runs["n_test"].median()
    return {
        "seeds": f"{most} seed{'s' if most > 1 else ''}" if fewest == most else f"{fewest} to {most} seeds",
        "seed_numbers": ", ".join(str(seed) for seed in sorted(runs["seed"].unique())),
        "level": "" if known.empty else f"{100 * known['level'].iloc[0]:g}{PERCENT_SIGN}",
        "kinds": list(dict.fromkeys(known["interval"])),
        "n_train": f"{train:,.0f}",
        "n_test": f"{test:,.0f}",
        "fewest": fewest,
    }


def _reference(metric: str, classes: pd.DataFrame, context: ReportContext) -> tuple[str, float]:
    if metric == "macro_accuracy":
        return "Guessing", context.chance_macro_accuracy
    largest = classes.loc[classes["n"].idxmax()]
    return f"Always answering “{largest['class_name']}”", float(largest["share"])


def _leader(summary: pd.DataFrame, name: str, reference: str, level: float) -> dict[str, Any]:
    """The recipes with the highest mean; those that read the same at the precision shown are tied."""
    metric = METRICS[name]
    scores = summary[summary["metric"] == name].dropna(subset=["mean"])
    leader = {"metric": metric, "of": len(scores), "value": None, "recipes": [], "reference": ""}
    if scores.empty:
        return leader
    value = metric.text(scores["mean"].max())
    tied = scores[scores["mean"].map(metric.text) == value]
    if tied["ci_low"].isna().any():
        verdict = "without an interval, the difference is not tested"
    elif (tied["ci_low"] > level).all():
        verdict = "the interval lies above that"
    elif (tied["ci_high"] < level).all():
        verdict = "the interval lies below that"
    else:
        verdict = "the interval does not exclude that"
    recipes = [{"name": _recipe(row), "interval": metric.interval(row["ci_low"], row["ci_high"])}
               for _, row in tied.iterrows()]  # fmt: skip
    if ((tied["ci_low"] < 0) | (tied["ci_high"] > 1)).any():
        verdict += ". It is wider than the scale: these seeds are too few to say more"
    sentence = f"{reference} would score about {metric.text(level)}{PERCENT_SIGN}: {verdict}."
    return leader | {"value": value, "recipes": recipes, "reference": sentence}


def _contrasts(contrasts: pd.DataFrame, name: str) -> dict[str, Any]:
    """Rows of one metric, with how many intervals exclude zero and how many would by chance alone."""
    metric, table = METRICS[name], contrasts[contrasts["metric"] == name]
    known = table.dropna(subset=["difference", "ci_low", "ci_high"])
    ends = [0.0, *known["ci_low"], *known["ci_high"], *table["difference"].dropna()]
    span = (max(ends) - min(ends)) or 1.0

    def position(value: float) -> str:
        return f"{6 + 148 * (value - min(ends)) / span:.1f}"

    rows = [_contrast(row, metric, position) for row in table.to_dict("records")]
    shown = sum(row["state"] in ("higher", "lower") for row in rows)
    expected = f"{(1 - known['level']).sum():.1f}"
    return {"rows": rows, "tested": len(known), "shown": shown, "expected": expected, "zero": position(0)}


def _contrast(row: dict[str, Any], metric: Metric, position: Callable[[float], str]) -> dict[str, Any]:
    difference, low, high, p_value = (float(row[key]) for key in ("difference", "ci_low", "ci_high", "p_value"))
    unit = " points" if metric.percent else ""
    interval = "" if np.isnan(low + high) else f"[{metric.signed(low)}, {metric.signed(high)}]"
    if np.isnan(difference):
        state, sentence = "none", "the difference could not be computed."
    elif not interval:
        state, sentence = "none", "no interval, so neither a difference nor its absence is shown."
    elif low <= 0 <= high:
        state, sentence = "open", "a difference is not shown by this design."
    else:
        state = "higher" if difference > 0 else "lower"
        sentence = f"{row['a']} is {state} than {row['b']}."
    probability = "" if np.isnan(p_value) else "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
    parts = [f"{metric.signed(difference)}{unit} {interval}".strip(), probability]
    verdicts = {"none": "no interval", "open": "not shown"}
    return {
        "contrast": row["contrast"],
        "scope": "all other settings" if row["scope"] == "all" else f"{row['scope']} only",
        "estimate": metric.signed(difference),
        "interval": interval,
        "p_value": probability.removeprefix("p = ").removeprefix("p "),
        "cells": row["n_cells"],
        "state": state,
        "verdict": verdicts.get(state, f"{row['a']} {state}"),
        "sentence": f"{', '.join(part for part in parts if part)}: {sentence}",
        "marks": [position(value) for value in (low, difference, high)] if interval and state != "none" else None,
    }


def _score_rows(
    table: pd.DataFrame, metrics: Mapping[str, Metric], order_by: str | None = None
) -> list[dict[str, Any]]:
    """A row per recipe and a cell per metric; the best means of a column are marked, ties included."""
    means = table.pivot_table(index=RECIPE, columns="metric", values="mean", sort=False)
    best = {}
    for name, metric in metrics.items():
        # Where all recipes read the same, none is the best.
        if name in means and means[name].map(metric.text).nunique() > 1:
            best[name] = metric.text(means[name].max() if metric.higher_is_better else means[name].min())
    rows, most = [], table["n_seeds"].max()
    for _, recipe in table.groupby(RECIPE, sort=False):
        scores = recipe.drop_duplicates("metric").set_index("metric")[["mean", "ci_low", "ci_high", "n_seeds"]]
        cells = []
        for name, metric in metrics.items():
            mean, low, high, seeds = scores.loc[name] if name in scores.index else (*[np.nan] * 3, most)
            text = metric.text(mean)
            marked = text != "—" and best.get(name) == text
            # A precision is undefined for a seed that never predicts the class.
            fewer = f"of {seeds:.0f} seed{'s' if seeds != 1 else ''}" if 0 < seeds < most else ""
            cells.append({"mean": text, "interval": f"{metric.interval(low, high)} {fewer}".strip(), "best": marked})
        first = recipe.iloc[0]
        order = scores["mean"].get(order_by, np.nan) if order_by else 0
        rows.append({"parts": [first[name] for name in RECIPE], "loss": first["loss"], "cells": cells, "order": order})
    return sorted(rows, key=lambda row: np.inf if pd.isna(row["order"]) else -row["order"])


def _rarest(per_class: pd.DataFrame) -> dict[str, Any] | None:
    """What one test chip of the rarest class is worth."""
    recall = per_class[per_class["metric"] == "recall"]
    chips = (recall["n_test"] / recall["n_seeds"]).groupby(recall["class_name"], sort=False).max()
    chips = chips[chips > 0]
    if chips.empty:
        return None
    fewest = chips.min()
    counts = sorted({max(1, int(np.floor(fewest))), int(np.ceil(fewest))}, reverse=True)
    recall, macro = (" to ".join(f"{100 / n / parts:.3g}" for n in counts) for parts in (1, len(chips)))
    return {"name": chips.idxmin(), "chips": " or ".join(map(str, counts[::-1])), "recall": recall, "macro": macro}


def _per_class(per_class: pd.DataFrame) -> list[dict[str, Any]]:
    groups = []
    for (code, name), table in per_class.groupby(["class_code", "class_name"], sort=True):
        recall = table.loc[table["metric"] == "recall", "mean"]
        span = f"{PERCENT.text(recall.min())} to {PERCENT.text(recall.max())}{PERCENT_SIGN}"
        n_test = f"{table['n_test'].max():,.0f}"
        rows = _score_rows(table, CLASS_METRICS)
        groups.append({"code": code, "name": name, "n_test": n_test, "span": span, "rows": rows})
    return groups


def _unfinished(runs: pd.DataFrame) -> dict[str, int]:
    """How many runs were best at their last epoch, and might have gone on improving."""
    last = int(((runs["best_epoch"] >= runs["epochs"]) & (runs["epochs"] > 1)).sum())
    return {"runs": len(runs), "last": last}


def _alternatives(tables: Mapping[str, pd.DataFrame], groups: list[dict[str, Any]]) -> dict[str, str]:
    """Alternative text of each figure: what a reader who cannot see it would want to know."""
    ranges = []
    for name in list(METRICS)[:2]:
        scores = tables["summary"][tables["summary"]["metric"] == name].dropna(subset=["mean"])
        if len(scores):
            low, high = scores.loc[scores["mean"].idxmin()], scores.loc[scores["mean"].idxmax()]
            ends = [f"{PERCENT.text(end['mean'])} % ({_recipe(end)})" for end in (low, high)]
            ranges.append(f"{METRICS[name].label} runs from {ends[0]} to {ends[1]}.")
    recalls = "; ".join(f"{group['name']} {group['span']}" for group in groups)
    confusion = tables["confusion"]
    totals = confusion.groupby("true_name", sort=False)["count"].sum()
    wrong = confusion[confusion["true_code"] != confusion["predicted_code"]]
    pooled = wrong.groupby(["true_name", "predicted_name"], sort=False)["count"].sum().reset_index()
    pooled = pooled[pooled["count"] > 0].sort_values("count", ascending=False, kind="stable")
    mistakes = "; ".join(
        f"{row.true_name} as {row.predicted_name} {PERCENT.text(row.count_ / totals[row.true_name])} %"
        for row in pooled.rename(columns={"count": "count_"}).drop_duplicates("true_name").itertuples()
    )
    curves = tables["curves"].sort_values("epoch", kind="stable").drop_duplicates(RECIPE, keep="last")
    last = curves["validation_macro_accuracy_mean"]
    reached = f"{PERCENT.text(last.min())} to {PERCENT.text(last.max())} %"
    return {
        "accuracy": f"Scatter plot of macro against micro accuracy of every recipe. {' '.join(ranges)}",
        "per_class": f"Dots with intervals. Mean recall, lowest to highest recipe: {recalls}.",
        "confusion": f"Matrices of shares. Most frequent mistake, all recipes together: {mistakes or 'none'}.",
        "curves": f"Lines by epoch. At the last epoch the mean validation macro accuracy is {reached} by recipe.",
    }


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _download(study: str, name: str, table: pd.DataFrame) -> dict[str, Any]:
    content = table.to_csv(index=False, lineterminator="\n").encode()
    return {"file": f"{study}-{name}.csv", "href": _data_uri(content, "text/csv;charset=utf-8"), "rows": len(table)}
