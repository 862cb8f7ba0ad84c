"""Tell whether another `dataset.on_invalid` or `dataset.chip_size_px` would change the index of the chips.

Where the index dropped no chip, they decide nothing: all chips are valid and have one size.
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


def write_record(
    record: Path, tokens: tuple[str, int | str | None], dataset: Mapping[str, Any], n_dropped: int, chip_size_px: int
) -> None:
    """Record how an index was made.

    Args:
        record: the file.
        tokens: the tokens of `on_invalid` and `chip_size_px`, which Snakemake records as parameters.
        dataset: the section `dataset` of the configuration, which may have other values than the tokens.
        n_dropped: number of chips that were dropped.
        chip_size_px: side of the others in pixels.
    """
    on_invalid, size = tokens
    configured = {"on_invalid": dataset["on_invalid"], "configured_size_px": dataset["chip_size_px"]}
    found = {"n_dropped": n_dropped, "chip_size_px": chip_size_px}
    write_json(record, {"token": on_invalid, "size_token": size, **configured, **found})
