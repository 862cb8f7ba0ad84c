"""The registry of scores: label, number format, formula, range and kind of interval of each score.

CONTRIBUTING.md says how to add a score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from terralucas.tables import score_formulas as formulas
from terralucas.tables.score_formulas import Sums

IntervalKind = Literal["percentile", "seeds", "none"]
# Of each class in a test part: with fewer, draws of chips do not show how much a score varies in which every class
# counts the same.
FEWEST_CHIPS = 3
# A line must not break between a number and its percent sign.
PERCENT_SIGN = "\u00a0%"
# Labels that start with an abbreviation or a name keep their capital letter inside a sentence.
_KEEP_CAPITAL = ("MCC", "Cohen", "NLL", "Brier", "ECE", "F1")


@dataclass(frozen=True)
class NumberFormat:
    """The format of a number: fractions as percent with one decimal, all other numbers with three decimals."""

    percent: bool

    def text(self, value: float) -> str:
        """Format a value without its unit; a missing value is a dash, and what is rounded to zero has no sign."""
        if pd.isna(value):
            return "—"
        return (f"{100 * value:z.1f}" if self.percent else f"{value:z.3f}").replace("-", "−")

    def interval(self, low: float, high: float) -> str:
        """Format an interval as `[low, high]`; return an empty text if there is none."""
        return "" if pd.isna(low) or pd.isna(high) else f"[{self.text(low)}, {self.text(high)}]"

    def gap(self, low: float, high: float) -> str:
        """Format the interval of a difference as `[low, high]` with signs; return an empty text if there is none."""
        return "" if pd.isna(low) or pd.isna(high) else f"[{self.signed(low)}, {self.signed(high)}]"

    @property
    def unit(self) -> str:
        """Unit of a difference, after a space; empty for scores without a unit."""
        return " points" if self.percent else ""

    def signed(self, value: float) -> str:
        """Format a difference with its sign; a value that is rounded to zero has none."""
        if pd.isna(value):
            return "—"
        scaled, digits = (100 * value, 1) if self.percent else (value, 3)
        text = f"{scaled:+.{digits}f}"
        return (text if float(text) != 0 else text.lstrip("+-")).replace("-", "−")


PERCENT = NumberFormat(percent=True)
NUMBER = NumberFormat(percent=False)


@dataclass(frozen=True)
class Score(NumberFormat):
    """A score of a recipe, or of one of its classes.

    Attributes:
        label: name in tables and figures.
        formula: maps sums over chips to (B,) values; the formula of a score of classes, to (B, K) values.
        higher_is_better: whether higher values are better.
        is_proper: whether the score is proper: the true probabilities have the best expected score (Gneiting & Raftery
            2007).
        counts_classes: whether every class counts the same, however few chips it has.
        lowest, highest: ends of the range; intervals are clipped to it, and those of differences to ± `span`.
        recipe_interval: kind of interval for a recipe, `none` if no kind covers well enough (benchmarks/coverage.py).
            `seeds` is for scores that pooling changes: their estimate is the mean over runs, and only the interval over
            seeds is given.
        contrast_interval: likewise for a contrast.
        page_table: table of the report that shows the score: `right` (how often predictions are right) or `agreement`
            (agreement beyond chance, and probabilities).
        in_runs: whether runs.csv has a column with the score.
    """

    label: str
    formula: Callable[[Sums], np.ndarray]
    higher_is_better: bool = True
    is_proper: bool = False
    counts_classes: bool = False
    lowest: float = 0.0
    highest: float = 1.0
    recipe_interval: IntervalKind = "percentile"
    contrast_interval: IntervalKind = "percentile"
    page_table: Literal["right", "agreement"] = "right"
    in_runs: bool = False

    @property
    def span(self) -> float:
        """Largest difference of two such scores."""
        return self.highest - self.lowest

    @property
    def prose(self) -> str:
        """Label inside a sentence."""
        return self.label if self.label.startswith(_KEEP_CAPITAL) else self.label[0].lower() + self.label[1:]


# The order is that of the rows in tables.
SCORES = {
    "macro_accuracy": Score(True, "Macro accuracy", formulas.macro_accuracy, counts_classes=True, in_runs=True),
    "micro_accuracy": Score(True, "Micro accuracy", formulas.micro_accuracy, in_runs=True),
    "macro_f1": Score(True, "Macro F1", formulas.macro_f1, counts_classes=True, in_runs=True),
    "mcc": Score(False, "MCC", formulas.mcc, lowest=-1.0, page_table="agreement", in_runs=True),
    "cohen_kappa": Score(
        False, "Cohen’s kappa", formulas.cohen_kappa, lowest=-1.0, page_table="agreement", in_runs=True
    ),
    "geometric_mean": Score(
        True,
        "Geometric mean of recalls",
        formulas.geometric_mean,
        counts_classes=True,
        # One class without a right prediction makes the product zero, and intervals of it arbitrary.
        recipe_interval="none",
        contrast_interval="none",
    ),
    "worst_class_recall": Score(True, "Worst class recall", formulas.worst_class_recall, counts_classes=True),
    "nll": Score(
        False,
        "NLL",
        formulas.nll,
        higher_is_better=False,
        is_proper=True,
        highest=np.inf,
        page_table="agreement",
        in_runs=True,
    ),
    "brier": Score(
        False,
        "Brier",
        formulas.brier,
        higher_is_better=False,
        is_proper=True,
        highest=2.0,
        page_table="agreement",
        in_runs=True,
    ),
    "ece": Score(
        False,
        "ECE",
        formulas.ece,
        higher_is_better=False,
        # Pooling the seeds cancels errors that every run has.
        recipe_interval="seeds",
        contrast_interval="seeds",
        page_table="agreement",
        in_runs=True,
    ),
    "classwise_ece": Score(
        False,
        "Classwise ECE",
        formulas.classwise_ece,
        higher_is_better=False,
        recipe_interval="seeds",
        contrast_interval="seeds",
        page_table="agreement",
    ),
}
CLASS_SCORES = {
    "recall": Score(True, "Recall", formulas.recall),
    "precision": Score(True, "Precision", formulas.precision),
    "f1": Score(True, "F1", formulas.f1),
}
# The accuracies of the question, and the proper scores. Tests of other scores have no reliable error rates
# (docs/statistics.md), so that their differences get no verdict.
JUDGED_SCORES = tuple(name for name, score in SCORES.items() if score.is_proper or name.endswith("_accuracy"))
# Only these scores have a margin, a mixed model and a power analysis.
MAIN_SCORES = ("macro_accuracy", "micro_accuracy")
RUN_SCORES = tuple(name for name, score in SCORES.items() if score.in_runs)


def score_of(name: str) -> Score:
    """Return the registry's entry of a column name: `nll`, or `recall:3` for the recall of class index 3."""
    kind, _, of_class = name.partition(":")
    return CLASS_SCORES[kind] if of_class else SCORES[kind]
