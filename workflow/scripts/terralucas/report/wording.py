"""How a report writes values: percentages, intervals, differences, durations, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

# A line must not break between a number and its percent sign.
PERCENT_SIGN = "\u00a0%"
# Abbreviations and names of persons.
_KEEP_CAPITAL = ("MCC", "Cohen", "NLL", "Brier", "ECE", "F1")
LABELS = {"n_chips": "Chips", "sha256": "SHA-256", "lr": "Learning rate", "unit": "Unit of the values"}


@dataclass(frozen=True)
class Metric:
    """How a metric is named and written: fractions as percent, everything else with three decimals."""

    label: str
    percent: bool
    higher_is_better: bool = True

    @property
    def prose(self) -> str:
        """The label inside a sentence."""
        return self.label if self.label.startswith(_KEEP_CAPITAL) else self.label[0].lower() + self.label[1:]

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


METRICS = {
    "macro_accuracy": Metric("Macro accuracy", percent=True),
    "micro_accuracy": Metric("Micro accuracy", percent=True),
    "macro_f1": Metric("Macro F1", percent=True),
    "geometric_mean": Metric("Geometric mean of recalls", percent=True),
    "worst_class_recall": Metric("Worst class recall", percent=True),
    "mcc": Metric("MCC", percent=False),
    "cohen_kappa": Metric("Cohen’s kappa", percent=False),
    "nll": Metric("NLL", percent=False, higher_is_better=False),
    "brier": Metric("Brier", percent=False, higher_is_better=False),
    "ece": Metric("ECE", percent=False, higher_is_better=False),
    "classwise_ece": Metric("Classwise ECE", percent=False, higher_is_better=False),
}
CLASS_METRICS = {
    "recall": Metric("Recall", percent=True),
    "precision": Metric("Precision", percent=True),
    "f1": Metric("F1", percent=True),
}
PERCENT = Metric("", percent=True)


def plain(value: Any) -> str:
    """A setting as a reader would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}".replace("e-0", "e-")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "none"
    return str(value)


def p_text(p_value: float) -> str:
    """A p value as `< 0.001` or with three decimals."""
    return "—" if pd.isna(p_value) else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def p_sentence(p_value: float) -> str:
    """A p value inside a sentence."""
    return "" if pd.isna(p_value) else f"p {p_text(p_value)}" if p_value < 0.001 else f"p = {p_text(p_value)}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 recipe`, `3 recipes`, `0 recipes`."""
    word = noun if number == 1 else plural or f"{noun}s"
    return f"{number:,} {word}"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names)


def between(texts: Sequence[str]) -> str:
    """`a`, or `a to b`, of the first and the last."""
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


def pairs(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings as (label, text)."""
    return [(LABELS.get(key, str(key).replace("_", " ").capitalize()), plain(value)) for key, value in settings.items()]


def breakable(name: str) -> Markup:
    """A name that may break after its underscores, as a narrow table needs."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def duration(seconds: float) -> str:
    """Seconds as `12.3 s`, `4 min 05 s` or `2 h 03 min`."""
    if pd.isna(seconds):
        return "—"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
