"""Tell whether another `dataset.on_invalid` or `dataset.chip_size_px` would change the index of the chips.

Where the index dropped no chip, they decide nothing: all chips are valid and have one size.
"""

from __future__ import annotations

from pathlib import Path

from terralucas.contents import read_record
from terralucas.files import write_json


def on_invalid_token(on_invalid: str, record: Path) -> str:
    """Return a token of `dataset.on_invalid` that stays the same where no chip is invalid.

    Args:
        on_invalid: the key of the configuration.
        record: record of `write_record`.
    """
    known = read_record(record)
    return str(known["token"]) if known is not None and known["n_dropped"] == 0 else on_invalid


def chip_size_token(chip_size_px: int | None, record: Path) -> int | None:
    """Return a token of `dataset.chip_size_px` that stays the same where all chips have this size, or it is None.

    Args:
        chip_size_px: the key of the configuration; None for the most frequent size.
        record: record of `write_record`.
    """
    known = read_record(record)
    if known is None or known["n_dropped"] or chip_size_px not in (None, known.get("chip_size_px")):
        return chip_size_px
    size: int | None = known.get("size_token")
    return size


def write_record(record: Path, on_invalid: str, size: int | None, n_dropped: int, chip_size_px: int) -> None:
    """Record the tokens of an index, how many chips it dropped, and the size of the others in pixels."""
    write_json(record, {"token": on_invalid, "size_token": size, "n_dropped": n_dropped, "chip_size_px": chip_size_px})
