"""What the chips of a dataset must look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from terralucas.errors import StudyError

DN_PER_REFLECTANCE = 10_000


@dataclass(frozen=True)
class ClassSpec:
    """One class: its code as text (as in the labels table or folder names) and its readable name."""

    code: str
    name: str


@dataclass(frozen=True)
class LayoutSpec:
    """Where labels, file names and coordinates of the chips stand: the keys of `dataset.layout`."""

    labels: str
    table: str | None = None
    id_column: str | None = None
    label_column: str | None = None
    file_column: str | None = None
    x_column: str | None = None
    y_column: str | None = None
    crs: str = "EPSG:4326"

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any]) -> LayoutSpec:
        """Build from the validated mapping under `dataset.layout`; a key that is null counts as absent."""
        return cls(**{key: mapping[key] for key in cls.__dataclass_fields__ if mapping.get(key) is not None})


@dataclass(frozen=True)
class DatasetSpec:
    """What the chips of a dataset must look like; config/README.md explains the keys.

    `bands` are named in the order on disk; the position of a class in `classes` is its 0-based label. `unit` is
    "reflectance" (0..1) or "dn" (reflectance x 10,000). Chip sides must be multiples of `patch_size_px`.
    """

    name: str
    layout: LayoutSpec
    classes: tuple[ClassSpec, ...]
    bands: tuple[str, ...]
    unit: str = "reflectance"
    nodata: float | None = None
    chip_size_px: int | None = None
    patch_size_px: int = 16
    point_ids: str = "none"
    on_invalid: str = "error"

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any]) -> DatasetSpec:
        """Build from the validated mapping under `dataset`, to which the caller adds the backbone's `patch_size_px`.

        Raises:
            StudyError: when two classes go by the same code or name.
        """
        classes = tuple(ClassSpec(plain_text(entry["code"]), plain_text(entry["name"])) for entry in mapping["classes"])
        claimed: dict[str, ClassSpec] = {}
        for entry in classes:
            for text in {entry.code, entry.name}:
                if text in claimed:
                    found = f"{claimed[text].code}: {claimed[text].name} and {entry.code}: {entry.name}"
                    raise StudyError(f"two classes of dataset.classes go by {text!r}", found=found)
                claimed[text] = entry
        simple = ("name", "unit", "nodata", "chip_size_px", "patch_size_px", "point_ids", "on_invalid")
        given = {key: mapping[key] for key in simple if mapping.get(key) is not None}
        layout = LayoutSpec.from_config(mapping["layout"])
        return cls(layout=layout, classes=classes, bands=tuple(mapping["bands"]), **given)

    def class_lookup(self) -> dict[str, int]:
        """0-based label by class code and by class name."""
        return {text: index for index, entry in enumerate(self.classes) for text in (entry.name, entry.code)}


def plain_text(value: object) -> str:
    """Text by which ids, codes and names are compared.

    Whole numbers lose the ".0" a spreadsheet gives them, and accents are composed (macOS archives store them apart).
    """
    text = normalize("NFC", str(value)).strip()
    return text.partition(".")[0] if re.fullmatch(r"-?[0-9]+\.0+", text) else text
