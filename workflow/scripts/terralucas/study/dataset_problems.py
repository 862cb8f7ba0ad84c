"""Problems of the section `dataset` that the schema cannot describe, and that would stop a job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from terralucas.data.dataset import LayoutSpec, normalise_name
from terralucas.data.discovery.lucas import ITALY_BANDS, ITALY_CLASSES

# JSON writes a character beyond 16 bits as two of these; UTF-8 has none of them.
_SURROGATES = re.compile("[\ud800-\udfff]")


def find_dataset_problems(config: Mapping[str, Any]) -> list[str]:
    """Return the problems of the dataset and of configured paths.

    Args:
        config: configuration that agrees with the schema.
    """
    dataset = config["dataset"]
    return [
        *_paths(config),
        *_addresses(dataset["sources"]),
        *_classes(dataset["classes"]),
        *_coordinates(dataset["layout"]),
        *_simulation(dataset),
    ]


def find_impossible_characters(value: Any, key: str = "") -> Iterator[str]:
    """Yield problems with texts that contain NUL, which no file can have in its name, or halves of a character."""
    if isinstance(value, str) and "\0" in value:
        yield f"{key} is {value!r}; it must not contain the character \\0"
    if isinstance(value, str) and _SURROGATES.search(value):
        yield (
            f"{key} is {value!r}, with halves of a character as JSON writes them; write the character itself, or "
            "\\U and its eight digits in YAML"
        )
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from find_impossible_characters(
            item, f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}".lstrip(".")
        )


def _paths(config: Mapping[str, Any]) -> Iterator[str]:
    named = [(f"dataset.sources[{number}].path", each) for number, each in enumerate(config["dataset"]["sources"])]
    named += [(f"backbones.{name}.weights.path", each["weights"]) for name, each in config["backbones"].items()]
    for key, settings in named:
        path = settings.get("path")
        if path is None:
            continue
        try:
            Path(path).expanduser()
        except RuntimeError:
            yield (
                f"{key} is {path!r}; this machine has no user {path[1:].partition('/')[0]!r}: write the whole path, or "
                "./ before a name that begins with ~"
            )


def _addresses(sources: list[dict[str, Any]]) -> Iterator[str]:
    for number, source in enumerate(sources):
        if "url" not in source:
            continue
        try:
            parts = urlsplit(source["url"])
            # Reading it raises a ValueError for a port that is no number, or is too large.
            is_valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            is_valid = False
        if not is_valid:
            # Without its value, which may contain a password.
            yield f"dataset.sources[{number}].url is no valid address; it must be like https://host/chips.tar.gz"


def _classes(classes: list[dict[str, Any]]) -> Iterator[str]:
    """Yield problems with codes and names, as they are compared with labels and folders."""
    seen: dict[str, tuple[int, str]] = {}
    for number, entry in enumerate(classes):
        texts = {key: normalise_name(entry[key]) for key in ("code", "name")}
        for key, text in texts.items():
            if not text:
                yield f"dataset.classes[{number}].{key} is blank; it must have a character that can be seen"
        for key, text in texts.items():
            first, other = seen.get(text, (number, key))
            if first != number and text:
                written = [entry[key], classes[first][other]]
                differ = "" if written[0] == written[1] else f" ({written[1]!a} and {written[0]!a} are read as one)"
                if key == other:
                    yield f"dataset.classes: the {key} {text!r} is given twice{differ}"
                else:
                    yield f"dataset.classes: {text!r} is the code of one class and the name of another{differ}"
            seen.setdefault(text, (number, key))


def _coordinates(layout: Mapping[str, Any]) -> Iterator[str]:
    if layout["x_column"] is not None and layout["x_column"] == layout["y_column"]:
        yield f"dataset.layout.x_column and y_column are the same column, {layout['x_column']!r}; they must be two"
    crs = layout["crs"]
    # Only where it is not the default, because rasterio takes time to import.
    if crs == LayoutSpec.crs:
        return
    from rasterio import Env
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        # Without an environment, PROJ writes to standard error itself.
        with Env():
            parsed = CRS.from_user_input(crs)
        is_right = parsed.is_geographic or parsed.is_projected
        found = "has no longitude and latitude, and no easting and northing, of places on the ground"
    except CRSError:
        is_right, found = False, "is unknown"
    if not is_right:
        yield (
            f"dataset.layout.crs is {crs!r}, which {found}; it must be the coordinate reference system of x_column and "
            "y_column, such as EPSG:4326 (longitude and latitude) or EPSG:32632 (UTM)"
        )


def _simulation(dataset: Mapping[str, Any]) -> Iterator[str]:
    """Yield problems with descriptions that simulated chips do not fit: they have classes and bands of LUCAS Italy."""
    for number, source in enumerate(dataset["sources"]):
        if source["type"] != "simulated":
            continue
        given = {normalise_name(entry[key]) for entry in dataset["classes"] for key in ("code", "name")}
        codes = [str(entry.code) for entry in ITALY_CLASSES]
        expected = {
            "classes": (
                len(dataset["classes"]) == len(codes) and set(codes) <= given,
                f"the {len(codes)} classes with the codes {', '.join(codes)}",
            ),
            "bands": (dataset["bands"] == list(ITALY_BANDS), f"the bands {', '.join(ITALY_BANDS)}"),
            "unit": (dataset["unit"] == "reflectance", "values from 0 to 1 (reflectance)"),
            "chip_size_px": (
                dataset["chip_size_px"] in (None, source["size_px"]),
                f"{source['size_px']} px (size_px of the source)",
            ),
        }
        for key, (is_right, text) in expected.items():
            if not is_right:
                yield (
                    f"dataset.{key} does not fit dataset.sources[{number}]: simulated chips have {text}; take these "
                    "lines from config/demo.yaml, or remove this source"
                )
