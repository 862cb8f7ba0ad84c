"""The choice of a recipe: the rule of one standard error, by hand, and what is said about it."""

import pandas as pd
import pytest

from terralucas.errors import StudyError
from terralucas.selection.choice import BEST, ONE_STANDARD_ERROR, Cost, choose

A, B, C = ("base", "ce", "mlp"), ("tiny", "ce", "mlp"), ("tiny", "ce", "identity")
COSTS = {A: Cost(87_000_000, 0.5), B: Cost(5_700_000, 0.02), C: Cost(5_600_000, 0.02)}


def summary_of(values, metric="macro_accuracy", half_width=0.0392):
    """A table of scores whose intervals are ± half_width; ± 0.0392 is a standard error of 0.02 at 95 %."""
    rows = [
        dict(zip(("backbone", "loss", "decoder"), recipe, strict=True))
        | {"metric": metric, "classes": "all", "pooled": value, "level": 0.95}
        | {"crossed_low": value - half_width, "crossed_high": value + half_width}
        for recipe, value in values.items()
    ]
    return pd.DataFrame(rows)


def contrasts_of(*verdicts):
    return pd.DataFrame(
        [{"metric": "macro_accuracy", "classes": "all", "verdict": verdict} for verdict in verdicts],
        columns=["metric", "classes", "verdict"],
    )


@pytest.mark.parametrize(
    ("values", "rule", "expected", "n_near"),
    [
        ({A: 0.50, B: 0.485, C: 0.40}, BEST, A, 1),
        ({A: 0.50, B: 0.485, C: 0.40}, ONE_STANDARD_ERROR, B, 2),
        ({A: 0.50, B: 0.47, C: 0.40}, ONE_STANDARD_ERROR, A, 1),
        ({A: 0.50, B: 0.49, C: 0.481}, ONE_STANDARD_ERROR, C, 3),
    ],
)
def test_the_cheapest_within_one_standard_error_is_chosen(values, rule, expected, n_near):
    choice = choose(summary_of(values), contrasts_of(""), COSTS, "macro_accuracy", rule)
    assert choice.recipe == expected
    assert len(choice.candidates) == n_near
    assert "base × ce × mlp has the highest macro accuracy: 50.0 %" in choice.reason[0]
    if expected != A:
        assert f"{COSTS[expected].parameters:,}" in choice.reason[1]
        assert "2.0 points" in choice.reason[1]


def test_a_low_nll_is_a_good_one():
    summary = summary_of({A: 1.50, B: 1.30, C: 1.32}, "nll", half_width=0.196)
    assert choose(summary, contrasts_of(), COSTS, "nll", BEST).recipe == B
    assert choose(summary, contrasts_of(), COSTS, "nll", ONE_STANDARD_ERROR).recipe == C
    assert choose(summary_of({A: 1.2, B: 1.4, C: 1.5}, "nll", 0.196), contrasts_of(), COSTS, "nll", BEST).recipe == A


def test_among_equal_numbers_of_parameters_the_better_score_decides():
    other = ("tiny", "focal", "identity")
    summary = summary_of({C: 0.49, other: 0.50})
    choice = choose(summary, contrasts_of(), COSTS | {other: COSTS[C]}, "macro_accuracy", ONE_STANDARD_ERROR)
    assert choice.recipe == other


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        (["inconclusive", "inconclusive"], "None of the 2 differences"),
        (["difference shown", "inconclusive"], "Of 2 differences in macro accuracy that the study tests, 1 are shown"),
        ([], "tests no difference"),
    ],
)
def test_the_reason_says_whether_a_difference_is_shown(verdicts, words):
    choice = choose(summary_of({A: 0.5, B: 0.4}), contrasts_of(*verdicts), COSTS, "macro_accuracy", BEST)
    assert words in choice.reason[-1]
    assert "too good" in choice.reason[-1]


def test_a_score_that_no_recipe_has_is_an_error():
    with pytest.raises(StudyError, match="No recipe can be selected by MCC"):
        choose(summary_of({A: 0.5}), contrasts_of(), COSTS, "mcc", BEST)


def test_without_an_interval_of_the_best_no_simpler_recipe_is_taken():
    """All of a few chips right leave no interval, which is no standard error of 0."""
    table = summary_of({A: 1.0, B: 1.0, C: 0.98}, half_width=float("nan"))
    choice = choose(table, contrasts_of(""), COSTS, "macro_accuracy", ONE_STANDARD_ERROR)
    assert choice.recipe == B, "among equal scores the fewest parameters"
    assert "base × ce × mlp has the highest macro accuracy: 100.0 %. It is the first of 2 with" in choice.reason[0]
    assert "The standard error of this score is unknown" in choice.reason[1]
    assert "tiny × ce × mlp has the fewest parameters of the 2 recipes with this score" in choice.reason[1]
    assert "0.0 points" not in " ".join(choice.reason)
