"""Describe selected models as selection.yaml does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from terralucas.predict.selected import MODELS, RETRAIN
from terralucas.selection.choice import Choice, recipe_text
from terralucas.tables.scores import JUDGED_SCORES
from terralucas.tables.vocabulary import ALL_CLASSES, CALIBRATION_SCORES, CALIBRATION_STAGES, RECIPE, Recipe

_, AFTER = CALIBRATION_STAGES
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
class SelectedModels:
    """The models of a selection.

    Attributes:
        method: `ensemble` or `retrain`.
        names: name of the folder of each model.
        temperatures: number by which the logits of each model are divided; None without temperature scaling.
    """

    method: str
    names: list[str]
    temperatures: list[float] | None

    @property
    def is_retrained(self) -> bool:
        """Whether it is one model that was trained on all chips."""
        return self.method == RETRAIN


def describe_choice(choice: Choice, is_scaled: bool) -> dict[str, Any]:
    """Return which recipe was chosen, and why.

    Args:
        choice: the choice.
        is_scaled: whether the logits of the models are divided by temperatures.
    """
    is_changed = is_scaled and choice.metric in CALIBRATION_SCORES
    return {
        "recipe": dict(zip(RECIPE, choice.recipe, strict=True)),
        "metric": choice.metric,
        "rule": choice.rule,
        "reason": [*choice.reason, *([_BEFORE_SCALING] if is_changed else [])],
        "candidates": [recipe_text(recipe) for recipe in choice.candidates],
    }


def describe_models(models: SelectedModels, runs: Mapping[str, str]) -> dict[str, Any]:
    """Return what the models are, and how they predict.

    Args:
        models: the models.
        runs: folder of each run of the recipe, relative to the study, and the fingerprint of the run.
    """
    temperatures = models.temperatures
    return {
        "method": models.method,
        "models": [f"{MODELS}/{name}" for name in models.names],
        "runs": dict(runs),
        "prediction": _prediction(models),
        "temperatures": None if temperatures is None else [round(value, 6) for value in temperatures],
    }


def describe_scores(
    models: SelectedModels, recipe: Recipe, summary: pd.DataFrame, calibration: pd.DataFrame | None
) -> dict[str, Any]:
    """Return the scores that may be quoted for the models, and what they are.

    Args:
        models: the models.
        recipe: their recipe.
        summary: the table summary.csv.
        calibration: the table calibration.csv, if the logits are divided by a temperature.
    """
    meaning = _QUOTED_RETRAINED if models.is_retrained else _QUOTED
    return {
        "meaning": meaning + (_QUOTED_SCALED if calibration is not None else ""),
        "values": _scores(summary, recipe) | _scaled_scores(calibration, recipe),
    }


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


def _prediction(models: SelectedModels) -> str:
    """Return in words how the probabilities of a chip come about."""
    text = (
        "one model, trained on all chips but those that chose its epoch"
        if models.is_retrained
        else f"mean of the probabilities of {len(models.names)} models"
    )
    temperatures = models.temperatures
    if temperatures is None:
        return text
    low, high = min(temperatures), max(temperatures)
    if low == high == 1:
        return f"{text}; all validation chips are right, so that no temperature could be found for the logits"
    between = f"{low:.2f}" if len(temperatures) == 1 else f"{low:.2f} to {high:.2f}"
    return f"{text}, with logits divided by a temperature ({between}, fitted on validation chips)"
