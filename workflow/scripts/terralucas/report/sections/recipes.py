"""The tables of the report page, made from the tidy tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from terralucas.evidence.calibration import METRICS as CALIBRATION_METRICS
from terralucas.report.figures.style import no_seeds_interval
from terralucas.report.page_tables import (
    ALL_CLASSES,
    Cell,
    Column,
    PageTable,
    Row,
    best_text,
    recipe_name,
    recipe_row,
    score_cell,
)
from terralucas.report.wording import (
    CLASS_METRICS,
    METRICS,
    PERCENT,
    PERCENT_SIGN,
    Metric,
    between,
    counted,
    duration,
    plain,
)
from terralucas.tables.tidy_csv import CONTROL, RECIPE

# Two tables that fit a screen rather than one that does not.
HITS = ("macro_accuracy", "micro_accuracy", "macro_f1", "geometric_mean", "worst_class_recall")
QUALITY = ("mcc", "cohen_kappa", "nll", "brier", "ece", "classwise_ece")
MOST_RUN_ROWS = 200


def score_table(summary: pd.DataFrame, names: Sequence[str], caption: str) -> PageTable:
    """A row per recipe, a column per metric with both intervals, sorted by pooled macro accuracy."""
    metrics = {name: METRICS[name] for name in names}
    pooled = summary.pivot_table(index=RECIPE, columns="metric", values="pooled", sort=False)
    best = {name: best_text(pooled[name], metric) for name, metric in metrics.items() if name in pooled}
    rows = []
    for key, recipe in summary.groupby(RECIPE, sort=False):
        scores = recipe.set_index("metric")
        cells = [
            score_cell(scores.loc[name], metric, metric.text(scores.loc[name, "pooled"]) == best.get(name))
            if name in scores.index
            else Cell("—")
            for name, metric in metrics.items()
        ]
        macro = scores["pooled"].get("macro_accuracy", np.nan)
        rows.append((macro, recipe_row(dict(zip(RECIPE, key, strict=True)), cells)))
    rows.sort(key=lambda pair: np.inf if pd.isna(pair[0]) else -pair[0])
    return PageTable(caption, [_score_column(metric) for metric in metrics.values()], [row for _, row in rows])


def _score_column(metric: Metric) -> Column:
    direction = "higher" if metric.higher_is_better else "lower"
    return Column(metric.label, f"{'%, ' if metric.percent else ''}{direction} is better")


def interval_words(table: pd.DataFrame) -> str:
    """The kinds of interval of a table, by the names its cells use."""
    level = f"{100 * table['level'].iloc[0]:g}{PERCENT_SIGN}"
    chips = table["crossed_interval"].astype(str).str.startswith("chips").all()
    first = "chips: for new chips alone" if chips else "crossed: for new seeds and new chips"
    if table["seeds_low"].isna().all():
        return f"Pooled score with its {level} interval ({first}). {no_seeds_interval(table)}"
    return f"Pooled score with two {level} intervals ({first}; seeds: mean over seeds and its interval for new seeds)"


def class_groups(per_class: pd.DataFrame) -> list[dict[str, Any]]:
    """For each class its table of recipes: recall with three intervals, precision and F1 with two."""
    groups = []
    shown = per_class[per_class["classes"] == ALL_CLASSES]
    for (code, name), table in shown.groupby(["class_code", "class_name"], sort=True):
        recall = table[table["metric"] == "recall"]
        best = {
            key: best_text(table.loc[table["metric"] == key, "pooled"], metric) for key, metric in CLASS_METRICS.items()
        }
        rows = []
        for key, recipe in table.groupby(RECIPE, sort=False):
            scores = recipe.set_index("metric")
            cells = [_class_cell(scores.loc[metric], CLASS_METRICS[metric], best[metric]) for metric in CLASS_METRICS]
            rows.append(recipe_row(dict(zip(RECIPE, key, strict=True)), cells))
        own = recall.loc[recall["loss"] != CONTROL, "pooled"]
        low, high = (PERCENT.text(end) for end in (own.min(), own.max()))
        n = f"{recall['n'].max():,.0f}"
        caption = (
            f"{name} (n = {n} test chips). {interval_words(table)}; Wilson: of recall, the one to quote for few chips"
        )
        columns = [_score_column(metric) for metric in CLASS_METRICS.values()]
        groups.append({"code": code, "name": name, "n": n, "span": f"{between([low, high])}{PERCENT_SIGN}",
                       "table": PageTable(f"{caption}.", columns, rows)})  # fmt: skip
    return groups


def _class_cell(row: pd.Series, metric: Metric, best: str | None) -> Cell:
    cell = score_cell(row, metric, metric.text(row["pooled"]) == best)
    wilson = metric.interval(row["wilson_low"], row["wilson_high"])
    fewer = () if pd.notna(row["pooled"]) else ("never predicted",)
    return Cell(cell.text, (*([f"Wilson {wilson}"] if wilson else []), *cell.small, *fewer), cell.order, cell.best)


def ladder(controls: pd.DataFrame, summary: pd.DataFrame) -> PageTable | None:
    """Controls and the best recipes in one order of macro accuracy; None without controls."""
    scores = controls[controls["classes"] == ALL_CLASSES]
    if scores.empty:
        return None
    own = summary[summary["classes"] == ALL_CLASSES]
    leaders = own[own["metric"].isin(HITS[:2])].sort_values("pooled", ascending=False, kind="stable")
    names = leaders.drop_duplicates("metric")[RECIPE].drop_duplicates()
    both = pd.concat([scores, own.merge(names, on=RECIPE)], ignore_index=True)
    count = len(own[RECIPE].drop_duplicates())
    caption = (
        f"Controls, and of {counted(count, 'recipe')} the best in macro and in micro accuracy, on the same splits. "
        f"{interval_words(both)}. Controls are grey; those with a backbone’s name read its features."
    )
    return score_table(both, ("macro_accuracy", "micro_accuracy", "macro_f1", "mcc", "nll"), caption)


def hypervolume_table(summary: pd.DataFrame, runs: pd.DataFrame) -> PageTable:
    """Hypervolume, chosen shift, and both accuracies without and with it."""
    metrics = {
        "hypervolume": Column("Hypervolume", "%, higher is better"),
        "tau": Column("τ chosen", f"on {' and '.join(runs['chosen_on'].unique())} chips"),
        "macro_accuracy_unshifted": Column("Macro accuracy", "%, as it is"),
        "macro_accuracy_shifted": Column("Macro accuracy", "%, with τ"),
        "micro_accuracy_unshifted": Column("Micro accuracy", "%, as it is"),
        "micro_accuracy_shifted": Column("Micro accuracy", "%, with τ"),
    }
    rows = []
    for key, recipe in summary.groupby(RECIPE, sort=False):
        scores = recipe.set_index("metric")
        cells = [_seeds_cell(scores.loc[name], PERCENT if name != "tau" else METRICS["mcc"]) for name in metrics]
        rows.append(recipe_row(dict(zip(RECIPE, key, strict=True)), cells))
    caption = (
        "Fronts of each recipe: mean over seeds with the seeds interval. The hypervolume is the share of the square of "
        "macro and micro accuracy that some shift reaches."
    )
    return PageTable(caption, list(metrics.values()), rows)


def _seeds_cell(row: pd.Series, metric: Metric) -> Cell:
    interval = metric.interval(row["ci_low"], row["ci_high"])
    return Cell(metric.text(row["mean"]), (f"seeds {interval}",) if interval else (), row["mean"])


def calibration_table(calibration: pd.DataFrame) -> PageTable:
    """Temperature, and each calibration score before and after it, with the interval of the change."""
    labels = {name: METRICS[name].label for name in CALIBRATION_METRICS}
    rows = []
    for key, recipe in calibration.groupby(RECIPE, sort=False):
        scores = recipe.set_index(["metric", "stage"])
        cells = [_seeds_cell(scores.loc[("temperature", "fitted")], METRICS["nll"])]
        for name in labels:
            metric = METRICS[name]
            before, after, change = (scores.loc[(name, stage)] for stage in ("before", "after", "after_minus_before"))
            gap = metric.gap(change["ci_low"], change["ci_high"])
            small = [f"change {metric.signed(change['mean'])}"] + ([f"seeds {gap}"] if gap else [])
            text = f"{metric.text(before['mean'])} → {metric.text(after['mean'])}"
            cells.append(Cell(text, tuple(small), after["mean"]))
        rows.append(recipe_row(dict(zip(RECIPE, key, strict=True)), cells))
    columns = [Column("Temperature"), *(Column(label, "before → after, lower is better") for label in labels.values())]
    caption = (
        "Calibration before and after temperature scaling: means over seeds; seeds: interval for new seeds, of the "
        "temperature and of the changes."
    )
    return PageTable(caption, columns, rows)


def overlap_page_table(overlap: pd.DataFrame) -> PageTable | None:
    """Shared ground and distances of each seed; None without coordinates."""
    if overlap.empty:
        return None
    columns = [Column("Test chips"), Column("Share ground", "with a training chip"), Column("Share", "%")]
    columns += [Column(f"Distance, {name}", "km, to the nearest training chip") for name in ("least", "median", "most")]
    rows = [
        Row(
            (f"seed {row['seed']}",),
            [
                Cell(f"{row['n_test']:,}", order=row["n_test"]),
                Cell(f"{row['n_overlapping']:,}", order=row["n_overlapping"]),
                Cell(PERCENT.text(row["share_overlapping"]), order=row["share_overlapping"]),
                *(Cell(f"{row[f'distance_m_{end}'] / 1000:.1f}", order=row[f"distance_m_{end}"])
                  for end in ("min", "median", "max")),
            ],
        )
        for row in overlap.to_dict("records")
    ]  # fmt: skip
    side = overlap["chip_side_m"].iloc[0] / 1000
    caption = f"Test chips whose square on the ground ({side:.2f} km a side) meets that of a training chip."
    return PageTable(caption, columns, rows, Column("Split", is_text=True))


def variance_page_table(variance: pd.DataFrame) -> PageTable:
    """Shares and deviations of each component of the variance of one run's macro and micro accuracy."""
    shown = variance[variance["classes"] == ALL_CLASSES]
    pairs = list(shown[["metric", "component"]].drop_duplicates().itertuples(index=False, name=None))
    rows = []
    for key, recipe in shown.groupby(RECIPE, sort=False):
        parts = recipe.set_index(["metric", "component"])
        rows.append(
            recipe_row(dict(zip(RECIPE, key, strict=True)), [_variance_cell(parts.loc[pair]) for pair in pairs])
        )
    columns = [
        Column(component[0].upper() + component[1:], f"{METRICS[metric].label}, %") for metric, component in pairs
    ]
    caption = (
        "Who makes the spread of one run’s score: share of the variance, with the standard deviation in points "
        "[limits, where they can be told]."
    )
    return PageTable(caption, columns, rows)


def _variance_cell(row: pd.Series) -> Cell:
    if pd.isna(row["share"]):
        return Cell("—", (row["note"],) if isinstance(row["note"], str) and row["note"] else ())
    limits = PERCENT.interval(np.sqrt(row["low"]), np.sqrt(row["high"]))
    small = [f"{PERCENT.text(row['sd'])} points {limits}".strip()]
    small += ["below 0, shown as 0"] if isinstance(row["note"], str) and "below 0" in row["note"] else []
    return Cell(f"{100 * row['share']:.0f}", tuple(small), row["share"])


def class_table(classes: pd.DataFrame) -> PageTable:
    """Chips of each class with their share as a bar."""
    largest = classes["share"].max()
    rows = [
        Row(
            (f"{row['class_code']} {row['class_name']}",),
            [
                Cell(f"{row['n']:,}", order=row["n"]),
                Cell(f"{PERCENT.text(row['share'])}{PERCENT_SIGN}", order=row["share"]),
                Cell("", order=row["share"], bar=row["share"] / largest),
            ],
        )
        for row in classes.to_dict("records")
    ]
    columns = [Column("Chips"), Column("Share"), Column("Bar of the share", is_text=True)]
    return PageTable("Chips of each class and their share of all chips", columns, rows, Column("Class", is_text=True))


def run_table(runs: pd.DataFrame) -> PageTable:
    """One row per run: sizes, scores and cost; the first of a long list."""
    columns = [
        Column("Seed"), Column("Chips", "train / val. / test"), Column("Best epoch"),
        Column("Macro acc.", "validation, %"), Column("Macro acc.", "%"), Column("Micro acc.", "%"), Column("NLL"),
        Column("Time"), Column("Peak memory"), Column("Device", is_text=True), Column("Resumed", is_text=True),
    ]  # fmt: skip
    columns.append(Column("Status", is_text=True))
    rows = [recipe_row(run, _run_cells(run)) for run in runs.head(MOST_RUN_ROWS).to_dict("records")]
    caption = "Runs. Scores are of the test chips unless they are called validation; accuracies in percent."
    return PageTable(caption, columns, rows)


def _run_cells(run: Mapping[str, Any]) -> list[Cell]:
    memory = run["peak_memory_mib"]
    shares = ("validation_macro_accuracy", "macro_accuracy", "micro_accuracy")
    return [
        Cell(str(run["seed"]), order=run["seed"]),
        Cell(" / ".join(_whole(run[f"n_{part}"]) for part in ("train", "validation", "test")), order=run["n_train"]),
        Cell(f"{_whole(run['best_epoch'])} of {_whole(run['epochs'])}", order=run["best_epoch"]),
        *(Cell(PERCENT.text(run[name]), order=run[name]) for name in shares),
        Cell(METRICS["nll"].text(run["nll"]), order=run["nll"]),
        Cell(duration(run["seconds"]), order=run["seconds"]),
        Cell("—" if pd.isna(memory) else f"{memory:.0f} MiB", order=memory),
        Cell("—" if pd.isna(run["device"]) else str(run["device"])),
        Cell("—" if pd.isna(run["resumed"]) else plain(bool(run["resumed"]))),
        Cell(str(run["status"])),
    ]


def _whole(value: float) -> str:
    return "—" if pd.isna(value) else f"{value:.0f}"


def leader_cards(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """The highest pooled macro and micro accuracy; recipes that read the same are tied."""
    cards = []
    for name in HITS[:2]:
        metric = METRICS[name]
        scores = summary[(summary["metric"] == name) & (summary["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
        card = {"metric": metric, "of": len(scores), "value": None, "recipes": []}
        if len(scores):
            card["value"] = metric.text(scores["pooled"].max())
            for _, row in scores[scores["pooled"].map(metric.text) == card["value"]].iterrows():
                small = score_cell(row, metric).small
                card["recipes"].append({"name": recipe_name(row), "intervals": "; ".join(small)})
        cards.append(card)
    return cards
