"""Functions that write values as text: settings, p values, counts, lists, durations, margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from terralucas.tables.scores import NumberFormat
from terralucas.tables.vocabulary import EQUIVALENT, INCONCLUSIVE, SHOWN

LABELS = {"n_chips": "Chips", "sha256": "SHA-256", "lr": "Learning rate", "unit": "Unit of the values"}
NO_PLACES = "The chips have no coordinates, so it is unknown whether they share ground."
# A larger factor of chips is not shown, because no study can collect so many.
_MOST_CHIPS = 1000.0


def value_text(value: Any) -> str:
    """Return a setting as text."""
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}".replace("e-0", "e-")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {value_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(value_text(item) for item in value) or "none"
    return str(value)


def p_text(p_value: float) -> str:
    """Return a p value as `< 0.001` or with three decimals."""
    return "—" if pd.isna(p_value) else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def p_sentence(p_value: float) -> str:
    """Return a p value for use in a sentence, as `p = 0.012` or `p < 0.001`."""
    return "" if pd.isna(p_value) else f"p {p_text(p_value)}" if p_value < 0.001 else f"p = {p_text(p_value)}"


def count_text(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, as `1 recipe`, `3 recipes` or `0 recipes`."""
    word = noun if number == 1 else plural or f"{noun}s"
    return f"{number:,} {word}"


def list_text(names: Sequence[str]) -> str:
    """Join names as `a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names)


def range_text(texts: Sequence[str]) -> str:
    """Return the range from the first to the last text as `a to b`, or `a` if both are equal."""
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


def setting_pairs(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the label and the text of each setting."""
    return [
        (LABELS.get(key, str(key).replace("_", " ").capitalize()), value_text(value)) for key, value in settings.items()
    ]


def breakable(name: str) -> Markup:
    """Return a name in which a line may break after each underscore, for narrow tables."""
    return Markup(str(escape(name)).replace("_", "_<wbr>"))


def duration_text(seconds: float) -> str:
    """Return seconds as `12.3 s`, `4 min 05 s` or `2 h 03 min`."""
    if pd.isna(seconds):
        return "—"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def no_seeds_interval(table: pd.DataFrame) -> str:
    """Say why a table has no interval over seeds."""
    why = "it needs at least two seeds" if table["n_seeds"].max() < 2 else "the seeds do not differ"
    return f"No seeds interval: {why}"


def margin_text(margin: float, score: NumberFormat) -> str:
    """Return a margin with its unit: points for scores in percent, no unit for others."""
    if not score.percent:
        return f"{margin:g}"
    number = f"{100 * margin:g}"
    return f"{number} point{'' if number == '1' else 's'}"


def needed_text(margin: str, seeds: float, chips: float) -> str:
    """Say how many seeds, or how many times the chips of every class, would decide a margin."""
    ways = [f"{seeds:.0f} seeds"] if not pd.isna(seeds) else []
    if not pd.isna(chips) and chips <= _MOST_CHIPS:
        ways.append(f"{factor_text(chips)} times the chips")
    if not ways:
        return f"neither more seeds nor more chips alone would decide {margin}"
    alone = "" if len(ways) == 2 else f" (more {'chips' if 'seeds' in ways[0] else 'seeds'} alone would not do)"
    return f"to decide {margin} it would need {' or '.join(ways)}{alone}"


def factor_text(factor: float) -> str:
    """Return a factor as text, rounded up; below 10 with one decimal, otherwise without decimals."""
    digits = 1 if factor < 10 else 0
    return f"{np.ceil(factor * 10**digits) / 10**digits:.{digits}f}"


def contrast_state(row: Mapping[str, Any]) -> str:
    """Return the state of a contrast on the page.

    It is `higher` or `lower` if a difference is shown, `same` for equivalence within the margin, `none` if there is no
    interval or the score is not judged, and otherwise `open`.
    """
    if pd.isna(row["crossed_low"]) or row["verdict"] not in (SHOWN, EQUIVALENT, INCONCLUSIVE):
        return "none"
    if row["verdict"] == SHOWN:
        return "higher" if row["difference"] > 0 else "lower"
    return "same" if row["verdict"] == EQUIVALENT else "open"
