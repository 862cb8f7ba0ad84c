"""Which recipes are drawn of a study that has too many to tell apart."""

import numpy as np
import pandas as pd
import pytest

from terralucas.report.figures.shown import MOST_RECIPES, keep_shown, shown_recipes, shown_sentence
from terralucas.tables.vocabulary import RECIPE


def summary_of(number):
    """Recipes whose macro accuracy falls and rises with their number; micro accuracy does the opposite."""
    macro = np.abs(np.arange(number) - number / 2)
    rows = [
        dict(
            zip(
                (*RECIPE, "classes", "metric", "pooled"),
                ("tiny", f"l{recipe}", "mlp", classes, metric, score),
                strict=True,
            )
        )
        for classes in ("all", "without 10")
        for metric, scores in (("macro_accuracy", macro), ("micro_accuracy", -macro))
        for recipe, score in enumerate(scores if classes == "all" else -scores)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("number", [1, MOST_RECIPES])
def test_few_recipes_are_all_drawn_and_nothing_is_said(number):
    summary = summary_of(number)
    assert list(shown_recipes(summary, "macro_accuracy")["loss"]) == [f"l{recipe}" for recipe in range(number)]
    assert shown_sentence(summary, "macro_accuracy") == ""


def test_of_many_recipes_those_with_the_best_primary_score_are_drawn_in_the_order_of_the_study():
    summary = summary_of(100)
    ends = [*range(MOST_RECIPES // 2 + 1), *range(100 - MOST_RECIPES // 2 + 1, 100)]
    assert list(shown_recipes(summary, "macro_accuracy")["loss"]) == [f"l{recipe}" for recipe in ends]
    middle = range(50 - MOST_RECIPES // 2, 50 + MOST_RECIPES // 2)
    assert set(shown_recipes(summary, "micro_accuracy")["loss"]) == {f"l{recipe}" for recipe in middle}
    assert shown_sentence(summary, "macro_accuracy") == "Drawn: the 40 of 100 recipes with the best macro accuracy."


def test_the_rows_of_the_recipes_and_of_controls_are_kept():
    summary = summary_of(100)
    control = pd.DataFrame([{"backbone": "none", "loss": "control", "decoder": "majority", "metric": "macro_accuracy"}])
    table = pd.concat([summary, control])
    recipes = shown_recipes(summary, "macro_accuracy")
    kept = keep_shown(table, recipes)
    assert len(kept) == 4 * MOST_RECIPES + 1
    assert set(kept["loss"]) == {*recipes["loss"], "control"}
    assert list(kept[RECIPE].iloc[-1]) == ["none", "control", "majority"]
