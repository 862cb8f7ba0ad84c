"""Choose chips that show what a recipe does, and make small pictures of them.

The prediction for a chip is the mean of the probabilities of the runs that tested it: each chip is shown as models see
it that were not trained on it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from terralucas.statistics.run_predictions import Part

SCHEMA_VERSION = 1
TRUE_COLOUR = ("RED", "GREEN", "BLUE")
# Chips of each kind and class, and chips of each pair of a true and a wrong class.
_PER_KIND, _PER_PAIR = 2, 2
_LARGEST_PX = 96
# Of the values of all pictures; one limit for all bands and chips keeps their colours comparable.
_BRIGHTEST = 98.0
_GAMMA = 1.6
_JPEG_QUALITY = 85


def mean_predictions(parts: Sequence[Part], n_classes: int) -> pd.DataFrame:
    """Return the prediction for each tested chip.

    Args:
        parts: the test predictions of the runs of a recipe.
        n_classes: number of classes K.

    Returns:
        A row for each chip, in the order of the index: row, label, predicted, p_true, p_predicted, runs.
    """
    chips = np.concatenate([part.chips for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    logits = np.concatenate([part.logits for part in parts]).astype(np.float64)
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows, place, counts = np.unique(chips, return_inverse=True, return_counts=True)
    sums = np.zeros((len(rows), n_classes))
    np.add.at(sums, place, shifted / shifted.sum(axis=1, keepdims=True))
    label = np.zeros(len(rows), dtype=np.int64)
    label[place] = labels
    mean = sums / counts[:, None]
    predicted = mean.argmax(axis=1)
    each = np.arange(len(rows))
    return pd.DataFrame(
        {
            "row": rows,
            "label": label,
            "predicted": predicted,
            "p_true": mean[each, label],
            "p_predicted": mean[each, predicted],
            "runs": counts,
        }
    )


def choose_chips(predictions: pd.DataFrame, n_classes: int) -> dict[str, Any]:
    """Choose chips of each class and of each kind of error; equal values are decided by the order of the index.

    Args:
        predictions: the table of `mean_predictions`.
        n_classes: number of classes K.

    Returns:
        `classes`: for each class its number of chips, and the positions in the table of its chips of each kind:
        `typical` (right, with the highest probability), `wrong` (wrong, with the highest probability of the wrong
        class) and `hardest` (of the others, with the lowest probability of the true class). `pairs`: for each pair of a
        true and a predicted class that occurs, the number of chips and the positions of those predicted with the
        highest probability.
    """
    classes, pairs = [], []
    for label in range(n_classes):
        own = predictions[predictions["label"] == label]
        is_right = own["predicted"] == label
        typical = own[is_right].sort_values("p_true", ascending=False, kind="stable").index[:_PER_KIND]
        wrong = own[~is_right].sort_values("p_predicted", ascending=False, kind="stable").index[:_PER_KIND]
        others = own.drop(index=[*wrong, *typical]).sort_values("p_true", kind="stable").index[:_PER_KIND]
        kinds = {"typical": typical, "hardest": others, "wrong": wrong}
        classes.append(
            {
                "n": len(own),
                "right": int(is_right.sum()),
                "kinds": {name: [int(place) for place in chosen] for name, chosen in kinds.items()},
            }
        )
        for predicted, of_pair in own.groupby("predicted"):
            best = of_pair.sort_values("p_predicted", ascending=False, kind="stable").index[:_PER_PAIR]
            chosen = [int(place) for place in best] if predicted != label else []
            pairs.append({"true": label, "predicted": int(predicted), "n": len(of_pair), "chips": chosen})
    return {"classes": classes, "pairs": pairs}


def make_gallery(
    predictions: pd.DataFrame,
    point_ids: Sequence[str],
    read: Callable[[int], np.ndarray],
    bands: Sequence[str],
    n_classes: int,
    recipe: Sequence[str],
) -> dict[str, Any]:
    """Make the content of gallery.json: chosen chips, with a picture of each.

    Args:
        predictions: the table of `mean_predictions`.
        point_ids: id of each chip of the index.
        read: reads the reflectance (bands, side, side) of the chip in a row of the index, NaN where missing.
        bands: names of the bands.
        n_classes: number of classes K.
        recipe: backbone, loss and decoder.
    """
    chosen = choose_chips(predictions, n_classes)
    shown = sorted(
        {place for entry in chosen["classes"] for places in entry["kinds"].values() for place in places}
        | {place for pair in chosen["pairs"] for place in pair["chips"]}
    )
    used = [*TRUE_COLOUR] if set(TRUE_COLOUR) <= set(bands) else [bands[0]]
    positions = [list(bands).index(band) for band in used]
    thumbnails = [_shrink(read(int(predictions["row"][place]))[positions]) for place in shown]
    brightest = float(np.nanpercentile(np.concatenate([each.ravel() for each in thumbnails]), _BRIGHTEST))
    chips = {}
    for place, thumbnail in zip(shown, thumbnails, strict=True):
        row = predictions.loc[place]
        chips[str(place)] = {
            "id": point_ids[int(row["row"])],
            "true": int(row["label"]),
            "predicted": int(row["predicted"]),
            "p_true": round(float(row["p_true"]), 4),
            "p_predicted": round(float(row["p_predicted"]), 4),
            "picture": _encode(thumbnail, brightest),
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "recipe": list(recipe),
        "bands": used,
        "brightest": round(brightest, 4),
        "gamma": _GAMMA,
        **chosen,
        "chips": chips,
    }


def _shrink(values: np.ndarray) -> np.ndarray:
    """Average squares of pixels until the side is at most `_LARGEST_PX`; a margin that is less than a square is cut."""
    factor = -(-values.shape[1] // _LARGEST_PX)
    side = values.shape[1] // factor
    squares = values[:, : side * factor, : side * factor].reshape(len(values), side, factor, side, factor)
    is_missing = np.isnan(squares)
    count = (~is_missing).sum(axis=(2, 4))
    total = np.where(is_missing, 0.0, squares).sum(axis=(2, 4), dtype=np.float64)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def _encode(values: np.ndarray, brightest: float) -> str:
    """Return a picture as base64 of a JPEG; missing pixels are grey."""
    scaled = np.clip(values / max(brightest, 1e-9), 0.0, 1.0) ** (1.0 / _GAMMA)
    pixels = np.where(np.isnan(scaled), 0.5, scaled)
    colours = np.repeat(pixels, 3, axis=0) if len(pixels) == 1 else pixels
    picture = Image.fromarray(np.round(255.0 * colours).astype(np.uint8).transpose(1, 2, 0))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_JPEG_QUALITY)
    return base64.b64encode(content.getvalue()).decode("ascii")
