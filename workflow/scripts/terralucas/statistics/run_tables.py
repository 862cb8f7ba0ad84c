"""The tidy tables of a study's runs, computed from their predictions and records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from terralucas.errors import StudyError
from terralucas.files import sha256_of_file, sha256_of_json
from terralucas.predictions import read_predictions
from terralucas.statistics.run_inputs import inputs_of_run
from terralucas.statistics.run_scores import evaluate
from terralucas.statistics.run_status import RunStatus
from terralucas.tables.scores import RUN_SCORES
from terralucas.tables.tidy_csv import tidy_table
from terralucas.tables.vocabulary import RECIPE, SCHEMA_VERSION


@dataclass(frozen=True)
class RunResult:
    """The results of one run; scores are computed from its predictions.

    Attributes:
        names: backbone, loss, decoder, seed.
        record: what the tables need of the run's run.yaml.
        scores: result of `run_scores.evaluate` for the test chips.
        validation_macro_accuracy: validation macro accuracy of the best epoch.
        history: (epochs, 4) epoch, training loss, validation NLL and validation macro accuracy.
    """

    names: Mapping[str, Any]
    record: Mapping[str, Any]
    scores: Mapping[str, Any]
    validation_macro_accuracy: float
    history: np.ndarray


# A study can have ten thousand runs, so that only what is needed of each is kept.
_RECORD = (
    *("run", "settings", "code", "split", "chips", "epochs", "best_epoch", "seconds", "seconds_to_first_step"),
    *("peak_memory_mib", "device", "resumed_after_epoch", "versions"),
)
# Those that may change the numbers of a run.
LIBRARIES = ("torch", "numpy", "terratorch", "peft")
# Number of recipes whose curves are computed at a time: pandas takes about as long for one recipe, and all recipes at
# once take much memory.
_TOGETHER = 100
_HISTORY = ["epoch", "train_loss", "validation_nll", "validation_macro_accuracy"]


def read_run(folder: Path) -> RunResult:
    """Read the folder of one run, and score its test chips.

    Raises:
        StudyError: predictions, history and record do not belong together.
    """
    record = yaml.load((folder / "run.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    for file, expected in (
        ("predictions.parquet", record["predictions_sha256"]),
        # Runs of an earlier version do not say it.
        ("history.csv", record.get("history_sha256")),
    ):
        if expected is not None and sha256_of_file(folder / file) != expected:
            raise StudyError(
                f"The file {file} in {folder} is not the one that its run.yaml describes.",
                expected=f"sha256 {expected}",
                remedy="delete the folder and start the study again, which repeats the run",
            )
    table = read_predictions(folder / "predictions.parquet")
    test = table.parts == "test"
    history = pd.read_csv(folder / "history.csv", usecols=_HISTORY)[_HISTORY]
    best = history.loc[history["epoch"] == record["best_epoch"], "validation_macro_accuracy"]
    names = {key: record["settings"][key] for key in (*RECIPE, "seed")}
    return RunResult(
        names,
        {key: record[key] for key in _RECORD}
        | {"encoder": describe_encoder(record.get("features") or {})}
        | {"inputs": inputs_of_run(record.get("features") or {})},
        evaluate(table.labels[test], table.logits[test]),
        float(best.iloc[0]),
        history.to_numpy(dtype=np.float64),
    )


def describe_encoder(features: Mapping[str, Any]) -> dict[str, str]:
    """Return in words what the runs of a backbone have in common; `statistics` may be those of a seed.

    Args:
        features: this part of the record of a run; empty in records that lack it.
    """
    if not features:
        return {}
    weights, normalisation = features["weights"], features["normalisation"]
    statistics = {key: value for key, value in normalisation.items() if key not in ("kind", "scope")}
    return {
        "weights": f"sha256 {weights['sha256']}" if weights.get("sha256") else f"random, seed {weights.get('seed')}",
        "bands": ", ".join(features["bands"]),
        "normalisation": str(normalisation.get("kind")),
        "statistics": f"checksum {sha256_of_json(statistics)[:16]}",
    }


# The factor whose settings decide each part of the settings of a run.
_FACTORS = {"losses": "loss", "decoders": "decoder", "training": "backbone", "code": "backbone"}


def require_one_configuration(
    results: Iterable[RunResult], expected: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Check that runs that share a loss, a decoder or a backbone have the same settings of it, and the same code.

    A job of a cluster reads the configuration when it starts. Where a user edits it meanwhile, Snakemake does not
    notice that the jobs of one study have different settings.

    Args:
        results: the runs.
        expected: settings that the configuration has: `losses` and `decoders` by name; `training` and `code` by
            backbone. Without it, runs are compared with each other alone.

    Raises:
        StudyError: two runs differ, or a run differs from the configuration.
    """
    first: dict[tuple[str, str, str], tuple[str, Any]] = {
        (key, _FACTORS[key], name): ("the study", value)
        for key, values in (expected or {}).items()
        for name, value in values.items()
    }
    for result in results:
        settings, record = result.record["settings"], result.record
        values = {
            "losses": settings.get("loss_setting"),
            "decoders": settings.get("decoder_setting"),
            "training": settings.get("training"),
            "code": record.get("code"),
        }
        for key, value in values.items():
            of = _FACTORS[key]
            other, known = first.setdefault((key, of, settings[of]), (record["run"], value))
            if known != value:
                if key == "code":
                    raise StudyError(
                        "Runs of this study were trained with different code.",
                        found=f"the code of {other} is not that of {record['run']}",
                        expected="the same code in all runs of a backbone",
                        remedy="start the study again: it trains again what is not of the code that is there now, or "
                        "names the folders to delete",
                    )
                here, there = _differing(value, known), _differing(known, value)
                raise StudyError(
                    "Runs of this study were trained with different settings: the configuration or the code was "
                    "changed while jobs were waiting.",
                    found=f"{key} of {other}: {there}; of {record['run']}: {here}",
                    expected="the same settings and code in all runs of a loss, decoder or backbone",
                    remedy="delete the folders of the runs whose settings are not those of the configuration now "
                    "(in runs/ of the study), and start the study again",
                )


def require_one_encoder(results: Iterable[RunResult]) -> None:
    """Check that the runs of a backbone have the same weights, bands and normalisation of chips.

    Runs of another study may have been copied here, or weights may have been changed between two runs.

    Raises:
        StudyError: two runs differ.
    """
    first: dict[tuple[str, ...], tuple[str, str]] = {}
    for result in results:
        run, settings = result.record["run"], result.record["settings"]
        for name, value in result.record.get("encoder", {}).items():
            # The statistics may be those of the training chips of the seed.
            seed = str(settings["seed"]) if name == "statistics" else ""
            other, known = first.setdefault((name, settings["backbone"], seed), (run, value))
            if known != value:
                raise StudyError(
                    f"Runs of the backbone {settings['backbone']} cannot be compared.",
                    found=f"{name} of {other}: {known}; of {run}: {value}",
                    expected="the same weights, bands and normalisation in all runs of a backbone",
                    remedy="delete the folders of the runs that are not of this study (in runs/), and start it again: "
                    "it trains them",
                )


def require_different_treatments(results: Iterable[RunResult]) -> None:
    """Check that no two recipes were trained in the same way: all their runs would have the same losses in each epoch.

    The audits compare a name that is new with all others of the study. They cannot know names that were audited in
    earlier starts, each with others, or settings that do the same for the backbones that are left.

    Raises:
        StudyError: two recipes have the same numbers.
    """
    histories: dict[tuple[str, ...], dict[int, bytes]] = {}
    for result in results:
        recipe = tuple(result.names[factor] for factor in RECIPE)
        histories.setdefault(recipe, {})[result.names["seed"]] = result.history.tobytes()
    first: dict[tuple[tuple[int, bytes], ...], tuple[str, ...]] = {}
    for recipe, by_seed in histories.items():
        other = first.setdefault(tuple(sorted(by_seed.items())), recipe)
        if other != recipe:
            raise StudyError(
                "Two recipes of the study are one treatment.",
                found=f"the same losses in each epoch of each seed: {', '.join(other)}; and {', '.join(recipe)}",
                expected="recipes that differ in what they do",
                remedy="take one of the two names that differ out of the grid (docs/treatments.md)",
            )


def require_splits(results: Iterable[RunResult], splits: Mapping[int, str]) -> None:
    """Check that every run was trained and tested on the chips that the split of its seed says.

    Args:
        results: the runs.
        splits: fingerprint of the split of each seed, of `split_files.split_fingerprint`.

    Raises:
        StudyError: a run has another split.
    """
    other = [result.record["run"] for result in results if result.record["split"] != splits[result.names["seed"]]]
    if other:
        more = f" and {len(other) - 8} more" if len(other) > 8 else ""
        raise StudyError(
            "Runs were trained or tested on other chips than those of the study's splits.",
            found=f"another split, or other labels, in {len(other)} run(s): {', '.join(other[:8])}{more}",
            expected="in every run the split that is in splits/ for its seed",
            remedy="delete the folders of these runs (in runs/ of the study), and start it again: it trains them",
        )


def _differing(value: Any, other: Any) -> str:
    """Return the part of a value that differs from another one."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        keys = [key for key in value if value[key] != other.get(key)]
        return ", ".join(f"{key} {value[key]}" for key in keys) or "nothing more"
    return str(value)


def runs_table(entries: Sequence[RunStatus], results: Mapping[str, RunResult]) -> pd.DataFrame:
    """Make the table of runs, with one row for each run of the grid.

    Every row has the names, the status and its reason. Only finished runs have sizes and scores.
    """
    rows = []
    for entry in entries:
        row = {"run": entry.run, **entry.names, "status": entry.status, "reason": entry.reason}
        if result := results.get(entry.run):
            row |= {f"n_{part}": result.record["chips"][part] for part in ("train", "validation", "test")}
            row |= {key: result.record[key] for key in ("epochs", "best_epoch")}
            row["validation_macro_accuracy"] = result.validation_macro_accuracy
            row |= {metric: result.scores[metric] for metric in RUN_SCORES}
        rows.append(row)
    table = tidy_table(rows)
    counts = ["n_train", "n_validation", "n_test", "epochs", "best_epoch"]
    return table.astype(dict.fromkeys(counts, "Int64"))


def durations_table(runs: Sequence[RunResult]) -> pd.DataFrame:
    """Make the table of the time and memory that each run took.

    It is separate from the other tables, because it differs between machines.
    """
    return tidy_table(
        {
            "run": result.record["run"],
            "seconds": result.record["seconds"],
            "seconds_to_first_step": result.record["seconds_to_first_step"],
            "peak_memory_mib": result.record["peak_memory_mib"]["cpu"],
            "device": result.record["device"],
            "threads": result.record["settings"]["training"]["threads"],
            "resumed": result.record["resumed_after_epoch"] > 0,
            "libraries": ", ".join(f"{name} {result.record['versions'][name]}" for name in LIBRARIES),
        }
        for result in runs
    )


def confusion_table(runs: Sequence[RunResult], classes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Count the pairs of true and predicted class for each recipe, over the test chips of all seeds."""
    rows = []
    for names, group in _by_recipe(runs):
        counts = np.sum([result.scores["confusion"] for result in group], axis=0)
        for i, true in enumerate(classes):
            for j, predicted in enumerate(classes):
                pair = {"true_code": true["code"], "true_name": true["name"]}
                pair |= {"predicted_code": predicted["code"], "predicted_name": predicted["name"]}
                rows.append({**names, **pair, "count": int(counts[i, j])})
    return tidy_table(rows)


def curves_table(runs: Sequence[RunResult]) -> pd.DataFrame:
    """Make the training curves of each recipe: means over seeds by epoch, and the range of the validation score."""
    score = "validation_macro_accuracy"
    columns = {
        "train_loss_mean": ("train_loss", "mean"),
        "validation_nll_mean": ("validation_nll", "mean"),
        **{f"{score}_{function}": (score, function) for function in ("mean", "min", "max")},
    }
    recipes, curves = list(_by_recipe(runs)), []
    for start in range(0, len(recipes), _TOGETHER):
        some = recipes[start : start + _TOGETHER]
        values = np.concatenate([result.history for _, group in some for result in group])
        history = pd.DataFrame(values, columns=_HISTORY).astype({"epoch": int})
        epochs = [sum(len(result.history) for result in group) for _, group in some]
        history["recipe"] = np.repeat(np.arange(len(some)), epochs)
        means = history.groupby(["recipe", "epoch"], as_index=False).agg(**columns)
        names = pd.DataFrame([names for names, _ in some]).iloc[means["recipe"]].reset_index(drop=True)
        curves.append(pd.concat([names, means], axis="columns")[[*RECIPE, "epoch", *columns]])
    table = pd.concat(curves, ignore_index=True)
    table.insert(0, "schema_version", SCHEMA_VERSION)
    return table


def classes_table(labels: np.ndarray, classes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Make the table of classes, with the number and the share of the chips of each class."""
    counts = np.bincount(labels, minlength=len(classes))
    return tidy_table(
        {**_class_columns(entry), "n": int(n), "share": n / counts.sum()}
        for entry, n in zip(classes, counts, strict=True)
    )


def _by_recipe(runs: Sequence[RunResult]) -> Iterator[tuple[dict[str, str], list[RunResult]]]:
    groups: dict[tuple[str, ...], list[RunResult]] = {}
    for result in runs:
        groups.setdefault(tuple(result.names[name] for name in RECIPE), []).append(result)
    for recipe, group in groups.items():
        yield dict(zip(RECIPE, recipe, strict=True)), group


def _class_columns(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_code": entry["code"], "class_name": entry["name"]}
