"""The section “Chips”: pictures of chips of each class, and a browser of the errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from terralucas.report.wording import count_text
from terralucas.tables.scores import PERCENT, PERCENT_SIGN, SCORES
from terralucas.tables.vocabulary import ALL_CLASSES

KINDS = {"typical": "Typical", "hardest": "Hardest", "wrong": "Confidently wrong"}


def gallery_items(gallery: Mapping[str, Any] | None, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the variables of the section; None without a gallery.

    Args:
        gallery: content of gallery.json.
        names: name of each class, in the order of the class indices.
    """
    if gallery is None:
        return None
    cards = {place: chip_card(chip, names) for place, chip in gallery["chips"].items()}
    classes = [
        {
            "name": name,
            "counts": f"{entry['right']} of {count_text(entry['n'], 'chip')} right",
            "kinds": [
                {"title": title, "cards": [cards[str(place)] for place in entry["kinds"][kind]]}
                for kind, title in KINDS.items()
                if entry["kinds"][kind]
            ],
        }
        for name, entry in zip(names, gallery["classes"], strict=True)
        if entry["n"]
    ]
    counts = {(pair["true"], pair["predicted"]): pair for pair in gallery["pairs"]}
    matrix = [
        {
            "name": name,
            "cells": [
                {
                    "n": counts[true, predicted]["n"] if (true, predicted) in counts else 0,
                    "is_right": true == predicted,
                    "target": f"chips-{true}-{predicted}" if counts.get((true, predicted), {}).get("chips") else None,
                    "label": f"{name}, predicted as {names[predicted]}",
                }
                for predicted in range(len(names))
            ],
        }
        for true, name in enumerate(names)
    ]
    errors = [
        {
            "target": f"chips-{true}-{predicted}",
            "title": f"“{names[true]}” predicted as “{names[predicted]}”: {count_text(pair['n'], 'chip')}",
            "cards": [cards[str(place)] for place in pair["chips"]],
            "is_all": len(pair["chips"]) == pair["n"],
        }
        for (true, predicted), pair in counts.items()
        if pair["chips"]
    ]
    return {
        "recipe": " × ".join(gallery["recipe"]),
        "stretch": stretch_text(gallery),
        "classes": classes,
        "names": names,
        "matrix": matrix,
        "errors": errors,
    }


def is_tied(summary: pd.DataFrame, primary: str) -> bool:
    """Return whether several recipes have the best value of a score, as it is shown."""
    score = SCORES[primary]
    values = summary.loc[(summary["metric"] == primary) & (summary["classes"] == ALL_CLASSES), "pooled"].dropna()
    shown = values.map(score.text)
    return int((shown == score.text(values.max() if score.higher_is_better else values.min())).sum()) > 1


def stretch_text(gallery: Mapping[str, Any]) -> str:
    """Say how reflectance is shown in the pictures of a gallery."""
    true_colour = len(gallery["bands"]) == 3
    bands = "true colour" if true_colour else f"grey, band {gallery['bands'][0]}"
    return f"{bands}; black is reflectance 0, white {gallery['brightest']:.2f}, gamma {gallery['gamma']:g}"


def chip_card(chip: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return what the page says and shows of a chip of the gallery."""
    is_right = chip["true"] == chip["predicted"]
    p_true, p_predicted = (f"{PERCENT.text(chip[key])}{PERCENT_SIGN}" for key in ("p_true", "p_predicted"))
    true, predicted = names[chip["true"]], names[chip["predicted"]]
    verdict = f"right, {p_true}" if is_right else f"taken for {predicted}, {p_predicted}"
    return {
        "id": chip["id"],
        "is_right": is_right,
        "true": true,
        "verdict": verdict,
        "rest": "" if is_right else f"true class {p_true}",
        "picture": Markup(f"data:image/jpeg;base64,{chip['picture']}"),
        "alternative": f"Chip {chip['id']}: {true}, {verdict}",
    }
