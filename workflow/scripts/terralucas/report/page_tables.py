"""What a report page is made of: tables whose cells know how they are shown and sorted."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from terralucas.tables.scores import NumberFormat, Score
from terralucas.tables.vocabulary import RECIPE

# Width of a picture of an interval, and the room at its ends, in its own units.
_PICTURE, _ROOM = 160.0, 6.0


@dataclass(frozen=True)
class TableCell:
    """A cell: its text, smaller lines below it, what it is sorted by, and marks.

    Attributes:
        text: shown first.
        small: lines below.
        order: number the column is sorted by; None sorts by the text.
        best: the best of its column.
        whisker: positions of (low, estimate, high, zero) of an interval drawn in the cell.
        shown: whether the drawn interval is of a difference that is shown.
        bar: length of a bar, 0 to 1.
    """

    text: str
    small: tuple[str, ...] = ()
    order: float | None = None
    best: bool = False
    whisker: tuple[str, ...] | None = None
    shown: bool = False
    bar: float | None = None

    @property
    def sort_key(self) -> str:
        """The number as an attribute of the cell; empty where it is missing."""
        return "" if self.order is None or pd.isna(self.order) else f"{self.order:.9g}"


@dataclass(frozen=True)
class Column:
    """Heading of a column, with a smaller note below it."""

    label: str
    note: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Row:
    """A row: the parts of its name, the loss whose colour stands before them, and its cells."""

    name: tuple[str, ...]
    cells: Sequence[TableCell]
    loss: str | None = None


@dataclass(frozen=True)
class PageTable:
    """A table of the page; the first column holds the rows' names."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    first: Column = field(default_factory=lambda: Column("Recipe", "backbone · loss · decoder", is_text=True))


def recipe_row(names: pd.Series | dict[str, str], cells: Sequence[TableCell]) -> Row:
    """A row of a recipe, with its loss' colour."""
    return Row(tuple(str(names[name]) for name in RECIPE), cells, str(names["loss"]))


def recipe_name(names: pd.Series | dict[str, str]) -> str:
    """A recipe inside a sentence."""
    return " · ".join(str(names[name]) for name in RECIPE)


def score_cell(row: pd.Series, metric: Score, best: bool = False) -> TableCell:
    """Pooled score with both intervals, named; the interval over seeds has its own mean."""
    crossed = metric.interval(row["crossed_low"], row["crossed_high"])
    name = "chips" if str(row["crossed_interval"]).startswith("chips") else "crossed"
    small = [f"{name} {crossed}"] if crossed else []
    seeds = metric.interval(row["seeds_low"], row["seeds_high"])
    if seeds:
        small.append(f"seeds {metric.text(row['mean'])} {seeds}")
    if not small and pd.notna(row["pooled"]):
        small.append("no interval")
    return TableCell(metric.text(row["pooled"]), tuple(small), row["pooled"], best)


def best_text(values: pd.Series, metric: Score) -> str | None:
    """The best value as it is shown; None where all read the same, so that none is the best."""
    if values.map(metric.text).nunique() < 2:
        return None
    return metric.text(values.max() if metric.higher_is_better else values.min())


def scale(ends: Sequence[float]) -> Callable[[float], str]:
    """Positions in the pictures of a column: zero and all ends fit."""
    known = [0.0, *(value for value in ends if np.isfinite(value))]
    span = (max(known) - min(known)) or 1.0
    return lambda value: f"{_ROOM + (_PICTURE - 2 * _ROOM) * (value - min(known)) / span:.1f}"


def score_column(metric: Score) -> Column:
    direction = "higher" if metric.higher_is_better else "lower"
    return Column(metric.label, f"{'%, ' if metric.percent else ''}{direction} is better")


def seeds_cell(row: pd.Series, metric: NumberFormat) -> TableCell:
    interval = metric.interval(row["ci_low"], row["ci_high"])
    return TableCell(metric.text(row["mean"]), (f"seeds {interval}",) if interval else (), row["mean"])


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
