"""What rules and jobs read of a resolved configuration."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

# Keys of `training` that change what is written on the way, but no result.
BOOKKEEPING = ("checkpoint_interval_s", "tensorboard")
END_TO_END_BOOKKEEPING = ("workers", "lower_batch_on_oom")
FACTORS = {"backbone": "backbones", "loss": "losses", "decoder": "decoders"}


def default_configfile(arguments: Iterable[str], folder: Path) -> Path:
    """The configuration a command line without `--configfile` means.

    A target `results/<study>/…` names its study, whose configuration is `<folder>/<study>.yaml`. Without such a target
    or file it is `<folder>/config.yaml`.
    """
    for argument in arguments:
        parts = Path(argument).parts
        if len(parts) > 1 and parts[0] == "results" and (folder / f"{parts[1]}.yaml").is_file():
            return folder / f"{parts[1]}.yaml"
    return folder / "config.yaml"


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration in which addresses have lost user, password and query."""
    shown = copy.deepcopy(dict(config))
    for source in shown["dataset"]["sources"]:
        if "url" in source:
            parts = urlsplit(source["url"])
            source["url"] = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return shown


def recipes(config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """All (backbone, loss, decoder) of a resolved configuration, in its order."""
    grid = config["grid"]
    return list(itertools.product(grid["backbones"], grid["losses"], grid["decoders"]))


def backbones_tuned(config: Mapping[str, Any], *tunings: str) -> list[str]:
    """The backbones of a resolved configuration's grid that are tuned in one of these ways, in its order."""
    return [name for name in config["grid"]["backbones"] if config["backbones"][name]["tuning"] in tunings]


def training_settings(config: Mapping[str, Any], tuning: str) -> dict[str, Any]:
    """The keys of `training` that decide the numbers of the runs of a tuning, and no others."""
    training = config["training"]
    settings = {key: value for key, value in training.items() if key not in (*BOOKKEEPING, "tuning", "end_to_end")}
    if tuning == "frozen":
        return settings
    unused = END_TO_END_BOOKKEEPING if tuning == "lora" else (*END_TO_END_BOOKKEEPING, "lora")
    end_to_end = {key: value for key, value in training["end_to_end"].items() if key not in unused}
    return {**settings, "tuning": tuning, "end_to_end": end_to_end}


def written_options(config: Mapping[str, Any], tuning: str) -> list[str]:
    """The options of a tuning that a configuration writes down itself, as `end_to_end.lora.rank`.

    Those that are to change no result are left out: bookkeeping and `compile`.
    """
    found = []
    for key, value in config.get("training", {}).get("end_to_end", {}).items():
        if key in (*END_TO_END_BOOKKEEPING, "compile") or (key == "lora" and tuning != "lora"):
            continue
        found += [f"end_to_end.{key}.{part}" for part in value] if isinstance(value, dict) else [f"end_to_end.{key}"]
    return found


def control_names(config: Mapping[str, Any]) -> list[str]:
    """The controls of a resolved configuration: those that read chips, then those that read a backbone's features."""
    on_features = [
        f"{kind}/{backbone}" for backbone in backbones_tuned(config, "frozen") for kind in ("knn", "logistic")
    ]
    return ["majority", "band_statistics", "centre_spectrum", *on_features]


def min_chips_per_class(split: Mapping[str, Any]) -> int:
    """The fewest chips a class must have for every part of the split to hold one."""
    if split["strategy"] == "kfold":
        # One for each fold, and beside the up to ceil(n / K) tested ones one each for training and validation.
        return max(split["folds"], 4 if split["folds"] == 2 else 3)
    return 2 if split["validation_is_test"] else 3
