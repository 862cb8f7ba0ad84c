"""Choose the recipe of a study that people should use, and say in words why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from terralucas.errors import StudyError
from terralucas.tables.near_best import NearBest, near_best
from terralucas.tables.scores import SCORES, Score
from terralucas.tables.vocabulary import ALL_CLASSES, RECIPE, SHOWN, Recipe

BEST, ONE_STANDARD_ERROR = "best", "one_standard_error"


@dataclass(frozen=True)
class Cost:
    """The cost of a recipe.

    Attributes:
        parameters: number of parameters of encoder, decoder and head.
        seconds_per_chip: measured time of a prediction.
    """

    parameters: int
    seconds_per_chip: float


@dataclass(frozen=True)
class Choice:
    """The selected recipe.

    Attributes:
        recipe: backbone, loss and decoder.
        metric: name of the score that decided.
        rule: `best` or `one_standard_error`.
        reason: sentences that say why this recipe was selected.
        candidates: the recipes among which the cost decided; only the recipe itself with the rule `best`.
    """

    recipe: Recipe
    metric: str
    rule: str
    reason: list[str]
    candidates: list[Recipe]


def choose(
    summary: pd.DataFrame, contrasts: pd.DataFrame, costs: Mapping[Recipe, Cost], metric: str, rule: str
) -> Choice:
    """Choose a recipe by its score over all classes.

    The rule `one_standard_error` takes the recipe with the fewest parameters among those within one standard error of
    the best (see `terralucas.tables.near_best`). Equal numbers of parameters are decided by the score, and equal scores
    by the order of the table. The time of a prediction decides nothing, because it differs from machine to machine.

    Args:
        summary: the table summary.csv.
        contrasts: the table contrasts.csv.
        costs: cost of each recipe.
        metric: name of a score.
        rule: `best` or `one_standard_error`.

    Raises:
        StudyError: no recipe has the score.
    """
    score = SCORES[metric]
    found = near_best(summary, metric)
    if found is None:
        raise StudyError(
            f"No recipe can be selected by {score.prose}.",
            found="no finished run with this score",
            expected="at least one finished run",
            remedy="finish a run, or set select.metric to another score",
        )
    near = found.near if rule == ONE_STANDARD_ERROR else found.rows.loc[[found.best.name]]
    near = near.assign(parameters=[costs[recipe_of(row)].parameters for _, row in near.iterrows()])
    chosen = near.sort_values(["parameters", "goodness"], ascending=[True, False], kind="stable").iloc[0]
    recipe = recipe_of(chosen)
    reason = [*_explain(found, chosen, len(near), score, rule), _say_what_is_shown(contrasts, metric)]
    return Choice(recipe, metric, rule, reason, [recipe_of(row) for _, row in near.iterrows()])


def recipe_of(row: Mapping[str, str]) -> Recipe:
    """Return the recipe in a row of a table."""
    backbone, loss, decoder = (row[name] for name in RECIPE)
    return backbone, loss, decoder


def recipe_text(recipe: Recipe) -> str:
    """Return the name of a recipe in a sentence, such as `tiny × weighted_ce × mlp`."""
    return " × ".join(recipe)


def _value(row: pd.Series, score: Score) -> str:
    interval = score.interval(row["crossed_low"], row["crossed_high"])
    return f"{score.text(row['pooled'])}{' %' if score.percent else ''}{f' {interval}' if interval else ''}"


def _explain(found: NearBest, chosen: pd.Series, n_near: int, score: Score, rule: str) -> list[str]:
    n_recipes, best = len(found.rows), found.best
    side = "highest" if score.higher_is_better else "lowest"
    if n_recipes == 1:
        return [f"The study has one recipe; its {score.prose} is {_value(best, score)}."]
    first = recipe_text(recipe_of(best))
    sentences = [f"Of {n_recipes} recipes, {first} has the {side} {score.prose}: {_value(best, score)}."]
    if found.n_equal > 1:
        sentences[0] += f" It is the first of {found.n_equal} with exactly this score."
    if rule != ONE_STANDARD_ERROR:
        return sentences
    if pd.isna(found.error):
        unknown = f"The standard error of this score is unknown, so that no recipe with a worse {score.prose} is taken."
        equal = f" {recipe_text(recipe_of(chosen))} has the fewest parameters of the {n_near} recipes with this score."
        return [*sentences, unknown + (equal if n_near > 1 else "")]
    size = f"{score.text(found.error)}{score.unit}"
    if n_near == 1:
        return [*sentences, f"No other recipe is within one standard error ({size}) of it."]
    name, its = (first, "it") if recipe_of(chosen) == recipe_of(best) else (recipe_text(recipe_of(chosen)), "this")
    return [
        *sentences,
        f"{n_near} recipes are within one standard error ({size}); of these, {name} has the fewest parameters "
        f"({chosen['parameters']:,})." + (f" Its {score.prose} is {_value(chosen, score)}." if its == "this" else ""),
    ]


def _say_what_is_shown(contrasts: pd.DataFrame, metric: str) -> str:
    """Say whether the study shows differences between recipes in the score."""
    score = SCORES[metric]
    rows = contrasts[(contrasts["metric"] == metric) & (contrasts["classes"] == ALL_CLASSES)]
    shown = int((rows["verdict"] == SHOWN).sum())
    caution = "the score of the best of several recipes is on average too good"
    if rows.empty:
        return f"The study tests no difference in {score.prose}: the order of the recipes may be chance, and {caution}."
    if not shown:
        return (
            f"None of the {len(rows)} differences in {score.prose} that the study tests is shown: another recipe may "
            f"be as good, and {caution}."
        )
    return f"Of {len(rows)} differences in {score.prose} that the study tests, {shown} are shown; {caution}."
