"""Tell whether another `dataset.on_invalid` would change the index of the chips."""

from __future__ import annotations

from pathlib import Path

from terralucas.contents import read_record
from terralucas.files import write_json


def on_invalid_token(on_invalid: str, record: Path) -> str:
    """Return a token of `dataset.on_invalid` that stays the same where no chip is invalid, so that it decides nothing.

    Args:
        on_invalid: the key of the configuration.
        record: record of `write_record`.
    """
    known = read_record(record)
    return str(known["token"]) if known is not None and known["n_dropped"] == 0 else on_invalid


def write_record(record: Path, token: str, n_dropped: int) -> None:
    """Record how many chips the index dropped."""
    write_json(record, {"token": token, "n_dropped": n_dropped})
