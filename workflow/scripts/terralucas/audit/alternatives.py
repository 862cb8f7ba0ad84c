"""Generate other valid values for a key of a setting, from the schema of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from terralucas.study.schema import as_list, dereference, fill_defaults, load_schema

# Keys that select the kind of a setting; all other keys are options of that kind.
_KIND_KEYS = ("type", "pooling")
# Values that switch an option off; False, 0 and 0.0 are equal in Python.
_OFF = (None, False, "none")


def is_active_key(setting: Mapping[str, Any], key: str) -> bool:
    """Return whether a key should have an effect: it is an option, and it is not switched off."""
    return key not in _KIND_KEYS and value_of(setting, key) not in _OFF


def alternatives(schema: Mapping[str, Any], setting: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """Yield copies of a setting in which one key has another value: every other choice, or other numbers in its range.

    Args:
        schema: schema of the setting.
        setting: a complete and valid setting.
        key: the key to change; `part.key` for a key of a nested part.

    Yields:
        Complete, valid settings. Keys that are not allowed together with the new value are removed.
    """
    root = load_schema()
    outer, _, inner = key.partition(".")
    own = _allowed_keys(schema, setting, root)[outer]
    if inner:
        yield from ({**setting, outer: changed} for changed in alternatives(own, setting[outer], inner))
        return
    validator = jsonschema.Draft202012Validator({**schema, "$defs": root["$defs"]})
    for value in _other_values(setting[key], own):
        changed = {**setting, key: value}
        allowed = _allowed_keys(schema, changed, root)
        changed = fill_defaults({name: changed[name] for name in changed if name in allowed}, schema, root)
        if validator.is_valid(changed):
            yield changed


def value_of(setting: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key; `part.key` is a key of a nested part."""
    outer, _, inner = key.partition(".")
    return value_of(setting[outer], inner) if inner else setting[outer]


def _allowed_keys(schema: Any, setting: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that a setting may have, given its other values, and the schema of each key."""
    schema = dereference(schema, root)
    keys = {name: dereference(child, root) for name, child in schema.get("properties", {}).items() if child is not True}
    for branch in schema.get("allOf", []):
        ((name, condition),) = branch["if"]["properties"].items()
        if setting.get(name) == condition["const"]:
            keys |= _allowed_keys(branch["then"], setting, root)
    return keys


def _other_values(value: Any, schema: Mapping[str, Any]) -> list[Any]:
    """Return values other than the given one; some may be out of range."""
    options = [schema, *schema.get("anyOf", [])]
    values = [choice for option in options for choice in option.get("enum", [])]
    kinds = {kind for option in options for kind in as_list(option.get("type"))}
    if "boolean" in kinds:
        values += [True, False]
    number = value if isinstance(value, int | float) else 1
    if "null" in kinds:
        values.append(None)
    if "integer" in kinds:
        values += [2 * number, number + 1, number - 1, 1]
    if "number" in kinds:
        # The last two are for limits that a short test run does not reach with values close to the given one.
        values += [2 * number, number / 2, (number + schema.get("exclusiveMaximum", number + 1)) / 2]
        values += [number / 1000, 1000 * number]
    if "array" in kinds:
        values += [[choice] for choice in schema["items"].get("enum", [1, 2])]
    return [other for other in values if other != value]
