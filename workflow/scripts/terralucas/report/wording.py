"""How a report writes values: percentages, intervals, differences, durations, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from terralucas.tables.vocabulary import EQUIVALENT, SHOWN

LABELS = {"n_chips": "Chips", "sha256": "SHA-256", "lr": "Learning rate", "unit": "Unit of the values"}
NO_PLACES = "The chips have no coordinates, so that shared ground can't be told."
# Beyond this a number of times more chips is no plan.
_MOST_CHIPS = 1000.0


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


def no_seeds_interval(table: pd.DataFrame) -> str:
    """Why a table has no interval over seeds."""
    why = "it needs at least two seeds" if table["n_seeds"].max() < 2 else "the seeds do not differ"
    return f"No seeds interval: {why}"


def margin_text(row: Mapping[str, Any]) -> str:
    """The margin of a contrast, in points."""
    number = f"{100 * row['margin']:g}"
    return f"{number} point{'' if number == '1' else 's'}"


def needed_text(margin: str, seeds: float, chips: float) -> str:
    """What would decide a margin: seeds, or more chips of every class."""
    ways = [f"{seeds:.0f} seeds"] if not pd.isna(seeds) else []
    if not pd.isna(chips) and chips <= _MOST_CHIPS:
        ways.append(f"{factor_text(chips)} times the chips")
    if not ways:
        return f"neither more seeds nor more chips alone would decide {margin}"
    alone = "" if len(ways) == 2 else f" (more {'chips' if 'seeds' in ways[0] else 'seeds'} alone would not do)"
    return f"to decide {margin} it would need {' or '.join(ways)}{alone}"


def factor_text(factor: float) -> str:
    """A factor with two digits, never rounded down."""
    digits = 1 if factor < 10 else 0
    return f"{np.ceil(factor * 10**digits) / 10**digits:.{digits}f}"


def state(row: Mapping[str, Any]) -> str:
    """What a contrast shows: higher, lower, same, open, or none where there is no interval."""
    if pd.isna(row["crossed_low"]):
        return "none"
    if row["verdict"] == SHOWN:
        return "higher" if row["difference"] > 0 else "lower"
    return "same" if row["verdict"] == EQUIVALENT else "open"
