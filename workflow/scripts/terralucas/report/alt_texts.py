"""Alternative texts of the report's figures, made from the numbers that the figures show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from terralucas.report.page_tables import recipe_name
from terralucas.report.sections.calibration import calibration_sentences
from terralucas.report.sections.fronts import front_sentences
from terralucas.report.sections.leakage import leakage_sentences
from terralucas.report.wording import tied_text
from terralucas.tables.scores import MAIN_SCORES, PERCENT, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, CONTROL, RECIPE


def alt_texts(tables: Mapping[str, pd.DataFrame], answers: list[dict[str, str]]) -> dict[str, str]:
    """Return the alternative text of each figure, which tells its content to readers who cannot see it."""
    ranges = []
    for name in MAIN_SCORES:
        scores = tables["summary"]
        scores = scores[(scores["metric"] == name) & (scores["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
        if len(scores):
            ranges.append(f"{SCORES[name].label} {_range(scores)}.")
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


def _range(scores: pd.DataFrame) -> str:
    """Say from which to which pooled score, and of which recipes; those with the same shown value are tied."""
    shown = scores["pooled"].map(PERCENT.text)
    ends = [PERCENT.text(scores["pooled"].min()), PERCENT.text(scores["pooled"].max())]
    if len(scores) > 1 and ends[0] == ends[1]:
        return f"is {ends[0]} % of every recipe"
    tied = [[recipe_name(row) for _, row in scores[shown == end].iterrows()] for end in ends]
    words = [f"{end} % ({tied_text(names, 'recipe')})" for end, names in zip(ends, tied, strict=True)]
    return f"runs from {' to '.join(words)}"


def _mistakes(confusion: pd.DataFrame) -> str:
    """Name the most frequent wrong prediction of each class, with its share of the chips of the class."""
    totals = confusion.groupby("true_name", sort=False)["count"].sum()
    wrong = confusion[confusion["true_code"] != confusion["predicted_code"]]
    pooled = wrong.groupby(["true_name", "predicted_name"], sort=False)["count"].sum().reset_index(name="chips")
    pooled = pooled[pooled["chips"] > 0].sort_values("chips", ascending=False, kind="stable")
    mistakes = []
    for name, of_class in pooled.groupby("true_name", sort=False):
        most = of_class["chips"].max()
        predicted = of_class.loc[of_class["chips"] == most, "predicted_name"].tolist()
        share = PERCENT.text(most / np.maximum(totals[name], 1))
        each = " each" if len(predicted) > 1 else ""
        mistakes.append(f"{name} as {tied_text(predicted, 'class', 'classes')} {share} %{each}")
    return "; ".join(mistakes) or "none"
