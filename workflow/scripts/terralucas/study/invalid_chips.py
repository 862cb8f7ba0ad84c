"""Tell whether other values of keys that decide which chips are valid would change the index of the chips.

Where the index dropped no chip, `dataset.on_invalid` and `dataset.chip_size_px` decide nothing: all chips are valid and
have one size. `dataset.pixel_size_m` decides nothing then if it fits all chips, no two are near each other or alike,
and names of bands have one meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from terralucas.contents import read_record, unlike
from terralucas.files import write_json


def _is_on_invalid_the_same(value: str, before: str, record: Mapping[str, Any]) -> bool:
    return bool(record["n_dropped"] == 0)


def _is_chip_size_the_same(value: int | None, before: int | None, record: Mapping[str, Any]) -> bool:
    # None stands for the most frequent size.
    return record["n_dropped"] == 0 and value in (None, record["chip_size_px"])


def _is_pixel_size_the_same(value: float, before: float, record: Mapping[str, Any]) -> bool:
    # Imported late, because most starts need none of these.
    from terralucas.data.dataset import SMALLEST_PIXEL_OF_LANDSAT_M
    from terralucas.data.indexing.pixel_sizes import is_pixel_size

    sizes = record["pixel_sizes"]
    if sizes is not None and not is_pixel_size(sizes["median_m"], sizes["nominal_m"], value):
        # The start refuses it (`execution.start.planned_inputs.require_pixel_size`).
        return True
    sides = () if sizes is None else (sizes["smallest_m"], sizes["largest_m"])
    fits_all = all(is_pixel_size(side, side, value, sizes["largest_elongation"]) for side in sides)
    is_large, was_large = (size >= SMALLEST_PIXEL_OF_LANDSAT_M for size in (value, before))
    decides_nothing = record["n_dropped"] == 0 and not record["has_near_chips"]
    return decides_nothing and fits_all and is_large == was_large


# Whether a value of a key makes the same index as the one before: function(value, value before, record).
_IS_SAME: dict[str, Callable[[Any, Any, Mapping[str, Any]], bool]] = {
    "on_invalid": _is_on_invalid_the_same,
    "chip_size_px": _is_chip_size_the_same,
    "pixel_size_m": _is_pixel_size_the_same,
}
KEYS = tuple(_IS_SAME)
# What decides it, of the report of the index.
_OF_REPORT = ("n_dropped", "chip_size_px", "pixel_sizes", "has_near_chips")


def tokens_of_keys(dataset: Mapping[str, Any], record: Path) -> dict[str, Any]:
    """Return a token of each of `KEYS`: that of the index, where the value is the same or decides nothing.

    Args:
        dataset: the section `dataset` of the configuration.
        record: record of `write_record`.
    """
    known = read_record(record) or {}
    return {key: _token_of(key, dataset[key], known) for key in KEYS}


def _token_of(key: str, value: Any, known: Mapping[str, Any]) -> Any:
    if key not in known.get("keys", {}):
        return value
    token, before = known["keys"][key]["token"], known["keys"][key]["value"]
    if value == before or _IS_SAME[key](value, before, known):
        return token
    return value if value != token else unlike(value, token)


def write_record(
    record: Path, tokens: Mapping[str, Any], dataset: Mapping[str, Any], report: Mapping[str, Any]
) -> None:
    """Record how an index was made.

    Args:
        record: the file.
        tokens: those of `tokens_of_keys`, which Snakemake records as a parameter.
        dataset: the section `dataset` of the configuration, which may have other values than the tokens.
        report: result of `terralucas.data.indexing.index.index_chips`.
    """
    keys = {key: {"token": tokens[key], "value": dataset[key]} for key in KEYS}
    write_json(record, {"keys": keys} | {name: report[name] for name in _OF_REPORT})
