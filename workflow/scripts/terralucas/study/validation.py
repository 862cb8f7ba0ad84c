"""A study's configuration: defaults filled in, checked against the schema, and its errors put into words."""

from __future__ import annotations

import copy
import difflib
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema

from terralucas.backbones.sizes import DEPTH, size_of
from terralucas.errors import StudyError
from terralucas.study.schema import as_list, complete, load_schema
from terralucas.study.settings import FACTORS


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults and check a configuration.

    Args:
        config: as read from YAML and `--config`.

    Returns:
        A new dictionary in which every key of the schema is present.

    Raises:
        StudyError: a key is unknown, or a value is missing, of a wrong type, out of range or at odds with another;
            every problem of the configuration is listed.
    """
    schema = load_schema()
    resolved = complete(copy.deepcopy(dict(config)), schema, schema)
    validator = jsonschema.Draft202012Validator(schema)
    problems = [
        _in_words(error) for error in sorted(validator.iter_errors(resolved), key=lambda e: list(map(str, e.path)))
    ]
    if not problems:
        for backbone in resolved["backbones"].values():
            backbone["tuning"] = backbone["tuning"] or resolved["training"]["tuning"]
        problems = _contradictions(resolved) + _unused_options(config, resolved)
    if problems:
        raise StudyError(
            "The configuration of the study is not valid:\n  - " + "\n  - ".join(dict.fromkeys(problems)),
            remedy="mend these keys; config/README.md explains each",
        )
    return resolved


def _key(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text or "(top level)"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _in_words(error: jsonschema.ValidationError) -> str:
    """One schema violation as a sentence that names the key, what was found and what is allowed."""
    key, found = _key(error.absolute_path), _shown(error.instance)
    # Any, as the stubs also allow for unset ones and for a schema that is just true, which iter_errors doesn't give.
    instance: Any = error.instance
    schema: Any = error.schema
    limit: Any = error.validator_value
    match error.validator:
        case "additionalProperties" | "unevaluatedProperties":
            allowed = list(schema.get("properties", {}))
            unknown = [name for name in instance if name not in allowed]
            sentences = []
            for name in unknown:
                near = difflib.get_close_matches(str(name), allowed, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                sentences.append(
                    f"unknown key {_key([*error.absolute_path, name])}{hint}; allowed: {', '.join(allowed)}"
                )
            return "; ".join(sentences)
        case "required":
            missing = [name for name in limit if name not in instance]
            return f"missing key {_key([*error.absolute_path, missing[0]])}"
        case "enum" | "const":
            return f"{key} is {found}; allowed: {', '.join(_shown(value) for value in as_list(limit))}"
        case "type":
            return f"{key} is {found}, which is no {' or '.join(as_list(limit))}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" | "multipleOf":
            relation = {
                "minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most",
                "exclusiveMaximum": "below", "multipleOf": "a multiple of",
            }[error.validator]  # fmt: skip
            unit = f" {schema['unit']}" if "unit" in schema else ""
            return f"{key} is {found}; it must be {relation} {limit}{unit}"
        case "minItems" | "minLength" | "minProperties":
            return f"{key} is {found}; it needs at least {limit} of them"
        case "uniqueItems":
            return f"{key} names something twice: {found}"
        case "pattern":
            return f"{key} is {found}; it must match {limit}"
        case "anyOf":
            allowed = [_shown(option.get("enum", option.get("type"))) for option in limit]
            return f"{key} is {found}; allowed: {' or '.join(allowed)}"
        case _:
            return f"{key}: {error.message}"


def _contradictions(config: Mapping[str, Any]) -> list[str]:
    """Problems that no single key shows."""
    problems = []
    dataset, split, grid = config["dataset"], config["split"], config["grid"]
    for plural in FACTORS.values():
        for name in grid[plural]:
            if name not in config[plural]:
                problems.append(f"grid.{plural} names {name!r}; {plural} defines: {', '.join(config[plural])}")
    report = config["report"]
    named = [("contrasts", contrast) for contrast in report["contrasts"]]
    named += [("interactions", contrast) for pair in report["interactions"] for contrast in pair]
    named += [("claims", claim["contrast"]) for claim in report["claims"]]
    for key, contrast in named:
        defined = config[FACTORS[contrast["factor"]]]
        for name in sorted({contrast["a"], contrast["b"]} - defined.keys()):
            problems.append(f"report.{key} names the {contrast['factor']} {name!r}; defined: {', '.join(defined)}")
        if contrast["a"] == contrast["b"]:
            problems.append(f"report.{key} compares {contrast['a']!r} with itself")
    problems += _wrong_claims(report)
    if config["study"] in report["beside"]:
        problems.append("report.beside names this study itself")
    known = [str(entry["code"]) for entry in dataset["classes"]]
    for code in report["excluded_classes"]:
        if str(code) not in known:
            problems.append(f"report.excluded_classes names {code!r}; codes: {', '.join(known)}")
    if len(known) - len(report["excluded_classes"]) < 2:
        problems.append("report.excluded_classes leaves fewer than two classes")
    counts = report["planning"]["class_counts"]
    if counts is not None and len(counts) != len(known):
        problems.append(f"report.planning.class_counts has {len(counts)} numbers for {len(known)} classes")
    for attribute in ("code", "name"):
        values = [str(entry[attribute]) for entry in dataset["classes"]]
        for value in sorted({value for value in values if values.count(value) > 1}):
            problems.append(f"dataset.classes: the {attribute} {value!r} is given twice")
    codes, names = ({str(entry[key]): entry for entry in dataset["classes"]} for key in ("code", "name"))
    for value in sorted(codes.keys() & names.keys()):
        if codes[value] is not names[value]:
            problems.append(f"dataset.classes: {value!r} is the code of one class and the name of another")
    if split["validation_is_test"] and split["strategy"] != "holdout":
        problems.append(f"split.validation_is_test needs split.strategy holdout, not {split['strategy']}")
    layout = dataset["layout"]
    if (layout["x_column"] is None) != (layout["y_column"] is None):
        problems.append("dataset.layout.x_column and y_column belong together; one of them is null")
    if split["block_km"] is not None and dataset["point_ids"] == "none" and layout["x_column"] is None:
        problems.append(
            "split.block_km needs coordinates: dataset.point_ids lucas, or dataset.layout.x_column and y_column"
        )
    return problems + _options_beyond_the_end(config["training"]) + _wrong_layers(config) + _same_treatments(config)


def _options_beyond_the_end(training: Mapping[str, Any]) -> list[str]:
    """Options for tuned backbones that no run is long enough for."""
    epochs, end_to_end, problems = training["epochs"], training["end_to_end"], []
    warmup, patience = end_to_end["warmup_epochs"], end_to_end["early_stopping_patience"]
    if warmup > 0 and warmup >= epochs:
        problems.append(f"training.end_to_end.warmup_epochs is {warmup} of {epochs} epochs; it must be below that")
    # The first epoch is the best at first: after one more than the patience, a run may stop.
    if patience is not None and patience + 1 >= epochs:
        problems.append(
            f"training.end_to_end.early_stopping_patience is {patience}, with which no run of {epochs} epochs stops "
            f"before its end; it must be below {epochs - 1}, or null"
        )
    return problems


def _unused_options(written: Mapping[str, Any], resolved: Mapping[str, Any]) -> list[str]:
    """Sections for tuned backbones that are written though no backbone of the grid reads them.

    One that holds every default and nothing else was filled in, and says nothing.
    """
    schema = load_schema()
    section = schema["properties"]["training"]["properties"]["end_to_end"]
    end_to_end = written.get("training", {}).get("end_to_end", {})
    tunings = {
        setting["tuning"] for name, setting in resolved["backbones"].items() if name in resolved["grid"]["backbones"]
    }
    for key, options, defaults, readers in (
        ("training.end_to_end", end_to_end, section, ("lora", "full")),
        ("training.end_to_end.lora", end_to_end.get("lora", {}), section["properties"]["lora"], ("lora",)),
    ):
        if options and options != complete({}, defaults, schema) and tunings.isdisjoint(readers):
            wanted = " or ".join(f"`{reader}`" for reader in readers)
            return [
                f"{key} is written ({', '.join(options)}), but no backbone of the grid has the `tuning` {wanted}; "
                "leave it out, or tune one"
            ]
    return []


def _wrong_layers(config: Mapping[str, Any]) -> list[str]:
    """Layers that a decoder of the grid wants and a backbone of the grid does not have; or in another order."""
    problems = [
        f"decoders.{name}.layers is {layers}; name them in ascending order: another order is the same treatment"
        for name, layers in ((name, decoder["layers"] or []) for name, decoder in config["decoders"].items())
        if layers != sorted(layers)
    ]
    return problems + [
        f"decoders.{decoder}.layers names layer {layer}; the encoder of {backbone} has {depth}"
        for backbone in config["grid"]["backbones"]
        if backbone in config["backbones"]
        for depth in [DEPTH[size_of(config["backbones"][backbone]["model"])]]
        for decoder in config["grid"]["decoders"]
        if decoder in config["decoders"]
        for layer in config["decoders"][decoder]["layers"] or []
        if layer > depth
    ]


def _wrong_claims(report: Mapping[str, Any]) -> list[str]:
    problems = []
    names = [claim["name"] for claim in report["claims"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"report.claims: the name {name!r} is given twice")
    for claim in report["claims"]:
        if claim["relation"] == "equivalent":
            if claim["margin"] is None and claim["metric"] not in report["margins"]:
                problems.append(f"report.claims: {claim['name']!r} needs a margin: {claim['metric']} has no other")
        elif claim["margin"] is not None:
            problems.append(f"report.claims: {claim['name']!r} has a margin, which only `equivalent` takes")
    return problems


def _same_treatments(config: Mapping[str, Any]) -> list[str]:
    """Return names of the grid that have the same settings; the audit finds settings that differ but do the same."""
    problems = []
    for plural in FACTORS.values():
        names = [name for name in config["grid"][plural] if name in config[plural]]
        for a, b in itertools.combinations(names, 2):
            if config[plural][a] == config[plural][b]:
                problems.append(
                    f"{plural}: {a!r} and {b!r} are the same setting {_shown(config[plural][a])}; give them one name"
                )
    return problems
