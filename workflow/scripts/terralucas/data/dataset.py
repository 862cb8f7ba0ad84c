"""Description of a dataset: what its chips must look like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from terralucas.errors import StudyError

DN_PER_REFLECTANCE = 10_000
# Since processing baseline 04.00, Sentinel-2's products hold so much more.
OFFSET_DN = 1000
# Zero-width spaces, soft hyphens, byte-order marks and marks of the direction of text.
_INVISIBLE = dict.fromkeys([0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF])
# Side of a patch of TerraMind; the sides of chips must be multiples of it.
PATCH_PX = 16


@dataclass(frozen=True)
class ClassSpec:
    """A class: its code as text, as in the labels table or the folder names, and its name."""

    code: str
    name: str


@dataclass(frozen=True)
class LayoutSpec:
    """Where to find labels, file names and coordinates of the chips: the keys of `dataset.layout`."""

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
        """Build the layout from the validated section `dataset.layout`; a null value counts as missing."""
        return cls(**{key: mapping[key] for key in cls.__dataclass_fields__ if mapping.get(key) is not None})


@dataclass(frozen=True)
class CheckLimits:
    """Limits beyond which a chip or a dataset is invalid: the keys of `dataset.checks`."""

    band_descriptions: bool = True
    band_order: bool = True
    band_levels: bool = True
    max_nodata_fraction: float = 0.5
    max_fill_fraction: float = 0.01
    allow_constant_bands: bool = False
    allow_equal_bands: bool = False
    allow_class_offsets: bool = False
    allow_stretched: bool = False
    allow_mixed_dtypes: bool = False
    min_chip_brightness: float = 0.2
    min_dataset_brightness: float = 0.15


# Those of Sentinel-2 have 10, 20 or 60 m.
SMALLEST_PIXEL_OF_LANDSAT_M = 25.0


@dataclass(frozen=True)
class DatasetSpec:
    """Description of a dataset; config/README.md explains the keys.

    `bands` are in their order on disk. The position of a class in `classes`, counted from 0, is its label. `unit` is
    "reflectance" (0..1) or "dn" (reflectance x 10,000). `pixel_size_m` is the side of a pixel on the ground in metres.
    `satellites_of_numbers` are what selected models know of the training chips: by which satellites the numbers of
    their bands are meant (`terralucas.data.rasters.band_names.BandNames.find_satellites_meant`).
    """

    name: str
    layout: LayoutSpec
    classes: tuple[ClassSpec, ...]
    bands: tuple[str, ...]
    unit: str = "reflectance"
    nodata: float | None = None
    chip_size_px: int | None = None
    pixel_size_m: float = 10.0
    point_ids: str = "none"
    on_invalid: str = "error"
    checks: CheckLimits = CheckLimits()
    satellites_of_numbers: tuple[str, ...] = ()

    @classmethod
    def from_config(cls, mapping: Mapping[str, Any]) -> DatasetSpec:
        """Build the description from the validated section `dataset`.

        Raises:
            StudyError: two classes have the same code or name.
        """
        classes = tuple(
            ClassSpec(normalise_name(entry["code"]), normalise_name(entry["name"])) for entry in mapping["classes"]
        )
        class_by_text: dict[str, ClassSpec] = {}
        for entry in classes:
            for text in {entry.code, entry.name}:
                if text in class_by_text:
                    other = class_by_text[text]
                    raise StudyError(
                        f"In dataset.classes, two classes have the code or name {text!r}.",
                        found=f"{other.code}: {other.name} and {entry.code}: {entry.name}",
                        expected="a different code and name for each class",
                        remedy="correct dataset.classes",
                    )
                class_by_text[text] = entry
        simple = ("name", "unit", "nodata", "chip_size_px", "pixel_size_m", "point_ids", "on_invalid")
        given = {key: mapping[key] for key in simple if mapping.get(key) is not None}
        layout = LayoutSpec.from_config(mapping["layout"])
        checks = CheckLimits(**mapping.get("checks") or {})
        bands, satellites = (tuple(mapping.get(key, ())) for key in ("bands", "satellites_of_numbers"))
        return cls(
            layout=layout, classes=classes, bands=bands, checks=checks, satellites_of_numbers=satellites, **given
        )

    @property
    def may_be_landsat(self) -> bool:
        """Whether the pixels are as large as Landsat's (30 m), so that numbers of bands may be Landsat's."""
        return self.pixel_size_m >= SMALLEST_PIXEL_OF_LANDSAT_M

    def class_lookup(self) -> dict[str, int]:
        """Return the label, counted from 0, by class code and by class name."""
        return {text: index for index, entry in enumerate(self.classes) for text in (entry.name, entry.code)}


def normalise_name(value: object) -> str:
    """Return the text by which ids, codes and names are compared.

    The ending ".0" that spreadsheets add to whole numbers is removed. Letters with accents become one character
    (Unicode NFC), because archives made on macOS store letter and accent separately. Characters that nobody sees are
    removed: text that is copied from web pages and documents has them.
    """
    text = normalize("NFC", str(value)).translate(_INVISIBLE).strip()
    return text.partition(".")[0] if re.fullmatch(r"-?[0-9]+\.0+", text) else text
