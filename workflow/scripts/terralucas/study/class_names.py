"""Tell whether corrected names of classes would give chips other labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from terralucas.contents import read_record, unlike
from terralucas.data.dataset import normalise_name
from terralucas.files import sha256_of_json, write_json


def classes_token(classes: Sequence[Mapping[str, Any]], record: Path) -> str:
    """Return a token of the classes that changes if chips may get other labels.

    Labels and folders may contain names of classes in place of codes. A name that is in none of them is only shown.

    Args:
        classes: `dataset.classes` of the configuration.
        record: record of `write_record`.
    """
    lookup = {normalise_name(entry[key]): label for label, entry in enumerate(classes) for key in ("name", "code")}
    known = read_record(record)
    token = sha256_of_json(list(classes))
    if known is None:
        return token
    is_same = all(lookup.get(text) == label for text, label in known["class_by_text"].items())
    return str(known["token"]) if is_same else unlike(token, known["token"])


def write_record(record: Path, token: str, class_by_text: Mapping[str, int | None]) -> None:
    """Record which labels and folders the index found, and the class of each; None if it is no class."""
    write_json(record, {"token": token, "class_by_text": dict(class_by_text)})
