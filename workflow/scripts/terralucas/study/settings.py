"""Read settings of rules and jobs from a resolved configuration."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

# Keys of `training` and `training.end_to_end` that change no result, only progress files, logs or speed.
BOOKKEEPING = ("checkpoint_interval_s", "tensorboard")
END_TO_END_BOOKKEEPING = ("workers", "lower_batch_on_oom")
# Settings of a feature pass that change how it is done, and no number.
PASS_BOOKKEEPING = ("workers", "shards")
FACTORS = {"backbone": "backbones", "loss": "losses", "decoder": "decoders"}


def default_configfile(arguments: Iterable[str], folder: Path) -> Path:
    """Return the configuration file for a command line without `--configfile`.

    If a target is `results/<study>/…` and the file `<folder>/<study>.yaml` or `.yml` exists, it is this file; otherwise
    `<folder>/config.yaml`.
    """
    for argument in arguments:
        parts = Path(argument).parts
        if len(parts) > 1 and parts[0] == "results":
            for suffix in (".yaml", ".yml"):
                if (folder / f"{parts[1]}{suffix}").is_file():
                    return folder / f"{parts[1]}{suffix}"
    return folder / "config.yaml"


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a configuration without user, password and query in addresses."""
    public = copy.deepcopy(dict(config))
    for source in public["dataset"]["sources"]:
        if "url" in source:
            parts = urlsplit(source["url"])
            source["url"] = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return public


def recipes(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return all combinations (backbone, loss, decoder) in the grid of a resolved configuration, in its order."""
    grid = config["grid"]
    return list(itertools.product(grid["backbones"], grid["losses"], grid["decoders"]))


def backbones_with_tuning(config: Mapping[str, Any], *tunings: str) -> list[str]:
    """Return the backbones in the grid whose `tuning` is one of the given ones, in their order."""
    return [name for name in config["grid"]["backbones"] if config["backbones"][name]["tuning"] in tunings]


def training_settings(config: Mapping[str, Any], tuning: str) -> dict[str, Any]:
    """Return the keys of `training` that change results of runs with this tuning."""
    training = config["training"]
    settings = {key: value for key, value in training.items() if key not in (*BOOKKEEPING, "tuning", "end_to_end")}
    if tuning == "frozen":
        return settings
    unused = END_TO_END_BOOKKEEPING if tuning == "lora" else (*END_TO_END_BOOKKEEPING, "lora")
    end_to_end = {key: value for key, value in training["end_to_end"].items() if key not in unused}
    if end_to_end["backbone_learning_rate"] == training["learning_rate"]:
        # What null means, written out, changes no number.
        end_to_end["backbone_learning_rate"] = None
    return {**settings, "tuning": tuning, "end_to_end": end_to_end}


def written_options(config: Mapping[str, Any], tuning: str) -> list[str]:
    """Return the options of a tuning that the configuration of the user contains, such as `end_to_end.lora.rank`.

    Options that should change no result are omitted: bookkeeping and `compile`.
    """
    found = []
    for key, value in config.get("training", {}).get("end_to_end", {}).items():
        if key in (*END_TO_END_BOOKKEEPING, "compile") or (key == "lora" and tuning != "lora"):
            continue
        found += [f"end_to_end.{key}.{part}" for part in value] if isinstance(value, dict) else [f"end_to_end.{key}"]
    return found


def control_names(config: Mapping[str, Any]) -> list[str]:
    """Return the controls of a resolved configuration: first those on chips, then those on features of a backbone."""
    on_features = [
        f"{kind}/{backbone}" for backbone in backbones_with_tuning(config, "frozen") for kind in ("knn", "logistic")
    ]
    return ["majority", "band_statistics", "centre_spectrum", *on_features]


def min_chips_per_class(split: Mapping[str, Any]) -> int:
    """Return the smallest number of chips of a class with which every part of the split can have one of them."""
    if split["strategy"] == "kfold":
        # One chip for each fold; and besides the ceil(n / K) test chips, one each for training and validation.
        return max(split["folds"], 4 if split["folds"] == 2 else 3)
    return 2 if split["validation_is_test"] else 3
