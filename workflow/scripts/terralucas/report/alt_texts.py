"""What the sections of the report say, in sentences made of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from terralucas.evidence.fronts import EQUAL_MICRO
from terralucas.evidence.leakage import NO_PLACES
from terralucas.predictions import DIVERGED, FINISHED
from terralucas.report.page_tables import ALL_CLASSES, recipe_name
from terralucas.report.sections.contrasts import MAIN, state
from terralucas.report.wording import METRICS, PERCENT, PERCENT_SIGN, between, counted, listed, p_sentence
from terralucas.statistics.run_status import FAILED
from terralucas.statistics.variance import CHIPS
from terralucas.tables.tidy_csv import CONTROL, RECIPE

# Above this share of overlapping chips a reader must be told that scores are of seen ground.
_MUCH = 0.5
# Lost runs beyond so many are counted; all are in the table of runs.
_MOST_NAMED = 12


def leader_sentences(summary: pd.DataFrame, classes: pd.DataFrame, chance: float) -> list[str]:
    """Whether the best recipe's interval lies above guessing, and above the commonest class's share."""
    largest = classes.loc[classes["n"].idxmax()]
    references = {
        "macro_accuracy": ("guessing", chance),
        "micro_accuracy": (f"always answering “{largest['class_name']}”", float(largest["share"])),
    }
    sentences = []
    for name, (reference, level) in references.items():
        scores = summary[(summary["metric"] == name) & (summary["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
        if scores.empty:
            continue
        best = scores.loc[scores["pooled"].idxmax()]
        if pd.isna(best["crossed_low"]):
            verdict = "there is no interval to compare it with"
        else:
            side = "above" if best["crossed_low"] > level else "below" if best["crossed_high"] < level else ""
            verdict = f"the interval of the best lies {side} that" if side else "the interval of the best includes that"
        metric = METRICS[name]
        sentences.append(
            f"In {metric.prose} {reference} would score about {metric.text(level)}{PERCENT_SIGN}: {verdict}."
        )
    return sentences


def front_sentences(fronts: pd.DataFrame, contrasts: pd.DataFrame) -> list[str]:
    """For each contrast whether one side is better, or only elsewhere on the same curve."""
    equal = fronts[(fronts["metric"] == EQUAL_MICRO) & fronts["micro_accuracy"].isna() & (fronts["scope"] == "all")]
    macro = contrasts[(contrasts["metric"] == "macro_accuracy") & (contrasts["classes"] == ALL_CLASSES)]
    as_they_are = {row["contrast"]: row for row in macro[macro["scope"] == "all"].to_dict("records")}
    return [_front_sentence(row, as_they_are.get(row["contrast"])) for row in equal.to_dict("records")]


def _front_sentence(row: Mapping[str, Any], own: Mapping[str, Any] | None) -> str:
    gap = f"{PERCENT.signed(row['difference'])} points {PERCENT.gap(row['ci_low'], row['ci_high'])}".strip()
    head = f"{row['contrast']}: at equal micro accuracy, macro accuracy differs by {gap}"
    if pd.isna(row["ci_low"]):
        return f"{head}, without an interval, so that better and elsewhere can’t be told apart."
    shown = state(own) in ("higher", "lower") if own else False
    if row["ci_low"] <= 0 <= row["ci_high"]:
        if shown:
            was = f"{PERCENT.signed(own['difference'])} points"
            return (
                f"{head}, and no difference is shown there: the {was} of the runs as they are may be a place elsewhere "
                "on the same curve."
            )
        return (
            f"{head}, and no difference is shown, there or of the runs as they are." if own else f"{head}, not shown."
        )
    better = row["a"] if row["difference"] > 0 else row["b"]
    return f"{head} ({p_sentence(row['p_value'])}, unadjusted): {better} is better, not only elsewhere on the curve."


def control_sentences(controls: pd.DataFrame, summary: pd.DataFrame) -> list[str]:
    """Whether any recipe beats the best control, for macro and micro accuracy."""
    sentences = []
    for name in MAIN:
        metric = METRICS[name]
        chosen = [
            table[(table["metric"] == name) & (table["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
            for table in (controls, summary)
        ]
        if any(table.empty for table in chosen):
            continue
        best, rows = chosen[0].loc[chosen[0]["pooled"].idxmax()], chosen[1]
        above = rows[rows["pooled"] > best["pooled"]]
        clear = int((rows["crossed_low"] > best["crossed_high"]).sum())
        interval = metric.interval(best["crossed_low"], best["crossed_high"])
        control = best["decoder"] + ("" if best["backbone"] == "none" else f" on {best['backbone']}")
        head = (
            f"The best control in {metric.prose}, {control.replace('_', ' ')}, reaches "
            f"{metric.text(best['pooled'])}{PERCENT_SIGN} {interval}".rstrip()
        )
        if above.empty:
            tail = "no recipe does better" if len(rows) > 1 else "the recipe does no better"
        else:
            tail = f"{len(above)} of {counted(len(rows), 'recipe')} {'does' if len(above) == 1 else 'do'} better"
            tail += f", {clear or 'none'} with an interval wholly above it"
        sentences.append(f"{head}; {tail}.")
    if sentences:
        sentences.append(
            "Recipes and controls are not compared in pairs: intervals that overlap leave open which is better."
        )
    return sentences


def calibration_sentences(calibration: pd.DataFrame) -> list[str]:
    """For how many recipes temperature scaling lowers each score, and where temperatures lie."""
    sentences = []
    for name in ("nll", "ece", "classwise_ece"):
        change = calibration[(calibration["metric"] == name) & (calibration["stage"] == "after_minus_before")]
        lower, higher = int((change["ci_high"] < 0).sum()), int((change["ci_low"] > 0).sum())
        if change["ci_low"].isna().all():
            down = int((change["mean"] < 0).sum())
            sentences.append(
                f"{METRICS[name].label} falls for {down} of {counted(len(change), 'recipe')}; no intervals."
            )
            continue
        raised = f" and raises it for {higher}" if higher else ""
        sentences.append(
            f"Temperature scaling lowers {METRICS[name].label} for {lower} of {counted(len(change), 'recipe')}{raised} "
            "(intervals of the change over seeds that exclude zero, unadjusted)."
        )
    fitted = calibration.loc[calibration["metric"] == "temperature", "mean"]
    over, under = int((fitted > 1).sum()), int((fitted < 1).sum())
    sentences.append(
        f"Mean temperatures run from {fitted.min():.2f} to {fitted.max():.2f}: of {counted(len(fitted), 'recipe')} "
        f"{over} are overconfident (above 1) and {under} underconfident (below 1)."
    )
    return sentences


def leakage_sentences(overlap: pd.DataFrame) -> list[str]:
    """How many test chips share ground with training chips."""
    if overlap.empty:
        return [NO_PLACES]
    shares = overlap["share_overlapping"]
    total = overlap["n_overlapping"].sum() / overlap["n_test"].sum()
    span = between([PERCENT.text(shares.min()), PERCENT.text(shares.max())])
    over = f" ({span}{PERCENT_SIGN} by seed)" if len(overlap) > 1 else ""
    if total == 0:
        return ["No test chip shares ground with a training chip."]
    sentence = f"{PERCENT.text(total)}{PERCENT_SIGN} of the test chips share ground with a training chip{over}."
    if total > _MUCH:
        sentence += " Most scores here are of ground that is partly seen in training."
    return [
        sentence,
        "Far chips lie elsewhere and are of other classes, so a fall with distance is no proof of leakage.",
    ]


def map_sentences(shares: pd.Series) -> list[str]:
    """How many points are always, never or sometimes right."""
    if shares.empty:
        return ["The chips have no coordinates, so that there is no map."]
    always, never = int((shares == 1).sum()), int((shares == 0).sum())
    return [
        f"Of {counted(len(shares), 'point')}, {always:,} are right in every test prediction and {never:,} in none; "
        f"the median point is right in {PERCENT.text(shares.median())}{PERCENT_SIGN} of them."
    ]


def variance_sentences(variance: pd.DataFrame) -> list[str]:
    """How much of one run's variance is its test chips."""
    sentences = []
    for name in MAIN:
        chosen = variance[(variance["metric"] == name) & (variance["classes"] == ALL_CLASSES)]
        others = chosen[(chosen["component"] != CHIPS) & chosen["share"].notna()]
        chips = chosen.loc[chosen["component"] == CHIPS, "share"].dropna()
        if others.empty or chips.empty:
            continue
        what = listed(list(dict.fromkeys(others["component"])))
        span = between([f"{100 * chips.min():.0f}", f"{100 * chips.max():.0f}"])
        sentences.append(
            f"In one run’s {METRICS[name].prose} the test chips make {span}{PERCENT_SIGN} of the variance "
            f"(median recipe {100 * chips.median():.0f}{PERCENT_SIGN}), {what} the rest."
        )
    zero = variance[variance["classes"].eq(ALL_CLASSES) & variance["note"].astype(str).str.contains("below 0")]
    if len(zero):
        sentences.append(
            f"{counted(len(zero), 'estimate')} of the part of training came out below zero and stand as 0: test chips "
            "alone explain the spread there."
        )
    return sentences or ["One seed can’t tell training from test chips."]


def never_predicted(confusion: pd.DataFrame) -> list[str]:
    """Classes that no run of some recipe predicts, so that their precision is undefined."""
    counts = confusion.groupby([*RECIPE, "predicted_code", "predicted_name"], sort=False)["count"].sum().reset_index()
    recipes = len(counts[RECIPE].drop_duplicates())
    sentences = []
    for (_, name), group in counts[counts["count"] == 0].groupby(["predicted_code", "predicted_name"], sort=False):
        who = "any recipe" if len(group) == recipes else listed([recipe_name(row) for _, row in group.iterrows()])
        if 3 < len(group) < recipes:
            who = f"{len(group)} of {recipes} recipes"
        sentences.append(f"“{name}” is never predicted by {who}: its precision is undefined there.")
    return sentences


def rarest(per_class: pd.DataFrame) -> str:
    """What one test chip of the rarest class is worth."""
    recall = per_class[(per_class["metric"] == "recall") & (per_class["classes"] == ALL_CLASSES)]
    chips = recall.groupby("class_name", sort=False)["n"].max()
    chips = chips[chips > 0]
    if chips.empty:
        return ""
    n = int(chips.min())
    return (
        f"Fewest test chips: “{chips.idxmin()}”, {counted(n, 'chip')} over all seeds. One of them more or less moves "
        f"the pooled recall of its class by {100 / n:.3g} points and the macro accuracy by "
        f"{100 / n / len(chips):.2g} points."
    )


def lost_runs(runs: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Runs of the grid that diverged, failed or are missing, by name, and what is compared without them.

    Args:
        runs: runs.csv.
        compared: one row for each run that is compared.
    """
    lost = runs[runs["status"] != FINISHED]
    if lost.empty:
        return []
    sentences = []
    for status, group in lost.groupby("status", sort=False):
        verb = status if status in (DIVERGED, FAILED) else f"{'is' if len(group) == 1 else 'are'} {status}"
        names = [row["run"] + (f" ({row['reason']})" if status == DIVERGED else "") for row in group.to_dict("records")]
        shown = listed(names[:_MOST_NAMED]) + (
            f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        )
        sentences.append(f"{len(group)} of {counted(len(runs), 'run')} {verb}: {shown}.")
    seeds = listed([str(seed) for seed in sorted(compared["seed"].unique())])
    kept, grid = (len(table[RECIPE].drop_duplicates()) for table in (compared, runs))
    marked = runs[RECIPE].drop_duplicates().merge(compared[RECIPE].drop_duplicates(), how="left", indicator=True)
    gone = [recipe_name(row) for _, row in marked[marked["_merge"] == "left_only"].iterrows()]
    left_out = f"; left out, with fewer than half of their seeds: {listed(gone)}" if gone else ""
    sentences.append(
        f"All comparisons are of {kept} of {counted(grid, 'recipe')} on the seeds they all have ({seeds})"
        f"{left_out}. Runs are not lost at random, so the comparisons favour what lost some."
    )
    return sentences


def run_sentences(runs: pd.DataFrame) -> list[str]:
    """Runs that were still improving."""
    runs = runs[runs["status"] == FINISHED]
    sentences = []
    last = int(((runs["best_epoch"] >= runs["epochs"]) & (runs["epochs"] > 1)).sum())
    if last:
        verb = "was" if last == 1 else "were"
        sentences.append(
            f"{last} of {counted(len(runs), 'run')} {verb} best at the last epoch and might have improved."
        )
    else:
        sentences.append("No run was best at its last epoch.")
    return sentences


def alternatives(tables: Mapping[str, pd.DataFrame], answers: list[dict[str, str]]) -> dict[str, str]:
    """Alternative text of each figure: what a reader who cannot see it would want to know."""
    ranges = []
    for name in MAIN:
        scores = tables["summary"]
        scores = scores[(scores["metric"] == name) & (scores["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
        if len(scores):
            ends = [scores.loc[scores["pooled"].idxmin()], scores.loc[scores["pooled"].idxmax()]]
            words = " to ".join(f"{PERCENT.text(end['pooled'])} % ({recipe_name(end)})" for end in ends)
            ranges.append(f"{METRICS[name].label} runs from {words}.")
    recall = tables["per_class"]
    recall = recall[(recall["metric"] == "recall") & (recall["classes"] == ALL_CLASSES) & (recall["loss"] != CONTROL)]
    ends = recall.groupby("class_name", sort=False)["pooled"].agg(["min", "max"])
    recalls = "; ".join(
        f"{name} {PERCENT.text(row['min'])} to {PERCENT.text(row['max'])} %" for name, row in ends.iterrows()
    )
    curves = tables["curves"].sort_values("epoch", kind="stable").drop_duplicates(RECIPE, keep="last")
    last = curves["validation_macro_accuracy_mean"]
    mistakes = _mistakes(tables["confusion"])
    temperatures = calibration_sentences(tables["calibration"])[-1]
    shared = leakage_sentences(tables["overlap"])[0]
    contrasts = " ".join(f"{each['contrast']}: {each['sentence']}" for each in answers)
    return {
        "answer": f"Forest plot of the averaged contrasts. {contrasts or 'No contrasts are named.'}",
        "accuracy": f"Scatter plot of macro against micro accuracy of every recipe. {' '.join(ranges)}",
        "per_class": f"Dots with intervals. Pooled recall, lowest to highest recipe: {recalls}.",
        "confusion": f"Matrices of shares. Most frequent mistake, all recipes together: {mistakes}.",
        "curves": "Lines by epoch. At the last epoch the mean validation macro accuracy is "
        f"{PERCENT.text(last.min())} to {PERCENT.text(last.max())} % by recipe.",
        "fronts": "Curves of macro against micro accuracy when the prior is shifted. "
        + (" ".join(front_sentences(tables["fronts_contrasts"], tables["contrasts"])) or "No contrasts are named."),
        "reliability": f"Accuracy against confidence before and after scaling. {temperatures}",
        "distance": f"Micro accuracy by distance to the nearest training chip. {shared}",
    }


def _mistakes(confusion: pd.DataFrame) -> str:
    totals = confusion.groupby("true_name", sort=False)["count"].sum()
    wrong = confusion[confusion["true_code"] != confusion["predicted_code"]]
    pooled = wrong.groupby(["true_name", "predicted_name"], sort=False)["count"].sum().reset_index(name="chips")
    pooled = pooled[pooled["chips"] > 0].sort_values("chips", ascending=False, kind="stable")
    shares = pooled.drop_duplicates("true_name")
    return "; ".join(
        f"{row.true_name} as {row.predicted_name} {PERCENT.text(row.chips / np.maximum(totals[row.true_name], 1))} %"
        for row in shares.itertuples()
    ) or "none"  # fmt: skip
