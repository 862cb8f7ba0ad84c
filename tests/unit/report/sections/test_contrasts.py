"""The tables of contrasts on the page."""

import numpy as np
import pandas as pd

from terralucas.report.sections import contrasts
from terralucas.report.sections.contrasts import contrast_table

ROW = {
    "classes": "all", "contrast": "mlp − identity", "scope": "all", "family": "averaged", "n_recipes": 2,
    "difference": 0.007, "crossed_low": np.nan, "crossed_high": np.nan, "p_value": np.nan, "p_holm": np.nan,
    "seeds_difference": -0.025, "seeds_low": -0.04, "seeds_high": -0.01, "n_seeds": 5, "margin": np.nan, "verdict": "",
    "mcnemar_mid": np.nan, "p_equivalence_holm": np.nan,
}  # fmt: skip


def test_calibration_errors_differ_as_their_means_over_runs_do_which_the_table_of_scores_shows():
    table = contrast_table(pd.DataFrame([ROW | {"metric": "ece"}]), "ece", "all", 0.95, {})
    difference, verdict = table.rows[0].cells[1], table.rows[0].cells[3]
    assert (difference.text, difference.small) == ("−0.025", ("seeds [−0.040, −0.010]",))
    assert verdict.text == "not judged"
    assert "means over runs" in table.caption


def test_other_scores_lead_with_the_pooled_difference():
    row = ROW | {"metric": "mcc", "crossed_low": -0.01, "crossed_high": 0.02}
    table = contrast_table(pd.DataFrame([row]), "mcc", "all", 0.95, {})
    difference = table.rows[0].cells[1]
    assert difference.text == "+0.007"
    assert [each.partition(" ")[0] for each in difference.small] == ["crossed", "seeds"]
    assert "pooled, with" in table.caption


def test_contrasts_that_cannot_be_computed_are_named():
    table = pd.DataFrame({"contrast": ["mlp − identity"]})
    asked = ["mlp − identity", "focal − ce", "(mlp − identity) × (focal − ce)"]
    (sentence,) = contrasts.not_computed_sentences(table, asked)
    assert sentence.endswith(": focal − ce and (mlp − identity) × (focal − ce).")
    assert contrasts.not_computed_sentences(table, asked[:1]) == []
    assert "names no contrasts" in contrasts.no_contrasts_sentence([])
    assert "too few recipes" in contrasts.no_contrasts_sentence(asked)
