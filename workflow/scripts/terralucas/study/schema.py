"""Load the schema of the configuration, and fill in its defaults."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SCHEMA_PATH = Path(__file__).resolve().parents[3] / "schemas" / "config.schema.yaml"


@cache
def load_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration."""
    # libyaml reads the schema ten times faster than Python; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(SCHEMA_PATH.read_text(encoding="utf-8"), Loader=loader)


def dereference(schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a subschema in which `$ref` is replaced by its target."""
    while isinstance(schema, dict) and "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def fill_defaults(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a value with the defaults of missing keys, and with numbers instead of text that means a number.

    Snakemake passes nested values of `--config` as text, and YAML reads `1e-4` as text. What means the same has one
    form, because Snakemake and fingerprints compare texts: keys have the order of the schema, and then their own; a
    number that may have decimals is a float (2 becomes 2.0); a checksum has small letters (`small_letters`).

    Args:
        value: a configuration or a part of one; it is not changed.
        schema: the schema of the value.
        root: the complete schema, for `$ref`.
    """
    schema = dereference(schema, root)
    if not isinstance(schema, dict):
        return value
    if isinstance(value, list):
        return [fill_defaults(item, schema.get("items", {}), root) for item in value]
    if not isinstance(value, dict):
        return _convert_scalar(value, schema)
    value = dict(value)
    for branch in schema.get("allOf", []):
        (key, condition), *_ = branch["if"]["properties"].items()
        if value.get(key) == condition["const"]:
            value = fill_defaults(value, branch["then"], root)
    properties = schema.get("properties", {})
    for key, subschema in properties.items():
        subschema = dereference(subschema, root)
        if isinstance(subschema, dict) and "default" in subschema:
            value.setdefault(key, copy.deepcopy(subschema["default"]))
        if key in value:
            value[key] = fill_defaults(value[key], subschema, root)
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        for key in value.keys() - properties.keys():
            value[key] = fill_defaults(value[key], others, root)
    return {key: value[key] for key in properties if key in value} | value


def _convert_scalar(value: Any, schema: Mapping[str, Any]) -> Any:
    """Convert a scalar to the type in the schema; return it unchanged if this is impossible."""
    options = [schema, *schema.get("anyOf", [])]
    kinds = {kind for option in options for kind in as_list(option.get("type"))}
    choices = [choice for option in options for choice in option.get("enum", [])]
    if isinstance(value, int | float) and not isinstance(value, bool):
        if str(value) in choices:
            return str(value)
        if isinstance(value, int) and "number" in kinds and "integer" not in kinds:
            return _as_float(value)
    is_whole = isinstance(value, float) and value.is_integer()
    if is_whole and "integer" in kinds and "number" not in kinds:
        # JSON Schema takes 3.0 for an integer; Python's functions do not.
        return int(value)
    if isinstance(value, str) and schema.get("small_letters"):
        return value.lower()
    if not isinstance(value, str) or value in choices or "string" in kinds:
        return value
    if value in ("null", "~") and ("null" in kinds or None in choices):
        return None
    if value.lower() in ("true", "false") and "boolean" in kinds:
        return value.lower() == "true"
    if not kinds.isdisjoint(("integer", "number")):
        try:
            number = float(value)
        except ValueError:
            return value
        if "integer" in kinds and number.is_integer():
            return int(value) if value.lstrip("+-").isdecimal() else int(number)
        return number if "number" in kinds and math.isfinite(number) else value
    return value


def _as_float(value: int) -> float | int:
    try:
        return float(value)
    except OverflowError:  # the check of the range refuses it
        return value


def as_list(value: Any) -> list[Any]:
    """Return a list unchanged, and any other value as a list with one item."""
    return value if isinstance(value, list) else [value]
