"""Functions that write values as text: settings, p values, counts, lists, durations, margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from terralucas.tables.scores import NumberFormat, Score
from terralucas.tables.vocabulary import EQUIVALENT, INCONCLUSIVE, SHOWN, WITHOUT

LABELS = {"n_chips": "Chips", "sha256": "SHA-256", "lr": "Learning rate", "unit": "Unit of the values"}
NO_PLACES = "Not all chips have coordinates, so it is unknown whether they share ground."


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


def class_text(code: object, name: str) -> str:
    """Return code and name of a class; of a folder's name, which is both, only one."""
    return name if str(code) == name else f"{code} {name}"


def list_text(names: Sequence[str]) -> str:
    """Join names as `a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 2 else names)


def tied_text(names: Sequence[str], noun: str, plural: str | None = None) -> str:
    """Join the names of those that share a value, as `list_text`; more than three are counted."""
    return list_text(names) if len(names) <= 3 else count_text(len(names), noun, plural)


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


def ways_text(seeds: float, chips: float) -> str:
    """Say in short how many seeds, or how many times the chips of every class, would do; empty if neither would.

    The numbers are predictions from an observed spread, so that they are rounded up to two digits.
    """
    ways = [f"about {_two_digits(seeds):.0f} seeds"] if not pd.isna(seeds) else []
    if not pd.isna(chips):
        ways.insert(0, f"about {factor_text(chips)} × the chips")
    return " or ".join(ways)


def needed_text(margin: str, seeds: float, chips: float) -> str:
    """Say how many seeds, or how many times the chips of every class, would decide a margin."""
    ways = ways_text(seeds, chips)
    if not ways:
        return f"neither more seeds nor more chips alone could settle ± {margin}"
    other = "chips" if "seeds" in ways else "seeds"
    alone = "" if " or " in ways else f" (more {other} alone could not)"
    return f"{ways} could settle ± {margin}{alone}"


def _two_digits(number: float) -> float:
    """Round a number from 1 up to two digits."""
    step = 10.0 ** max(np.floor(np.log10(number)) - 1, 0)
    return float(np.ceil(number / step) * step)


def factor_text(factor: float) -> str:
    """Return a factor as text, rounded up; below 3 with one decimal, otherwise to two digits at most."""
    return f"{np.ceil(factor * 10) / 10:.1f}" if factor < 3 else f"{_two_digits(factor):.0f}"


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


def state_word(row: Mapping[str, Any], score: Score) -> str:
    """Return the state of a contrast a − b as a word about a: better, worse, equivalent, inconclusive, no interval."""
    words = {"same": "equivalent", "open": "inconclusive", "none": "no interval"}
    state = contrast_state(row)
    return words.get(state) or ("better" if (state == "higher") == score.higher_is_better else "worse")


def class_set_text(classes: str, names: Mapping[str, str]) -> str:
    """Return a set of classes as text: `all classes`, or `without “Grass”`.

    Args:
        classes: value of the column `classes`, such as `all` or `without 10`.
        names: code → name of each class.
    """
    if not classes.startswith(WITHOUT):
        return "all classes"
    codes = classes.removeprefix(WITHOUT).split(", ")
    return f"{WITHOUT}{list_text([f'“{names.get(code, code)}”' for code in codes])}"
