"""Choose a recipe, and write the folder `selected/` of a study."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from terralucas.device import autocast, pick_device
from terralucas.errors import StudyError
from terralucas.files import atomic_path, check_before_deletion, sha256_of_file, sha256_of_json
from terralucas.predict.ensemble import FROZEN, Ensemble
from terralucas.predict.selected import EVIDENCE, MODELS, RETRAIN, write_record
from terralucas.predictions import FINISHED
from terralucas.selection.choice import Choice, Cost, choose, recipe_of
from terralucas.selection.gather import StudyChips, copy_models, examine, measure_cost
from terralucas.selection.record import SelectedModels, describe_choice, describe_models, describe_scores
from terralucas.selection.retrain import StudyFiles, retrain
from terralucas.selection.temperature import divide_logits, temperature_of
from terralucas.statistics.run_status import RunStatus
from terralucas.stored import read_yaml
from terralucas.tables.vocabulary import ALL_CLASSES, RECIPE, Recipe

logger = logging.getLogger(__name__)

# Chips of the measurement of the time of a prediction.
_TIMED_CHIPS = 8


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
    models, of_runs = _gather_models(of_choice, chips, options, files, target / MODELS)
    ensemble = make([target / MODELS / name for name in models.names])
    is_tuned = ensemble.runs[0].record["settings"]["training"].get("tuning", FROZEN) != FROZEN
    found = examine(
        ensemble,
        of_choice,
        chips,
        options.batch_size,
        options.threads,
        options.is_holdout,
        options.coverage,
        of_runs,
        are_copies=not models.is_retrained,
        judges=make([of_choice[seed] for seed in sorted(of_choice)]) if models.is_retrained and is_tuned else None,
    )
    found.held_out.write(target / EVIDENCE)
    _write_csv(_with_codes(found.coverage, dataset), target / "conformal.csv")
    _write_csv(_cost_table(costs), target / "costs.csv")
    written = [f"{MODELS}/{name}/{file}" for name in models.names for file in ("run.yaml", "model.ckpt")]
    sha256 = {name: sha256_of_file(target / name) for name in (*written, EVIDENCE)}
    record = ensemble.runs[0].record
    write_record(
        target,
        {
            "study": study,
            **describe_choice(choice, options.temperature_scaling),
            **describe_models(models, _fingerprints(of_choice.values(), files.folder)),
            "parameters": costs[choice.recipe].parameters,
            "scores": describe_scores(models, choice.recipe, summary, calibration),
            "conformal": {"goal": options.coverage, **_coverage_of_all(found.coverage)},
            "applicability_threshold": found.held_out.threshold,
            "chips": {"simulated": simulated, "number": len(chips.point_ids)},
            "weights": {key: value for key, value in record["features"]["weights"].items() if key != "path"},
            "chip_side_px": ensemble.side_px,
            "training_pixels": found.pixels.as_record(),
            "precision": precision,
            "same_predictions_as_the_study": found.comparison,
            "dataset": dict(dataset),
            "sha256": sha256,
            "fingerprint": sha256_of_json([sha256, dict(dataset)]),
        },
    )
    return choice


def _gather_models(
    runs: Mapping[int, Path], chips: StudyChips, options: SelectOptions, files: StudyFiles, target: Path
) -> tuple[SelectedModels, dict[int, float]]:
    """Write the models of the chosen recipe, and return them with the temperature of each seed; 1 without scaling.

    Args:
        runs: seed → folder of its run.
        chips: the chips of the study.
        options: how to select.
        files: what the training of a model on all chips reads.
        target: folder of the models; what is there is deleted.
    """
    check_before_deletion()
    shutil.rmtree(target, ignore_errors=True)
    is_retrained = options.models == RETRAIN
    if is_retrained:
        names = [retrain(min(runs.items())[1], files, chips.point_ids, target)]
        # Training sets its own.
        torch.set_num_threads(options.threads)
    else:
        names = copy_models(runs, target)
    if not options.temperature_scaling:
        return SelectedModels(options.models, names, None), dict.fromkeys(runs, 1.0)
    of_runs = {seed: temperature_of(folder) for seed, folder in sorted(runs.items())}
    temperatures = [temperature_of(files.retrained)] if is_retrained else list(of_runs.values())
    for name, temperature in zip(names, temperatures, strict=True):
        divide_logits(target / name, temperature)
    return SelectedModels(options.models, names, temperatures), of_runs


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


def _fingerprints(runs: Iterable[Path], study: Path) -> dict[str, str]:
    """Return the folder of each run, relative to that of the study, and the fingerprint of the run."""
    return {
        run.relative_to(study).as_posix(): read_yaml(run / "run.yaml", "fingerprint")["fingerprint"] for run in runs
    }


def _with_codes(coverage: pd.DataFrame, dataset: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table of held-out coverage with codes of classes in place of their positions, −1 of which is all."""
    codes = [ALL_CLASSES, *(str(entry["code"]) for entry in dataset["classes"])]
    return coverage.assign(class_index=[codes[number + 1] for number in coverage["class_index"]]).rename(
        columns={"class_index": "class_code"}
    )


def _coverage_of_all(coverage: pd.DataFrame) -> dict[str, float]:
    """Return the first row of the table of held-out coverage, which is that of all chips."""
    names = ("coverage", "expected_low", "expected_high", "mean_set_size")
    return {name: round(float(coverage[name].iloc[0]), 6) for name in names}


def _cost_table(costs: Mapping[Recipe, Cost]) -> pd.DataFrame:
    rows = [[*recipe, cost.parameters, round(cost.seconds_per_chip, 6)] for recipe, cost in costs.items()]
    return pd.DataFrame(rows, columns=[*RECIPE, "parameters", "seconds_per_chip"])


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
