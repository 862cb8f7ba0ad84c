"""What else a key of a setting could be, as the configuration's schema allows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from terralucas.study.schema import complete, dereference, load_schema

# Keys that say which setting it is; all others are knobs of it.
_CHOICES = ("type", "pooling")
# Values of a knob that is switched off; False, 0 and 0.0 are equal.
_OFF = (None, False, "none")


def is_active_key(setting: Mapping[str, Any], key: str) -> bool:
    """Whether a key is to have an effect: it does not say which setting it is, and is not switched off."""
    return key not in _CHOICES and value_of(setting, key) not in _OFF


def alternatives(schema: Mapping[str, Any], setting: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """The setting with one key changed: every other choice, or other numbers of its range.

    Args:
        schema: of the setting.
        setting: complete and valid.
        key: the one to change; that of a part of the setting is `part.key`.

    Yields:
        Complete, valid settings. Keys that the changed one rules out are left out.
    """
    root = load_schema()
    outer, _, inner = key.partition(".")
    own = _keys(schema, setting, root)[outer]
    if inner:
        yield from ({**setting, outer: changed} for changed in alternatives(own, setting[outer], inner))
        return
    validator = jsonschema.Draft202012Validator({**schema, "$defs": root["$defs"]})
    for value in _other_values(setting[key], own):
        changed = {**setting, key: value}
        allowed = _keys(schema, changed, root)
        changed = complete({name: changed[name] for name in changed if name in allowed}, schema, root)
        if validator.is_valid(changed):
            yield changed


def value_of(setting: Mapping[str, Any], key: str) -> Any:
    """The value of a key; that of a part of the setting is `part.key`."""
    outer, _, inner = key.partition(".")
    return value_of(setting[outer], inner) if inner else setting[outer]


def _keys(schema: Any, setting: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Schemas of the keys a setting may have, given its choices."""
    schema = dereference(schema, root)
    keys = {name: dereference(child, root) for name, child in schema.get("properties", {}).items() if child is not True}
    for branch in schema.get("allOf", []):
        ((name, condition),) = branch["if"]["properties"].items()
        if setting.get(name) == condition["const"]:
            keys |= _keys(branch["then"], setting, root)
    return keys


def _other_values(value: Any, schema: Mapping[str, Any]) -> list[Any]:
    """Values of a key other than its own; some may be out of range."""
    options = [schema, *schema.get("anyOf", [])]
    values = [choice for option in options for choice in option.get("enum", [])]
    kinds = {kind for option in options for kind in _listed(option.get("type"))}
    if "boolean" in kinds:
        values += [True, False]
    number = value if isinstance(value, int | float) else 1
    if "null" in kinds:
        values.append(None)
    if "integer" in kinds:
        values += [2 * number, number + 1, number - 1, 1]
    if "number" in kinds:
        # The last ones for limits and spans that nothing on a small probe reaches.
        values += [2 * number, number / 2, (number + schema.get("exclusiveMaximum", number + 1)) / 2]
        values += [number / 1000, 1000 * number]
    if "array" in kinds:
        values += [[choice] for choice in schema["items"].get("enum", [1, 2])]
    return [other for other in values if other != value]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
