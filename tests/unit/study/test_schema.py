"""One form for what means the same in a configuration: Snakemake compares parameters as text, with their order."""

import copy
import json

import pytest
import yaml

from helpers.paths import ROOT
from terralucas.errors import StudyError
from terralucas.study.schema import fill_defaults, load_schema
from terralucas.study.validation import resolve

SHIPPED = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "config").glob("*.yaml"))]
# Entries of these have names of the user, who decides about their order.
NAMED = ("backbones", "losses", "decoders")


def turned(value, name=""):
    """The same configuration with the keys in reverse order."""
    if isinstance(value, list):
        return [turned(item) for item in value]
    if not isinstance(value, dict):
        return value
    items = value.items() if name in NAMED else reversed(value.items())
    return {key: turned(item, key) for key, item in items}


def as_whole(value):
    """The same configuration with 2 for 2.0."""
    if isinstance(value, list):
        return [as_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: as_whole(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def as_text(value):
    """The same configuration as `--config` passes it: numbers are text."""
    if isinstance(value, list):
        return [as_text(item) for item in value]
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


@pytest.mark.parametrize("config", SHIPPED, ids=[config["study"] for config in SHIPPED])
@pytest.mark.parametrize("write", [turned, as_whole, lambda config: config], ids=["order", "whole numbers", "defaults"])
def test_a_configuration_written_in_another_way_is_the_same_text(config, write):
    resolved = resolve(config)
    assert json.dumps(resolve(write(resolved))) == json.dumps(resolved)
    assert json.dumps(resolve(write(config))) == json.dumps(resolved)


@pytest.mark.parametrize("written", [2, 2.0, "2", "2.0", "2e0"])
def test_a_number_has_one_form_however_it_is_written(written):
    config = {"losses": {"focal": {"type": "focal", "gamma": written}, "ce": {"type": "ce", "label_smoothing": 0}}}
    losses = fill_defaults(config, load_schema(), load_schema())["losses"]
    assert (repr(losses["focal"]["gamma"]), repr(losses["ce"]["label_smoothing"])) == ("2.0", "0.0")


def test_a_whole_number_stays_one_where_the_schema_wants_one():
    resolved = resolve({**SHIPPED[0], "training": {**SHIPPED[0].get("training", {}), "epochs": 3.0}})
    assert repr(resolved["training"]["epochs"]) == "3"


def test_no_key_of_the_schema_takes_both_kinds_of_numbers():
    """Where both were allowed, 2 and 2.0 could not have one form."""

    def kinds(node):
        if isinstance(node, dict):
            found = node.get("type")
            if isinstance(found, list) and {"integer", "number"} <= set(found):
                yield node
            for item in node.values():
                yield from kinds(item)
        elif isinstance(node, list):
            for item in node:
                yield from kinds(item)

    assert list(kinds(load_schema())) == []


@pytest.mark.parametrize("section", ["archive", "file of weights"])
def test_checksums_have_one_spelling(section):
    """PowerShell and certutil print capitals."""
    checksum = "0123456789ABCDEF" * 4

    def resolved(sha256):
        config = copy.deepcopy(SHIPPED[0])
        if section == "archive":
            config["dataset"]["sources"] = [{"type": "archive", "path": "chips.zip", "sha256": sha256}]
        else:
            name = config["grid"]["backbones"][0]
            config["backbones"][name]["weights"] = {"source": "file", "path": "w.pt", "sha256": sha256}
        return json.dumps(resolve(config))

    assert resolved(checksum) == resolved(checksum.lower())
    assert checksum not in resolved(checksum)
    with pytest.raises(StudyError, match="a SHA-256 has 64 hexadecimal digits"):
        resolved(checksum[:32])
