"""The tidy tables of a study, computed from its runs' predictions and records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.intervals import FIXED_SPLIT, NADEAU_BENGIO, MeanInterval, corrected_t
from terralucas.metrics import METRICS, evaluate
from terralucas.predictions import read_predictions
from terralucas.tidy import RECIPE, tidy_table

PER_CLASS_METRICS = ("recall", "precision", "f1")


@dataclass(frozen=True)
class RunResult:
    """Scores of one run, recomputed from its predictions.

    Attributes:
        names: backbone, loss, decoder, seed.
        record: the run's run.yaml.
        scores: `metrics.evaluate` of the test chips.
        validation_macro_accuracy: of the kept epoch.
        history: (epochs,) rows of history.csv.
    """

    names: Mapping[str, Any]
    record: Mapping[str, Any]
    scores: Mapping[str, Any]
    validation_macro_accuracy: float
    history: pd.DataFrame


def read_run(folder: Path) -> RunResult:
    """Read one run's folder and score its test chips.

    Raises:
        StudyError: predictions and record do not belong together.
    """
    record = yaml.load((folder / "run.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    if sha256_of_file(folder / "predictions.parquet") != record["predictions_sha256"]:
        raise StudyError(
            f"The predictions in {folder} are not those its run.yaml describes.",
            expected=f"sha256 {record['predictions_sha256']}",
            remedy="delete the folder; the run is made again",
        )
    table = read_predictions(folder / "predictions.parquet")
    test = table.parts == "test"
    history = pd.read_csv(folder / "history.csv")
    kept = history.loc[history["epoch"] == record["best_epoch"], "validation_macro_accuracy"]
    names = {key: record["settings"][key] for key in (*RECIPE, "seed")}
    return RunResult(names, record, evaluate(table.labels[test], table.logits[test]), float(kept.iloc[0]), history)


def runs_table(runs: Sequence[RunResult]) -> pd.DataFrame:
    """One row for each run: names, sizes and scores."""
    return tidy_table(
        {
            "run": result.record["run"],
            **result.names,
            **{f"n_{part}": result.record["chips"][part] for part in ("train", "validation", "test")},
            "epochs": result.record["epochs"],
            "best_epoch": result.record["best_epoch"],
            "validation_macro_accuracy": result.validation_macro_accuracy,
            **{metric: result.scores[metric] for metric in METRICS},
        }
        for result in runs
    )


def durations_table(runs: Sequence[RunResult]) -> pd.DataFrame:
    """One row for each run: what it cost. Apart from the other tables, because it differs from machine to machine."""
    return tidy_table(
        {
            "run": result.record["run"],
            "seconds": result.record["seconds"],
            "seconds_to_first_step": result.record["seconds_to_first_step"],
            "peak_memory_mib": result.record["peak_memory_mib"]["cpu"],
            "device": result.record["device"],
            "threads": result.record["settings"]["training"]["threads"],
            "resumed": result.record["resumed_after_epoch"] > 0,
        }
        for result in runs
    )


def summary_table(runs: pd.DataFrame, strategy: str, level: float) -> pd.DataFrame:
    """One row for each recipe and metric: mean over seeds with its interval."""
    rows = []
    for names, group in _by_recipe(runs):
        ratio = _test_to_train(group, strategy)
        for metric in METRICS:
            interval = corrected_t(group[metric].to_numpy(), ratio, level)
            rows.append({**names, "metric": metric, **_interval_columns(interval, strategy, level)})
    return tidy_table(rows)


def per_class_table(
    runs: Sequence[RunResult], table: pd.DataFrame, classes: Sequence[Mapping[str, Any]], strategy: str, level: float
) -> pd.DataFrame:
    """One row for each recipe, class and metric (recall, precision, F1), with the test chips of the class over seeds.

    A precision without predictions is left out of its mean; n_seeds counts the seeds that have one.
    """
    rows = []
    for names, group in _by_recipe(table):
        ratio = _test_to_train(group, strategy)
        members = [runs[index].scores["per_class"] for index in group.index]
        for index, entry in enumerate(classes):
            n_test = sum(member["n"][index] for member in members)
            for metric in PER_CLASS_METRICS:
                values = np.array([member[metric][index] for member in members if member[metric][index] is not None])
                interval = (
                    corrected_t(values, ratio, level)
                    if len(values)
                    else MeanInterval(np.nan, np.nan, 0, np.nan, np.nan, np.nan)
                )
                columns = _interval_columns(interval, strategy, level)
                rows.append({**names, **_class_columns(entry), "metric": metric, "n_test": n_test, **columns})
    return tidy_table(rows)


def contrasts_table(
    runs: pd.DataFrame, contrasts: Iterable[Mapping[str, str]], strategy: str, level: float
) -> pd.DataFrame:
    """One row for each contrast a − b, scope and metric: paired over seeds, averaged over the other factors.

    The scope is `all` for the average over all cells that differ in the contrast's factor alone, or names one backbone.
    """
    rows = []
    columns = ["contrast", "factor", "a", "b", "scope", "metric", "difference", "sd", "n_seeds", "n_cells"]
    columns += ["ci_low", "ci_high", "p_value", "interval", "level"]
    for contrast in contrasts:
        factor, a, b = contrast["factor"], contrast["a"], contrast["b"]
        others = [name for name in RECIPE if name != factor]
        scopes = {"all": runs}
        if factor != "backbone" and runs["backbone"].nunique() > 1:
            scopes |= {name: runs[runs["backbone"] == name] for name in runs["backbone"].unique()}
        for scope, table in scopes.items():
            sides = [table[table[factor] == name].set_index([*others, "seed"]) for name in (a, b)]
            if any(side.empty for side in sides):
                continue
            for metric in METRICS:
                cells = (sides[0][metric] - sides[1][metric]).dropna()
                by_seed = cells.groupby(level="seed").mean()
                interval = corrected_t(by_seed.to_numpy(), _test_to_train(table, strategy), level)
                values = _interval_columns(interval, strategy, level)
                values["difference"] = values.pop("mean")
                values["p_value"] = interval.p_value
                values["n_cells"] = int(len(cells) // max(len(by_seed), 1))
                rows.append({"contrast": f"{a} − {b}", **contrast, "scope": scope, "metric": metric, **values})
    return tidy_table(rows, columns)


def confusion_table(
    runs: Sequence[RunResult], table: pd.DataFrame, classes: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """Confusion counts of each recipe, pooled over the test chips of all seeds."""
    rows = []
    for names, group in _by_recipe(table):
        counts = sum(np.array(runs[index].scores["confusion"]) for index in group.index)
        for i, true in enumerate(classes):
            for j, predicted in enumerate(classes):
                pair = {"true_code": true["code"], "true_name": true["name"]}
                pair |= {"predicted_code": predicted["code"], "predicted_name": predicted["name"]}
                rows.append({**names, **pair, "count": int(counts[i, j])})
    return tidy_table(rows)


def curves_table(runs: Sequence[RunResult], table: pd.DataFrame) -> pd.DataFrame:
    """Training curves of each recipe over epochs: mean over seeds, and the range of the validation score."""
    rows = []
    for names, group in _by_recipe(table):
        histories = pd.concat([runs[index].history for index in group.index])
        for epoch, values in histories.groupby("epoch"):
            score = values["validation_macro_accuracy"]
            rows.append({
                **names,
                "epoch": int(epoch),
                "train_loss_mean": values["train_loss"].mean(),
                "validation_nll_mean": values["validation_nll"].mean(),
                "validation_macro_accuracy_mean": score.mean(),
                "validation_macro_accuracy_min": score.min(),
                "validation_macro_accuracy_max": score.max(),
            })  # fmt: skip
    return tidy_table(rows)


def classes_table(labels: np.ndarray, classes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each class: its chips and their share."""
    counts = np.bincount(labels, minlength=len(classes))
    return tidy_table(
        {**_class_columns(entry), "n": int(n), "share": n / counts.sum()}
        for entry, n in zip(classes, counts, strict=True)
    )


def _by_recipe(runs: pd.DataFrame) -> Iterable[tuple[dict[str, str], pd.DataFrame]]:
    for names, group in runs.groupby(RECIPE, sort=False):
        yield dict(zip(RECIPE, names, strict=True)), group


def _test_to_train(group: pd.DataFrame, strategy: str) -> float:
    """Nadeau and Bengio's n_test / n_train, or 0 where all seeds share one split."""
    return 0.0 if strategy == "holdout" else float((group["n_test"] / group["n_train"]).mean())


def _interval_columns(interval: MeanInterval, strategy: str, level: float) -> dict[str, Any]:
    return {
        "mean": interval.mean,
        "sd": interval.sd,
        "n_seeds": interval.n,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "interval": FIXED_SPLIT if strategy == "holdout" else NADEAU_BENGIO,
        "level": level,
    }


def _class_columns(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_code": entry["code"], "class_name": entry["name"]}
