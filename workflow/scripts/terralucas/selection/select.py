"""Choose a recipe, and write the folder `selected/` of a study."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from terralucas.device import autocast, pick_device
from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_file, sha256_of_json
from terralucas.predict.ensemble import Ensemble
from terralucas.predict.selected import EVIDENCE, MODELS, RETRAIN, write_record
from terralucas.predictions import FINISHED
from terralucas.selection.choice import Choice, Cost, choose, recipe_of, recipe_text
from terralucas.selection.gather import StudyChips, copy_models, examine, measure_cost
from terralucas.selection.retrain import StudyFiles, retrain
from terralucas.selection.temperature import divide_logits, temperature_of
from terralucas.statistics.run_status import RunStatus
from terralucas.stored import read_yaml
from terralucas.tables.scores import JUDGED_SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, CALIBRATION_SCORES, CALIBRATION_STAGES, RECIPE, Recipe

logger = logging.getLogger(__name__)

_, AFTER = CALIBRATION_STAGES
# Chips of the measurement of the time of a prediction.
_TIMED_CHIPS = 8
_QUOTED = (
    "The scores are of single models on chips that they were not trained on, pooled over all seeds. The ensemble of "
    "these models has no held-out chips of its own; averaging usually improves accuracies a little."
)
_QUOTED_RETRAINED = (
    "The scores are of models with the same recipe on chips that they were not trained on, pooled over all seeds. The "
    "model of all chips has no held-out chips of its own; it has seen more chips than they have."
)
_QUOTED_SCALED = (
    f" {', '.join(CALIBRATION_SCORES[:-1])} and {CALIBRATION_SCORES[-1]} are means over the seeds, after the logits "
    "were divided by the temperature of each seed; their intervals are for new seeds."
)
_BEFORE_SCALING = "The scores that were compared are those before the logits are divided by temperatures."


@dataclass(frozen=True)
class SelectOptions:
    """Options of a selection.

    Attributes:
        metric: name of the score that decides.
        rule: `best` or `one_standard_error`.
        models: `ensemble` of the runs of the recipe, or `retrain` one model on all chips.
        coverage: share of chips whose set should contain the true class.
        temperature_scaling: whether the logits of each model are divided by a temperature.
        is_holdout: whether all seeds share one split.
        batch_size: chips in a forward pass.
        threads: threads of PyTorch, and of reading.
        precision: precision of the forward pass.
        device: `auto`, `cpu` or `cuda`.
    """

    metric: str
    rule: str
    models: str
    coverage: float
    temperature_scaling: bool
    is_holdout: bool
    batch_size: int
    threads: int
    precision: str
    device: str


def select(
    study: str,
    summary: pd.DataFrame,
    contrasts: pd.DataFrame,
    statuses: Sequence[RunStatus],
    chips: StudyChips,
    dataset: Mapping[str, Any],
    simulated: bool,
    calibration: pd.DataFrame | None,
    options: SelectOptions,
    files: StudyFiles,
    target: Path,
) -> Choice:
    """Choose a recipe, gather its models, examine them on all chips, and write the folder `selected/`.

    Args:
        study: name of the study.
        summary: the table summary.csv.
        contrasts: the table contrasts.csv.
        statuses: status of each run of the study.
        chips: the chips of the study.
        dataset: the section `dataset` of the configuration, without its sources.
        simulated: whether any of the chips are simulated.
        calibration: the table calibration.csv, if the logits are divided by a temperature.
        options: how to select.
        files: what the training of a model on all chips reads.
        target: the folder `selected/`.

    Returns:
        The choice.

    Raises:
        StudyError: no recipe has the score, or the saved models do not predict what the study recorded.
    """
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    precision, context = autocast(options.precision, device)

    def make(folders: Sequence[Path]) -> Ensemble:
        return Ensemble(folders, device, context)

    runs = _finished(statuses)
    costs = _measure(summary, runs, chips, make)
    choice = choose(summary, contrasts, costs, options.metric, options.rule)
    of_choice = runs[choice.recipe]
    shutil.rmtree(target / MODELS, ignore_errors=True)
    is_retrained = options.models == RETRAIN
    if is_retrained:
        names = [retrain(min(of_choice.items())[1], files, chips.point_ids, target / MODELS)]
        # Training sets its own.
        torch.set_num_threads(options.threads)
    else:
        names = copy_models(of_choice, target / MODELS)
    is_scaled = options.temperature_scaling and choice.metric in CALIBRATION_SCORES
    of_models, of_runs = [1.0] * len(names), dict.fromkeys(of_choice, 1.0)
    if options.temperature_scaling:
        of_runs = {seed: temperature_of(folder) for seed, folder in sorted(of_choice.items())}
        of_models = [temperature_of(files.retrained)] if is_retrained else list(of_runs.values())
        for name, temperature in zip(names, of_models, strict=True):
            divide_logits(target / MODELS / name / "model.ckpt", temperature)
    ensemble = make([target / MODELS / name for name in names])
    held_out, coverage, comparison, pixels = examine(
        ensemble,
        of_choice,
        chips,
        options.batch_size,
        options.threads,
        options.is_holdout,
        options.coverage,
        of_runs,
        are_copies=not is_retrained,
    )
    held_out.write(target / EVIDENCE)
    codes = ["all", *(str(entry["code"]) for entry in dataset["classes"])]
    coverage.insert(0, "class_code", [codes[number + 1] for number in coverage["class_index"]])
    _write_csv(coverage.drop(columns="class_index"), target / "conformal.csv")
    _write_csv(_cost_table(costs), target / "costs.csv")
    copied = [f"{MODELS}/{name}/{file}" for name in names for file in ("run.yaml", "model.ckpt")]
    sha256 = {name: sha256_of_file(target / name) for name in (*copied, EVIDENCE)}
    record = ensemble.runs[0].record
    write_record(
        target,
        {
            "study": study,
            "recipe": dict(zip(RECIPE, choice.recipe, strict=True)),
            "metric": choice.metric,
            "rule": choice.rule,
            "reason": [*choice.reason, *([_BEFORE_SCALING] if is_scaled else [])],
            "candidates": [recipe_text(recipe) for recipe in choice.candidates],
            "method": options.models,
            "models": [f"{MODELS}/{name}" for name in names],
            "runs": {
                folder.relative_to(files.folder).as_posix(): read_yaml(folder / "run.yaml", "fingerprint")[
                    "fingerprint"
                ]
                for folder in of_choice.values()
            },
            "prediction": _prediction(len(names), is_retrained, of_models if options.temperature_scaling else None),
            "temperatures": [round(value, 6) for value in of_models] if options.temperature_scaling else None,
            "parameters": costs[choice.recipe].parameters,
            "scores": {
                "meaning": (_QUOTED_RETRAINED if is_retrained else _QUOTED)
                + (_QUOTED_SCALED if calibration is not None else ""),
                "values": _scores(summary, choice.recipe) | _scaled_scores(calibration, choice.recipe),
            },
            "conformal": {
                "goal": options.coverage,
                **{
                    name: round(float(coverage[name].iloc[0]), 6)
                    for name in ("coverage", "coverage_low", "coverage_high", "mean_set_size")
                },
            },
            "applicability_threshold": held_out.threshold,
            "chips": {"simulated": simulated, "number": len(chips.point_ids)},
            "weights": {key: value for key, value in record["features"]["weights"].items() if key != "path"},
            "chip_side_px": ensemble.side_px,
            "training_pixels": pixels.as_record(),
            "precision": precision,
            "same_predictions_as_the_study": comparison,
            "dataset": dict(dataset),
            "sha256": sha256,
            "fingerprint": sha256_of_json([sha256, dict(dataset)]),
        },
    )
    return choice


def _finished(statuses: Sequence[RunStatus]) -> dict[Recipe, dict[int, Path]]:
    """Return the folders of the finished runs of each recipe, by seed."""
    runs: dict[Recipe, dict[int, Path]] = {}
    for status in statuses:
        if status.status == FINISHED:
            runs.setdefault(status.recipe, {})[status.seed] = status.folder
    if not runs:
        raise StudyError(
            "No model can be selected.",
            found="no finished run",
            expected="at least one finished run",
            remedy="finish the study first",
        )
    return runs


def _measure(
    summary: pd.DataFrame, runs: Mapping[Recipe, Mapping[int, Path]], chips: StudyChips, make: Any
) -> dict[Recipe, Cost]:
    some = np.stack([chips.read(row) for row in range(min(_TIMED_CHIPS, len(chips.point_ids)))])
    recipes = [recipe_of(row) for _, row in summary[RECIPE].drop_duplicates().iterrows()]
    return {recipe: measure_cost(next(iter(runs[recipe].values())), some, make) for recipe in recipes}


def _scores(summary: pd.DataFrame, recipe: Recipe) -> dict[str, dict[str, float]]:
    """Return the main scores of a recipe over all classes, with their crossed intervals."""
    is_recipe = (summary[RECIPE] == list(recipe)).all(axis=1) & (summary["classes"] == ALL_CLASSES)
    rows = summary[is_recipe & summary["metric"].isin(JUDGED_SCORES)].set_index("metric")
    names = {"value": "pooled", "low": "crossed_low", "high": "crossed_high"}
    return {
        str(metric): {name: round(float(row[column]), 6) for name, column in names.items() if pd.notna(row[column])}
        for metric, row in rows.iterrows()
    }


def _scaled_scores(calibration: pd.DataFrame | None, recipe: Recipe) -> dict[str, dict[str, float]]:
    """Return the scores of a recipe that temperature scaling changes, with their intervals over the seeds."""
    if calibration is None:
        return {}
    is_recipe = (calibration[RECIPE] == list(recipe)).all(axis=1) & (calibration["stage"] == AFTER)
    rows = calibration[is_recipe & calibration["metric"].isin(CALIBRATION_SCORES)].set_index("metric")
    names = {"value": "mean", "low": "ci_low", "high": "ci_high"}
    return {
        str(metric): {name: round(float(row[column]), 6) for name, column in names.items() if pd.notna(row[column])}
        for metric, row in rows.iterrows()
    }


def _prediction(number: int, is_retrained: bool, temperatures: Sequence[float] | None) -> str:
    """Return in words how the probabilities of a chip come about."""
    text = (
        "one model, trained on all chips but those that chose its epoch"
        if is_retrained
        else f"mean of the probabilities of {number} models"
    )
    if temperatures is None:
        return text
    low, high = min(temperatures), max(temperatures)
    if low == high == 1:
        return f"{text}; all validation chips are right, so that no temperature could be found for the logits"
    between = f"{low:.2f}" if len(temperatures) == 1 else f"{low:.2f} to {high:.2f}"
    return f"{text}, with logits divided by a temperature ({between}, fitted on validation chips)"


def _cost_table(costs: Mapping[Recipe, Cost]) -> pd.DataFrame:
    rows = [[*recipe, cost.parameters, round(cost.seconds_per_chip, 6)] for recipe, cost in costs.items()]
    return pd.DataFrame(rows, columns=[*RECIPE, "parameters", "seconds_per_chip"])


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
