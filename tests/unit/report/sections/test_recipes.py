"""What the section on recipes says about the choice of one."""

import pandas as pd
import pytest

from terralucas.report.sections import recipes


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        ({"metric": None, "rule": "best"}, "base · ce · mlp has the highest macro accuracy."),
        (
            {"metric": None, "rule": "one_standard_error"},
            "2 of 3 recipes are within one standard error (2.0 points) of the highest macro accuracy. Of these, the "
            "one with the fewest parameters is taken.",
        ),
        (
            {"metric": "micro_accuracy", "rule": "one_standard_error"},
            "No other recipe is within one standard error (2.0 points) of the highest micro accuracy, that of "
            "tiny · ce · mlp.",
        ),
    ],
)
def test_it_says_which_recipe_would_be_selected(select, expected):
    """At 95 %, intervals of ± 3.92 points have a standard error of 2 points."""
    scores = {"macro_accuracy": (0.50, 0.485, 0.40), "micro_accuracy": (0.50, 0.60, 0.40)}
    rows = [
        {"backbone": backbone, "loss": "ce", "decoder": decoder, "metric": metric, "classes": "all", "pooled": value}
        | {"level": 0.95, "crossed_low": value - 0.0392, "crossed_high": value + 0.0392}
        for metric, values in scores.items()
        for (backbone, decoder), value in zip((("base", "mlp"), ("tiny", "mlp"), ("tiny", "id")), values, strict=True)
    ]
    assert recipes.selection_sentence(pd.DataFrame(rows), select, "macro_accuracy") == expected
    assert recipes.selection_sentence(pd.DataFrame(rows[:1]), select | {"metric": None}, "macro_accuracy") is None
