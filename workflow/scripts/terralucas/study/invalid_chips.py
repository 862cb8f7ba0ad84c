"""Tell whether other values of keys that decide which chips are valid would change the index of the chips.

Where the index dropped no chip, `dataset.on_invalid` and `dataset.chip_size_px` decide nothing: all chips are valid and
have one size; and `dataset.pixel_size_m` decides nothing where it fits all chips, and names of bands have one meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from terralucas.contents import read_record, unlike
from terralucas.files import write_json


def on_invalid_token(on_invalid: str, record: Path) -> str:
    """Return a token of `dataset.on_invalid`: that of the index, where it is the same or decides nothing.

    Args:
        on_invalid: the key of the configuration.
        record: record of `write_record`.
    """
    known = read_record(record)
    if known is None:
        return on_invalid
    is_same = on_invalid == known.get("on_invalid")
    return str(known["token"]) if is_same or known["n_dropped"] == 0 else unlike(on_invalid, known["token"])


def chip_size_token(chip_size_px: int | None, record: Path) -> int | str | None:
    """Return a token of `dataset.chip_size_px`: that of the index, where it is the same or decides nothing.

    Args:
        chip_size_px: the key of the configuration; None for the most frequent size.
        record: record of `write_record`.
    """
    known = read_record(record)
    if known is None or "configured_size_px" not in known:
        return chip_size_px
    size: int | str | None = known["size_token"]
    is_same = chip_size_px == known["configured_size_px"]
    decides_nothing = known["n_dropped"] == 0 and chip_size_px in (None, known["chip_size_px"])
    if is_same or decides_nothing:
        return size
    return chip_size_px if chip_size_px != size else unlike(chip_size_px, size)


def pixel_size_token(pixel_size_m: float, record: Path) -> float | str:
    """Return a token of `dataset.pixel_size_m`: that of the index, where it is the same or decides nothing.

    Args:
        pixel_size_m: the key of the configuration.
        record: record of `write_record`.
    """
    known = read_record(record)
    if known is None or "configured_pixel_m" not in known:
        return pixel_size_m
    token: float | str = known["pixel_token"]
    if pixel_size_m == known["configured_pixel_m"]:
        return token
    # Imported late, because most starts need none of these.
    from terralucas.data.dataset import SMALLEST_PIXEL_OF_LANDSAT_M
    from terralucas.data.indexing.pixel_sizes import is_pixel_size

    sizes = known["pixel_sizes"]
    if sizes is not None and not is_pixel_size(sizes["median_m"], sizes["nominal_m"], pixel_size_m):
        # The start refuses it (`execution.start.planned_inputs.require_pixel_size`).
        return token
    sides = () if sizes is None else (sizes["smallest_m"], sizes["largest_m"])
    fits_all = all(is_pixel_size(side, side, pixel_size_m, sizes["largest_elongation"]) for side in sides)
    is_large, was_large = (size >= SMALLEST_PIXEL_OF_LANDSAT_M for size in (pixel_size_m, known["configured_pixel_m"]))
    if known["n_dropped"] == 0 and fits_all and is_large == was_large:
        return token
    return pixel_size_m if pixel_size_m != token else unlike(pixel_size_m, token)


def write_record(
    record: Path,
    tokens: tuple[str, int | str | None, float | str],
    dataset: Mapping[str, Any],
    n_dropped: int,
    chip_size_px: int,
    pixel_sizes: Mapping[str, float] | None,
) -> None:
    """Record how an index was made.

    Args:
        record: the file.
        tokens: the tokens of `on_invalid`, `chip_size_px` and `pixel_size_m`, which Snakemake records as parameters.
        dataset: the section `dataset` of the configuration, which may have other values than the tokens.
        n_dropped: number of chips that were dropped.
        chip_size_px: side of the others in pixels.
        pixel_sizes: sides of their pixels (`terralucas.data.indexing.pixel_sizes.describe_pixel_sizes`).
    """
    on_invalid, size, pixel_size = tokens
    configured = {
        "on_invalid": dataset["on_invalid"],
        "configured_size_px": dataset["chip_size_px"],
        "configured_pixel_m": dataset["pixel_size_m"],
    }
    found = {"n_dropped": n_dropped, "chip_size_px": chip_size_px, "pixel_sizes": pixel_sizes}
    write_json(record, {"token": on_invalid, "size_token": size, "pixel_token": pixel_size, **configured, **found})
