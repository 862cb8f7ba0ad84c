"""The one registry of scores: what each is called, how it is written, its formula, its range and its interval.

A new score is one entry here, its formula in `score_formulas`, its test, and its line in docs/results-format.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from terralucas.tables import score_formulas as formulas
from terralucas.tables.score_formulas import Sums

# A line must not break between a number and its percent sign.
PERCENT_SIGN = "\u00a0%"
# Abbreviations and names of persons.
_KEEP_CAPITAL = ("MCC", "Cohen", "NLL", "Brier", "ECE", "F1")


@dataclass(frozen=True)
class NumberFormat:
    """How a number is written: fractions as percent, everything else with three decimals."""

    percent: bool

    def text(self, value: float) -> str:
        """The value as the report shows it, without its unit."""
        if pd.isna(value):
            return "—"
        return (f"{100 * value:.1f}" if self.percent else f"{value:.3f}").replace("-", "−")

    def interval(self, low: float, high: float) -> str:
        """`[low, high]`, or nothing where there is no interval."""
        return "" if pd.isna(low) or pd.isna(high) else f"[{self.text(low)}, {self.text(high)}]"

    def gap(self, low: float, high: float) -> str:
        """`[low, high]` of a difference, with signs, or nothing where there is no interval."""
        return "" if pd.isna(low) or pd.isna(high) else f"[{self.signed(low)}, {self.signed(high)}]"

    @property
    def unit(self) -> str:
        """What a difference is counted in, with a space before it; nothing for scores without a unit."""
        return " points" if self.percent else ""

    def signed(self, value: float) -> str:
        """A difference with its sign; what would round to zero keeps its first digit."""
        if pd.isna(value):
            return "—"
        scaled, digits = (100 * value, 1) if self.percent else (value, 3)
        text = f"{scaled:+.{digits}f}"
        if scaled != 0 and float(text) == 0:
            text = np.format_float_positional(scaled, precision=1, fractional=False, sign=True)
        return (text if scaled != 0 else text.lstrip("+-")).replace("-", "−")


PERCENT = NumberFormat(percent=True)
NUMBER = NumberFormat(percent=False)


@dataclass(frozen=True)
class Score(NumberFormat):
    """A score of a recipe, or of one of its classes.

    Attributes:
        label: its name in tables and figures.
        formula: maps sums over chips to (B,) values, or to (B, K) values of a score of classes.
        higher_is_better: its direction.
        is_proper: whether the true probabilities have the best expected score (Gneiting & Raftery 2007).
        lowest, highest: ends of its range; no interval goes beyond.
        recipe_interval: `basic` where the draws lie off the estimate in the way the estimate lies off the truth, which
            that interval takes off. Which one covers is measured by benchmarks/coverage.py.
        contrast_interval: the same of a difference, in which the two biases may cancel.
        page_table: the table of the report that shows it: how often recipes are `right`, or `agreement` and
            probabilities.
        in_runs: whether runs.csv has it as a column.
    """

    label: str
    formula: Callable[[Sums], np.ndarray]
    higher_is_better: bool = True
    is_proper: bool = False
    lowest: float = 0.0
    highest: float = 1.0
    recipe_interval: Literal["percentile", "basic"] = "percentile"
    contrast_interval: Literal["percentile", "basic"] = "percentile"
    page_table: Literal["right", "agreement"] = "right"
    in_runs: bool = False

    @property
    def prose(self) -> str:
        """The label inside a sentence."""
        return self.label if self.label.startswith(_KEEP_CAPITAL) else self.label[0].lower() + self.label[1:]


# In the order of the rows of tables.
SCORES = {
    "macro_accuracy": Score(True, "Macro accuracy", formulas.macro_accuracy, in_runs=True),
    "micro_accuracy": Score(True, "Micro accuracy", formulas.micro_accuracy, in_runs=True),
    "macro_f1": Score(True, "Macro F1", formulas.macro_f1, in_runs=True),
    "mcc": Score(False, "MCC", formulas.mcc, lowest=-1.0, page_table="agreement", in_runs=True),
    "cohen_kappa": Score(
        False, "Cohen’s kappa", formulas.cohen_kappa, lowest=-1.0, page_table="agreement", in_runs=True
    ),
    "geometric_mean": Score(
        True,
        "Geometric mean of recalls",
        formulas.geometric_mean,
        recipe_interval="basic",
        contrast_interval="basic",
    ),
    "worst_class_recall": Score(True, "Worst class recall", formulas.worst_class_recall),
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
        recipe_interval="basic",
        page_table="agreement",
        in_runs=True,
    ),
    "classwise_ece": Score(
        False,
        "Classwise ECE",
        formulas.classwise_ece,
        higher_is_better=False,
        recipe_interval="basic",
        contrast_interval="basic",
        page_table="agreement",
    ),
}
CLASS_SCORES = {
    "recall": Score(True, "Recall", formulas.recall),
    "precision": Score(True, "Precision", formulas.precision),
    "f1": Score(True, "F1", formulas.f1),
}
# The question of every study is about these; the others have no margin, mixed model or power.
MAIN_SCORES = ("macro_accuracy", "micro_accuracy")
RUN_SCORES = tuple(name for name, score in SCORES.items() if score.in_runs)


def score_of(name: str) -> Score:
    """Return the registry's entry of a column name: `nll`, or `recall:3` for the recall of class index 3."""
    kind, _, of_class = name.partition(":")
    return CLASS_SCORES[kind] if of_class else SCORES[kind]
