"""The tables of a report page, whose cells have a text, an order for sorting, and marks."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np
import pandas as pd

from terralucas.tables.scores import NumberFormat, Score
from terralucas.tables.vocabulary import CONTROL, RECIPE, crossed_kind

# Width of the drawing of an interval, and the margin at both ends, in the units of the SVG.
_DRAWING_WIDTH, _DRAWING_MARGIN = 160.0, 6.0


@dataclass(frozen=True)
class TableCell:
    """A cell of a table: its text, smaller lines below, its order for sorting, and marks.

    Attributes:
        text: text in the first line.
        small: smaller lines below the text.
        order: number by which the column is sorted; None sorts by the text.
        best: whether the cell is the best of its column.
        whisker: positions of (low, estimate, high, zero) of an interval that is drawn in the cell.
        shown: whether the verdict on the drawn interval is that a difference is shown.
        bar: length of a bar, from 0 to 1.
        word: the verdict in a word, which gets a symbol and a colour.
    """

    text: str
    small: tuple[str, ...] = ()
    order: float | None = None
    best: bool = False
    whisker: tuple[str, ...] | None = None
    shown: bool = False
    bar: float | None = None
    word: str = ""

    @property
    def sort_key(self) -> str:
        """The number for sorting, as text; empty if it is missing."""
        return "" if self.order is None or pd.isna(self.order) else f"{self.order:.9g}"


@dataclass(frozen=True)
class Column:
    """The heading of a column, with a smaller note below it."""

    label: str
    note: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: the parts of its name, its cells, and the loss whose colour marks the row."""

    name: tuple[str, ...]
    cells: Sequence[TableCell]
    loss: str | None = None


class LazyRows(Sequence[Row]):
    """Rows that are made when they are looked at: of a table of thousands of rows, the page shows the first.

    Args:
        items: what each row is made of.
        make: makes a row.
    """

    def __init__(self, items: Sequence[Any], make: Callable[[Any], Row]) -> None:
        self._items, self._make = items, make

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        """Return a row, or the rows of a slice."""
        if isinstance(place, slice):
            return [self._make(item) for item in self._items[place]]
        return self._make(self._items[place])


# More rows would make the page of a study of thousands of recipes too large for browsers.
MOST_ROWS = 300


@dataclass(frozen=True)
class PageTable:
    """A table of the page; the first column has the names of the rows, of which the page shows the first."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    first: Column = field(default_factory=lambda: Column("Recipe", "backbone · loss · decoder", is_text=True))

    @cached_property
    def shown(self) -> Sequence[Row]:
        """The rows that the page shows."""
        return self.rows[:MOST_ROWS]


def rows_of_groups(table: pd.DataFrame, keys: Sequence[str], make: Callable[[pd.DataFrame], Row]) -> LazyRows:
    """Return a row for each group of a table, in the order of the table.

    Args:
        table: the table.
        keys: columns whose values a group shares.
        make: makes a row from the rows of a group.
    """
    places = list(table.groupby(list(keys), sort=False).indices.values())
    places.sort(key=lambda rows: rows[0])
    return LazyRows(places, lambda rows: make(table.iloc[rows]))


def recipe_rows(table: pd.DataFrame, cells: Callable[[pd.DataFrame], Sequence[TableCell]]) -> LazyRows:
    """Return a row for each recipe of a table, in the order of the table.

    Args:
        table: has the columns of `RECIPE`.
        cells: makes the cells of a recipe from its rows of the table.
    """
    return rows_of_groups(table, RECIPE, lambda recipe: recipe_row(recipe.iloc[0], cells(recipe)))


def recipe_row(names: pd.Series | dict[str, str], cells: Sequence[TableCell]) -> Row:
    """Make the row of a recipe, marked with the colour of its loss, or of a control."""
    parts = tuple(str(names[name]) for name in RECIPE)
    if names["loss"] == CONTROL:
        parts = (f"control: {control_text(names)}",)
    return Row(parts, cells, str(names["loss"]))


def control_text(names: pd.Series | dict[str, str]) -> str:
    """Return the name of a control, with the backbone whose features it reads."""
    kind = str(names["decoder"]).replace("_", " ")
    return kind if names["backbone"] == "none" else f"{kind} on {names['backbone']}"


def recipe_name(names: pd.Series | dict[str, str]) -> str:
    """Return the name of a recipe for use in a sentence."""
    return " · ".join(str(names[name]) for name in RECIPE)


def crossed_text(row: pd.Series, metric: Score) -> str:
    """Return the crossed interval after its name, `crossed` or `chips`; empty if there is no interval."""
    interval = metric.interval(row["crossed_low"], row["crossed_high"])
    return f"{crossed_kind(row['crossed_interval'])} {interval}" if interval else ""


def estimate_of(row: Mapping[Any, Any] | pd.Series, metric: Score) -> float:
    """Return the estimate to show: the pooled score, or the mean over runs of a score that pooling changes."""
    return float(row["mean"] if metric.recipe_interval == "seeds" else row["pooled"])


def score_cell(row: pd.Series, metric: Score, best: bool = False, both: bool = True) -> TableCell:
    """Make a cell with the score and its interval.

    Args:
        row: row of summary.csv or per_class.csv.
        metric: the score.
        best: whether the cell is the best of its column.
        both: whether to show the interval over seeds too, after the mean over seeds.
    """
    seeds, value = metric.interval(row["seeds_low"], row["seeds_high"]), estimate_of(row, metric)
    if metric.recipe_interval == "seeds":
        small = [f"seeds {seeds}"] if seeds else []
    elif both:
        crossed = crossed_text(row, metric)
        small = [crossed] if crossed else []
        small += [f"seeds {metric.text(row['mean'])} {seeds}"] if seeds else []
    else:
        crossed = metric.interval(row["crossed_low"], row["crossed_high"])
        small = [crossed] if crossed else []
    if not small and pd.notna(value):
        small.append("no interval")
    return TableCell(metric.text(value), tuple(small), value, best)


def best_text(values: pd.Series, metric: Score) -> str | None:
    """Return the best value as text; None if all values have the same text, so that none is the best."""
    if values.map(metric.text).nunique() < 2:
        return None
    return metric.text(values.max() if metric.higher_is_better else values.min())


def scale(ends: Sequence[float]) -> Callable[[float], str]:
    """Return the function from a value to its position in a drawing; zero and all `ends` are inside the drawing."""
    known = [0.0, *(value for value in ends if np.isfinite(value))]
    span = (max(known) - min(known)) or 1.0
    width = _DRAWING_WIDTH - 2 * _DRAWING_MARGIN
    return lambda value: f"{_DRAWING_MARGIN + width * (value - min(known)) / span:.1f}"


def score_column(metric: Score) -> Column:
    """Make the heading of a score: its label, its unit and which direction is better."""
    direction = "higher" if metric.higher_is_better else "lower"
    return Column(metric.label, f"{'%, ' if metric.percent else ''}{direction} is better")


def seeds_cell(row: pd.Series, metric: NumberFormat) -> TableCell:
    """Make a cell with a mean over seeds and its interval."""
    interval = metric.interval(row["ci_low"], row["ci_high"])
    return TableCell(metric.text(row["mean"]), (f"seeds {interval}",) if interval else (), row["mean"])


def data_uri(content: bytes, kind: str) -> str:
    """Return a data URI of the content with a media type (`kind`)."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
