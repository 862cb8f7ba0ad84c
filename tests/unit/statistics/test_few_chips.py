"""Classes of so few test chips that draws of chips do not show how much a score varies."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from helpers import report_page, synthetic
from helpers.small_study import score_recipe
from terralucas.report.sections import power
from terralucas.statistics import comparison, mixed_model
from terralucas.statistics.contrasts import Contrast, contrasts_table, contrasts_training
from terralucas.statistics.resampling import make_design
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.variance import variance_table
from terralucas.tables.vocabulary import CELL, CHIPS, INITIALISATION

RECIPES = ("tiny", "ce", "mlp"), ("tiny", "focal", "mlp")
MARGINS = {"macro_accuracy": 0.02, "micro_accuracy": 0.02}


def world(counts, random, groups=None):
    """Design and Scores of two recipes with one seed that predict a chip rightly with a probability of 0.6."""
    labels = np.repeat(np.arange(len(counts)), counts)

    def part():
        wrong = (labels + random.integers(1, len(counts), len(labels))) % len(counts)
        logits = np.zeros((len(labels), len(counts)), dtype=np.float32)
        logits[np.arange(len(labels)), np.where(random.random(len(labels)) < 0.6, labels, wrong)] = 3.0
        return Part(chips=np.arange(len(labels)), labels=labels, logits=logits)

    parts = {recipe: {5: part()} for recipe in RECIPES}
    design = make_design(parts[RECIPES[0]], len(counts), 0.0, groups)
    return design, {recipe: score_recipe(design, runs, 400, 1) for recipe, runs in parts.items()}


def compared(counts, random, groups=None):
    design, scores = world(counts, random, groups)
    asked = [Contrast("ce − focal", "all", CELL, dict(zip(RECIPES, (1.0, -1.0), strict=True)))]
    training = contrasts_training(design, asked, scores.__getitem__)
    table = contrasts_table(design, asked, scores.__getitem__, training, MARGINS, 0.95).set_index("metric")
    spreads = comparison.observed_spreads(design, scores[RECIPES[0]], training[0], folds=1)
    return table, dict(zip(design.names, spreads, strict=True))


@pytest.mark.parametrize(
    ("counts", "blocks", "known"),
    [
        ((20, 20, 20), [0, 1, 2], {"macro_accuracy", "micro_accuracy"}),
        ((20, 20, 20), [0, 1], {"micro_accuracy"}),
        ((20, 20, 2), [0, 1], {"micro_accuracy"}),
    ],
)
def test_blocks_show_it_only_where_each_class_is_in_three_of_them(counts, blocks, known):
    """The last class is in these blocks alone, of ten that are drawn."""
    groups = np.arange(sum(counts)) % 10
    groups[-counts[-1] :] = np.resize(blocks, counts[-1])
    table, spreads = compared(counts, np.random.default_rng(0), groups)
    for name in ("macro_accuracy", "micro_accuracy"):
        values = table.loc[name, ["crossed_low", "crossed_high", "p_value"]].astype(float)
        assert np.isfinite(values).all() if name in known else np.isnan(values).all(), name
        assert np.isfinite(spreads[name].chips) == (name in known), name


@pytest.mark.parametrize(
    ("counts", "known"),
    [
        ((20, 20, 3), {"macro_accuracy", "macro_f1", "worst_class_recall", "micro_accuracy", "mcc", "brier"}),
        ((20, 20, 2), {"micro_accuracy", "mcc", "brier"}),
        ((20, 20, 1), {"micro_accuracy", "mcc", "brier"}),
        ((3, 2, 1, 2), set()),
    ],
)
def test_scores_have_intervals_and_tests_only_where_chips_show_how_much_they_vary(counts, known):
    table, spreads = compared(counts, np.random.default_rng(0))
    for name in ("macro_accuracy", "macro_f1", "worst_class_recall", "micro_accuracy", "mcc", "brier"):
        values = table.loc[name, ["crossed_low", "crossed_high", "p_value"]].astype(float)
        assert np.isfinite(values).all() if name in known else np.isnan(values).all(), name
        assert np.isfinite(spreads[name].chips) == (name in known), name
    if "macro_accuracy" not in known:
        assert table.loc["macro_accuracy", "verdict"] == "inconclusive"


@pytest.mark.parametrize(("rarest", "shown"), [(1, False), (2, False), (3, True)])
def test_variance_components_are_known_only_where_chips_show_them(rarest, shown):
    """A holdout with three seeds. A class of one chip would enter as one that never varies."""
    random, counts = np.random.default_rng(0), (20, 20, rarest)
    labels = np.repeat(np.arange(3), counts)
    runs = {seed: Part(np.arange(len(labels)), labels, random.normal(size=(len(labels), 3))) for seed in range(3)}
    design = make_design(runs, 3, 0.0)
    table = variance_table(design, score_recipe(design, runs, 50, 1), 0.95).set_index(["metric", "component"])
    for component in (INITIALISATION, CHIPS):
        macro = table.loc[("macro_accuracy", component)]
        assert np.isfinite(macro[["variance", "sd", "share"]].to_numpy(float)).all() == shown
        assert ("a class has too few test chips" in macro["note"]) != shown
        assert np.isfinite(table.loc[("micro_accuracy", component), "variance"])
    assert np.isfinite(table.loc[("macro_accuracy", INITIALISATION), "low"]) == shown


@pytest.mark.parametrize(
    ("counts", "most"), [((20, 20, 1), 0), ((20, 12, 2), 0), ((20, 20, 3), 18), ((20, 20, 20), 14)]
)
def test_equal_recipes_are_seldom_called_different(counts, most):
    """Of 120 studies; 5 % are 6. With the intervals that are left out there would be about 55 and 20."""
    random = np.random.default_rng(1)
    p_values = [compared(counts, random)[0].loc["macro_accuracy", "p_value"] for _ in range(120)]
    assert sum(p < 0.05 for p in p_values) <= most


def test_the_page_names_the_classes(tmp_path):
    study = synthetic.make_study(tmp_path, seeds=1)
    per_class, summary = study.tables["per_class"].copy(), study.tables["summary"].copy()
    rarest = per_class["n"] == per_class["n"].min()
    name = per_class.loc[rarest, "class_name"].iloc[0]
    sentence = f"Too few test chips over all seeds: “{name}” (2 chips)."
    assert sentence not in report_page.render(study, tmp_path)
    per_class.loc[rarest, "n"] = 2
    summary.loc[summary["metric"] == "macro_accuracy", ["crossed_low", "crossed_high"]] = np.nan
    changed = dataclasses.replace(study, tables=study.tables | {"per_class": per_class, "summary": summary})
    assert sentence in report_page.render(changed, tmp_path)


def test_nothing_is_made_of_an_interval_that_is_not_there():
    row = pd.Series({"difference": 0.4, "crossed_low": np.nan, "crossed_high": np.nan})
    assert mixed_model._discrepancy(row, 0.4, (0.1, 0.7)) == ""
    unknown = {"seeds_needed": np.nan, "chips_factor_needed": np.nan, "smallest_difference": np.nan}
    assert [cell.text for cell in power._power_cells(unknown, 3)] == ["—", "—", "—"]
    assert "none would do" in [cell.text for cell in power._power_cells(unknown | {"smallest_difference": 0.1}, 3)]
