"""Alternative texts of the report's figures, made from the numbers that the figures show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from terralucas.report.page_tables import recipe_name
from terralucas.report.sections.calibration import calibration_sentences
from terralucas.report.sections.fronts import front_sentences
from terralucas.report.sections.leakage import leakage_sentences
from terralucas.tables.scores import MAIN_SCORES, PERCENT, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, CONTROL, RECIPE


def alt_texts(tables: Mapping[str, pd.DataFrame], answers: list[dict[str, str]]) -> dict[str, str]:
    """Return the alternative text of each figure, which tells its content to readers who cannot see it."""
    ranges = []
    for name in MAIN_SCORES:
        scores = tables["summary"]
        scores = scores[(scores["metric"] == name) & (scores["classes"] == ALL_CLASSES)].dropna(subset=["pooled"])
        if len(scores):
            ends = [scores.loc[scores["pooled"].idxmin()], scores.loc[scores["pooled"].idxmax()]]
            words = " to ".join(f"{PERCENT.text(end['pooled'])} % ({recipe_name(end)})" for end in ends)
            ranges.append(f"{SCORES[name].label} runs from {words}.")
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
    """Name the most frequent wrong prediction of each class, with its share of the chips of the class."""
    totals = confusion.groupby("true_name", sort=False)["count"].sum()
    wrong = confusion[confusion["true_code"] != confusion["predicted_code"]]
    pooled = wrong.groupby(["true_name", "predicted_name"], sort=False)["count"].sum().reset_index(name="chips")
    pooled = pooled[pooled["chips"] > 0].sort_values("chips", ascending=False, kind="stable")
    shares = pooled.drop_duplicates("true_name")
    mistakes = []
    for row in shares.itertuples():
        share = PERCENT.text(row.chips / np.maximum(totals[row.true_name], 1))
        mistakes.append(f"{row.true_name} as {row.predicted_name} {share} %")
    return "; ".join(mistakes) or "none"
