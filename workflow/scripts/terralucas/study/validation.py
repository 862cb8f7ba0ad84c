"""Fill in the defaults of a configuration, check it against the schema, and describe its errors."""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema

from terralucas.backbones.sizes import DEPTH, model_size
from terralucas.data.dataset import normalise_name
from terralucas.errors import StudyError
from terralucas.study.dataset_problems import find_dataset_problems, find_impossible_characters
from terralucas.study.schema import as_list, fill_defaults, load_schema
from terralucas.study.settings import FACTORS

# How messages describe the limits of a number, by keyword of the schema.
_RELATIONS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults of a configuration, and check it.

    Args:
        config: configuration from YAML files and `--config`.

    Returns:
        A new dictionary that contains every key of the schema.

    Raises:
        StudyError: a key is unknown; or a value is missing, has a wrong type, is out of range or contradicts another
            value. The message lists all problems.
    """
    schema = load_schema()
    resolved = fill_defaults(copy.deepcopy(dict(config)), schema, schema)
    validator = jsonschema.Draft202012Validator(schema)
    problems = [*_find_infinite_numbers(resolved, ()), *find_impossible_characters(resolved)] or [
        _describe_violation(error) + _hint(error)
        for error in sorted(validator.iter_errors(resolved), key=lambda e: list(map(str, e.path)))
    ]
    if not problems:
        for backbone in resolved["backbones"].values():
            backbone["tuning"] = backbone["tuning"] or resolved["training"]["tuning"]
        problems = _find_contradictions(resolved) + _find_unused_options(config, resolved)
    if problems:
        raise StudyError(
            "The configuration of the study is not valid:\n  - " + "\n  - ".join(dict.fromkeys(problems)),
            remedy="correct these keys; config/README.md explains each of them",
        )
    _normalise_classes(resolved)
    return resolved


def _normalise_classes(resolved: dict[str, Any]) -> None:
    """Write codes and names of classes as the index of the chips does, so that all later steps find them equal."""
    for entry in resolved["dataset"]["classes"]:
        for key in ("code", "name"):
            entry[key] = _normalised(entry[key])
    report = resolved["report"]
    report["excluded_classes"] = [_normalised(code) for code in report["excluded_classes"]]


def _normalised(value: Any) -> Any:
    return normalise_name(value) if isinstance(value, str) else value


def _find_infinite_numbers(value: Any, path: tuple[str | int, ...]) -> list[str]:
    """Return problems with numbers that are NaN or infinite: NaN is in every range, because no comparison is true."""
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{_format_path(path)} is {value}; it must be a finite number"]
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return [problem for key, item in items for problem in _find_infinite_numbers(item, (*path, key))]


def _format_path(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text or "(top level)"


def _format_value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    if not text.isprintable():
        # A character that cannot be seen, or that looks like a blank, is shown by its number.
        text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _describe_violation(error: jsonschema.ValidationError) -> str:
    """Describe a violation of the schema in a sentence with the key, the value that was found and what is allowed."""
    key, found = _format_path(error.absolute_path), _format_value(error.instance)
    # The stubs also allow values that `iter_errors` does not give.
    instance: Any = error.instance
    schema: Any = error.schema
    limit: Any = error.validator_value
    match error.validator:
        case "additionalProperties" | "unevaluatedProperties":
            allowed = list(schema.get("properties", {}))
            unknown = [name for name in instance if name not in allowed]
            sentences = []
            for name in unknown:
                similar = difflib.get_close_matches(str(name), allowed, n=1)
                hint = f" (did you mean {similar[0]}?)" if similar else ""
                sentences.append(
                    f"unknown key {_format_path([*error.absolute_path, name])}{hint}; allowed: {', '.join(allowed)}"
                )
            return "; ".join(sentences)
        case "required":
            missing = [name for name in limit if name not in instance]
            return f"missing key {_format_path([*error.absolute_path, missing[0]])}"
        case "enum" | "const":
            return f"{key} is {found}; allowed: {', '.join(_format_value(value) for value in as_list(limit))}"
        case "type":
            return f"{key} is {found}, which is no {' or '.join(as_list(limit))}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" | "multipleOf":
            unit = f" {schema['unit']}" if "unit" in schema else ""
            return f"{key} is {found}; it must be {_RELATIONS[error.validator]} {limit}{unit}"
        case "minItems" | "minLength" | "minProperties":
            return f"{key} is {found}; it must have at least {limit} item(s) or character(s)"
        case "maxItems":
            return f"{key} has {len(instance)} items; it must have at most {limit}"
        case "maxLength":
            return f"{key} is {found}, {len(instance)} characters; it must have at most {limit}"
        case "uniqueItems":
            return f"{key} contains an item twice: {found}"
        case "pattern":
            return f"{key} is {found}; it must match the regular expression {limit}"
        case "anyOf":
            return f"{key} is {found}; allowed: {' or '.join(map(_describe_option, limit))}"
        case _:
            return f"{key}: {error.message}"


def _describe_option(schema: Mapping[str, Any]) -> str:
    """Describe what an option of `anyOf` allows: its values, or its type with what else it requires."""
    if "$ref" in schema:
        schema = load_schema()["$defs"][schema["$ref"].rpartition("/")[2]]
    if "enum" in schema:
        return " or ".join(_format_value(value) for value in schema["enum"])
    text = " or ".join(as_list(schema["type"]))
    limits = [f"{_RELATIONS[key]} {schema[key]}" for key in _RELATIONS if key in schema]
    if "minItems" in schema:
        limits.append(f"at least {schema['minItems']} item(s), each once")
    if "maxLength" in schema:
        limits.append(f"at most {schema['maxLength']} characters")
    if "pattern" in schema:
        limits.append(f"regular expression {schema['pattern']}")
    return f"{text} ({', '.join(limits)})" if limits else text


def _hint(error: jsonschema.ValidationError) -> str:
    """Return the hint of the schema about a wrong value, to be added to a description of it."""
    schema: Any = error.schema
    return f" ({schema['hint']})" if isinstance(schema, dict) and "hint" in schema else ""


def _find_contradictions(config: Mapping[str, Any]) -> list[str]:
    """Return the problems that are contradictions between keys."""
    problems = []
    dataset, split, grid = config["dataset"], config["split"], config["grid"]
    for plural in FACTORS.values():
        for name in grid[plural]:
            if name not in config[plural]:
                problems.append(
                    f"grid.{plural} names {name!r}, which is not defined; {plural} defines: {', '.join(config[plural])}"
                )
    report = config["report"]
    named = [("contrasts", contrast) for contrast in report["contrasts"]]
    named += [("interactions", contrast) for pair in report["interactions"] for contrast in pair]
    named += [("claims", claim["contrast"]) for claim in report["claims"]]
    for key, contrast in named:
        defined = config[FACTORS[contrast["factor"]]]
        for name in sorted({contrast["a"], contrast["b"]} - defined.keys()):
            problems.append(
                f"report.{key} names the {contrast['factor']} {name!r}, which is not one of {', '.join(defined)}"
            )
        if contrast["a"] == contrast["b"]:
            problems.append(f"report.{key} compares {contrast['a']!r} with itself")
    problems += _find_shared_names(config)
    problems += _find_repeated_contrasts(report)
    problems += _find_wrong_claims(report)
    if config["study"] in report["beside"]:
        problems.append("report.beside must not contain this study itself")
    known = [normalise_name(entry["code"]) for entry in dataset["classes"]]
    for code in report["excluded_classes"]:
        if normalise_name(code) not in known:
            problems.append(
                f"report.excluded_classes names {code!r}, which is no class code; codes: {', '.join(known)}"
            )
    excluded = [normalise_name(code) for code in report["excluded_classes"]]
    for code in sorted({code for code in excluded if excluded.count(code) > 1}):
        problems.append(f"report.excluded_classes names the class {code!r} twice")
    if len(known) - len(set(excluded)) < 2:
        problems.append("report.excluded_classes leaves fewer than two classes")
    counts = report["planning"]["class_counts"]
    if counts is not None and len(counts) != len(known):
        problems.append(f"report.planning.class_counts has {len(counts)} numbers for {len(known)} classes")
    if split["validation_is_test"] and split["strategy"] != "holdout":
        problems.append(f"split.validation_is_test needs split.strategy holdout, not {split['strategy']}")
    if split["validation_is_test"] and config["select"]["temperature_scaling"]:
        problems.append(
            "select.temperature_scaling needs validation chips; with split.validation_is_test there are none"
        )
    layout = dataset["layout"]
    if (layout["x_column"] is None) != (layout["y_column"] is None):
        problems.append("dataset.layout.x_column and y_column must both be given or both be null; one of them is null")
    elif layout["x_column"] is not None:
        x_like, y_like = r"(?i)(^|[^a-z])(gps_?)?(lon|lng|east)", r"(?i)(^|[^a-z])(gps_?)?(lat|north)"
        if re.search(y_like, layout["x_column"]) and re.search(x_like, layout["y_column"]):
            problems.append(
                f"dataset.layout.x_column is {layout['x_column']!r} and y_column is {layout['y_column']!r}; x is the "
                "longitude or easting, and y the latitude or northing: exchange them"
            )
    if layout["labels"] == "folders" and layout["x_column"] is not None:
        problems.append(
            "dataset.layout.x_column and y_column are columns of a table, which `labels: folders` does not read; "
            "remove them (the georeference of the chips gives their places), or set dataset.layout.labels: table"
        )
    problems += find_dataset_problems(config)
    problems += _find_options_without_effect(config["training"])
    problems += _find_wrong_layers(config)
    problems += _find_equal_settings(config)
    return problems


def _find_options_without_effect(training: Mapping[str, Any]) -> list[str]:
    """Return problems with options of tuned backbones that have no effect, because runs have too few epochs."""
    epochs, end_to_end, problems = training["epochs"], training["end_to_end"], []
    warmup, patience = end_to_end["warmup_epochs"], end_to_end["early_stopping_patience"]
    if warmup > 0 and warmup >= epochs:
        problems.append(f"training.end_to_end.warmup_epochs is {warmup:g}; it must be below training.epochs, {epochs}")
    # The first epoch is always the best one so far; so a run can stop after patience + 1 epochs at the earliest.
    if patience is not None and patience + 1 >= epochs:
        problems.append(
            f"training.end_to_end.early_stopping_patience is {patience}; with {epochs} epochs, no run would stop "
            f"early; it must be below {epochs - 1}, or null"
        )
    return problems


def _find_unused_options(written: Mapping[str, Any], resolved: Mapping[str, Any]) -> list[str]:
    """Return problems with options that the study does not use: of the other split, and for tuned backbones.

    Options that have their defaults are omitted.
    """
    schema = load_schema()
    problems = _find_unused_of_split(resolved["split"], schema["properties"]["split"]["properties"])
    section = schema["properties"]["training"]["properties"]["end_to_end"]
    end_to_end = written.get("training", {}).get("end_to_end", {})
    tunings = {
        setting["tuning"] for name, setting in resolved["backbones"].items() if name in resolved["grid"]["backbones"]
    }
    for key, options, defaults, users in (
        ("training.end_to_end", end_to_end, section, ("lora", "full")),
        ("training.end_to_end.lora", end_to_end.get("lora", {}), section["properties"]["lora"], ("lora",)),
    ):
        if options and options != fill_defaults({}, defaults, schema) and tunings.isdisjoint(users):
            required = " or ".join(f"`{user}`" for user in users)
            problems.append(
                f"{key} is written ({', '.join(options)}), but no backbone of the grid has the `tuning` {required}; "
                "remove this section, or tune a backbone"
            )
            break
    return problems


def _find_unused_of_split(split: Mapping[str, Any], of_schema: Mapping[str, Any]) -> list[str]:
    """Return problems with options of the split that have an effect with another one alone."""
    of_other = "test_share" if split["strategy"] == "kfold" else "folds"
    unused = {of_other: f"split.strategy {split['strategy']}"}
    if split["validation_is_test"]:
        unused["validation_share"] = "split.validation_is_test"
    return [
        f"split.{name} is {split[name]}, and with {cause} it has no effect; remove it, or give it its default, "
        f"{of_schema[name]['default']}"
        for name, cause in unused.items()
        if split[name] != of_schema[name]["default"]
    ]


def _find_wrong_layers(config: Mapping[str, Any]) -> list[str]:
    """Return problems with layers of decoders: not in ascending order, or not in a backbone of the grid."""
    problems = [
        f"decoders.{name}.layers is {layers}; the layers must be in ascending order, because their order has no effect"
        for name, layers in ((name, decoder["layers"] or []) for name, decoder in config["decoders"].items())
        if layers != sorted(layers)
    ]
    return problems + [
        f"decoders.{decoder}.layers names layer {layer}; the encoder of {backbone} has {depth} layers"
        for backbone in config["grid"]["backbones"]
        if backbone in config["backbones"]
        for depth in [DEPTH[model_size(config["backbones"][backbone]["model"])]]
        for decoder in config["grid"]["decoders"]
        if decoder in config["decoders"]
        for layer in config["decoders"][decoder]["layers"] or []
        if layer > depth
    ]


def _find_shared_names(config: Mapping[str, Any]) -> list[str]:
    """Return problems with contrasts of two factors that would have one name: `a − b` in the tables."""
    report = config["report"]
    differences = [*report["contrasts"], *(claim["contrast"] for claim in report["claims"])]
    factors: dict[frozenset[str], set[str]] = {}
    for difference in differences:
        factors.setdefault(frozenset((difference["a"], difference["b"])), set()).add(difference["factor"])
    return [
        f"report compares {' and '.join(map(repr, sorted(names)))} as {' and as '.join(sorted(found))}; tables name a "
        "contrast by these two names alone, so give the settings of one factor other names"
        for names, found in factors.items()
        if len(found) > 1
    ]


def _find_repeated_contrasts(report: Mapping[str, Any]) -> list[str]:
    """Return problems with contrasts that are asked for in both directions: two names for one test."""
    seen: set[tuple[str, frozenset[str]]] = set()
    problems = []
    for contrast in report["contrasts"]:
        key = (contrast["factor"], frozenset((contrast["a"], contrast["b"])))
        if key in seen:
            problems.append(
                f"report.contrasts has {contrast['a']} − {contrast['b']} and {contrast['b']} − {contrast['a']}, which "
                "are one test; keep one of them"
            )
        seen.add(key)
    return problems


def _find_wrong_claims(report: Mapping[str, Any]) -> list[str]:
    """Return problems with names and margins of claims."""
    problems = []
    names = [claim["name"] for claim in report["claims"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"report.claims: the name {name!r} is given twice")
    for claim in report["claims"]:
        if claim["relation"] == "equivalent":
            if claim["margin"] is None and claim["metric"] not in report["margins"]:
                problems.append(
                    f"report.claims: {claim['name']!r} needs a margin; report.margins has none for {claim['metric']}"
                )
            # The others are fractions, or differ by 2 at most; 1 is as large as report.margins allows.
            elif claim["margin"] is not None and claim["margin"] > 1 and claim["metric"] != "nll":
                problems.append(
                    f"report.claims: {claim['name']!r} has the margin {claim['margin']:g}; expected at most 1, because "
                    f"{claim['metric']} is no percentage: two points are 0.02"
                )
        elif claim["margin"] is not None:
            problems.append(
                f"report.claims: {claim['name']!r} has a margin, which is only allowed with the relation `equivalent`"
            )
    return problems


def _find_equal_settings(config: Mapping[str, Any]) -> list[str]:
    """Return problems with names in the grid that have equal settings.

    The audit finds settings that differ in the configuration but have the same effect.
    """
    problems = []
    for plural in FACTORS.values():
        names = [name for name in config["grid"][plural] if name in config[plural]]
        for a, b in itertools.combinations(names, 2):
            if config[plural][a] == config[plural][b]:
                problems.append(
                    f"{plural}: {a!r} and {b!r} are the same setting {_format_value(config[plural][a])}; keep one"
                )
    return problems
