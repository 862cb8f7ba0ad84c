"""Contrasts: what is subtracted from what, and tests against statsmodels and published examples."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from helpers.small_study import HOLDOUT, score_recipe, scored
from terralucas.statistics import contrasts as module
from terralucas.statistics.best_pair import best_pair_table
from terralucas.statistics.comparison import Question
from terralucas.statistics.contrasts import (
    contrasts_table,
    contrasts_training,
    holm,
    interaction,
    mcnemar_test,
    simple_contrasts,
    verdicts,
)
from terralucas.statistics.resampling import combine, make_design
from terralucas.statistics.run_predictions import Part

LOSSES = ("weighted_ce", "weighted_focal", "ce", "focal")
GRID = list(itertools.product(("tiny", "base"), LOSSES, ("identity", "mlp")))


def value(contrast, score):
    return sum(factor * score(*recipe) for recipe, factor in contrast.coefficients.items())


def test_a_difference_is_averaged_over_the_other_factors_and_given_for_each_cell():
    average, *cells = simple_contrasts(GRID, ("decoder", "mlp", "identity"))
    assert (average.name, average.scope, len(cells)) == ("mlp − identity", "all", 8)
    assert value(average, lambda b, x, d: (d == "mlp") * (1.0 + LOSSES.index(x))) == pytest.approx(2.5)
    one = next(cell for cell in cells if cell.scope == "base × focal")
    assert one.coefficients == {("base", "focal", "mlp"): 1.0, ("base", "focal", "identity"): -1.0}


def test_interactions_of_two_factors_and_within_one():
    crossing = interaction(GRID, ("decoder", "mlp", "identity"), ("loss", "weighted_focal", "weighted_ce"))
    assert value(crossing, lambda b, x, d: 3.0 * (d == "mlp") + 5.0 * (x == "weighted_focal")) == pytest.approx(0)
    assert value(crossing, lambda b, x, d: 2.0 * (d == "mlp" and x == "weighted_focal")) == pytest.approx(2)
    within = interaction(GRID, ("loss", "weighted_focal", "weighted_ce"), ("loss", "focal", "ce"))
    assert value(within, lambda b, x, d: ("weighted" in x) + 4.0 * ("focal" in x)) == pytest.approx(0)
    assert value(within, lambda b, x, d: float(x == "weighted_focal")) == pytest.approx(1)
    assert sum(within.coefficients.values()) == pytest.approx(0)


def test_an_interaction_compares_the_same_other_settings():
    """Of recipes where a difference depends on the other settings alone, so that the two differences are equal."""
    crossed = (("decoder", "mlp", "identity"), ("loss", "weighted_focal", "weighted_ce"))
    within = (("loss", "weighted_focal", "weighted_ce"), ("loss", "focal", "ce"))
    for missing in GRID:
        left = [recipe for recipe in GRID if recipe != missing]
        of_two = interaction(left, *crossed)
        assert value(of_two, lambda b, x, d: (b == "tiny") * (d == "mlp")) == pytest.approx(0)
        assert value(of_two, lambda b, x, d: float(d == "mlp" and x == "weighted_focal")) == pytest.approx(1)
        of_one = interaction(left, *within)
        assert value(of_one, lambda b, x, d: ((b == "tiny") + 3 * (d == "mlp")) * ("focal" in x)) == pytest.approx(0)
        assert value(of_one, lambda b, x, d: float(x == "weighted_focal")) == pytest.approx(1)
        assert len(of_one.coefficients) == 12, "of three combinations of backbone and decoder"


def test_contrasts_that_no_recipes_have_are_not_computed():
    assert simple_contrasts([recipe for recipe in GRID if recipe[2] == "mlp"], ("decoder", "mlp", "identity")) == []
    split = [recipe for recipe in GRID if recipe[:2] in (("tiny", "ce"), ("base", "focal"))]
    assert simple_contrasts(split, ("decoder", "mlp", "identity"))
    assert interaction(split, ("decoder", "mlp", "identity"), ("loss", "focal", "ce")) is None
    question = Question.from_config(
        {
            "excluded_classes": [],
            "margins": {},
            "claims": [],
            "confidence_level": 0.95,
            "draws": 10,
            "seed": 1,
            "primary": "macro_accuracy",
            "contrasts": [{"factor": "decoder", "a": "mlp", "b": "identity"}],
            "interactions": [
                [{"factor": "decoder", "a": "mlp", "b": "identity"}, {"factor": "loss", "a": "focal", "b": "ce"}]
            ],
        },
        [],
        5,
    )
    assert {contrast.family for contrast in question.contrasts_of(GRID)} == {"averaged", "cell", "interaction"}
    assert {contrast.family for contrast in question.contrasts_of(split)} == {"averaged", "cell"}
    assert question.contrasts_of(split[:1]) == []


def test_cells_that_lack_a_side_are_left_out():
    uneven = [recipe for recipe in GRID if recipe != ("base", "focal", "mlp")]
    average, *cells = simple_contrasts(uneven, ("decoder", "mlp", "identity"))
    assert len(cells) == 7
    assert ("base", "focal", "identity") not in average.coefficients


def test_holm_against_statsmodels():
    random = np.random.default_rng(3)
    for n in (1, 2, 7, 30):
        p = random.random(n) ** 3
        assert holm(pd.Series(p)) == pytest.approx(multipletests(p, method="holm")[1])
    with_gap = holm(pd.Series([0.01, np.nan, 0.04]))
    assert with_gap == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)


def test_holm_textbook_example():
    """The worked example of Wikipedia's Holm–Bonferroni method: of four, first and last are rejected at 0.05."""
    adjusted = holm(pd.Series([0.01, 0.04, 0.03, 0.005]))
    assert (adjusted < 0.05).tolist() == [True, False, False, True]
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_mcnemar_published_example():
    """Airway hyper-responsiveness before and after transplantation (Fagerland et al. 2013, table 1): 1 and 7 discordant
    pairs, whose mid-p value is the exact one, 2 · 9 / 256, less the probability 8 / 256 of the smaller number."""
    assert module._mid_p(1, 7) == pytest.approx(18 / 256 - 8 / 256)
    assert module._mid_p(4, 4) == pytest.approx(1 - 0.5 * 70 / 256), "their formula for equal numbers"


def test_mcnemar_pools_the_folds():
    study, design, scores = scored()
    difference = combine({"a": 1.0, "c": -1.0}, scores.__getitem__)
    only_a, only_b, exact, mid = mcnemar_test(design, difference)
    right = [
        np.concatenate([run.logits.argmax(axis=1) == run.labels for run in study.recipes[name].values()])
        for name in ("a", "c")
    ]
    table = pd.crosstab(right[0], right[1])
    assert (only_a, only_b) == (table.loc[True, False], table.loc[False, True])
    assert exact == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert mid < exact


def test_mcnemar_is_not_given_where_chips_are_tested_by_several_seeds():
    _, design, scores = scored(HOLDOUT)
    assert mcnemar_test(design, combine({"a": 1.0, "c": -1.0}, scores.__getitem__)) is None


def test_verdicts():
    p, q = pd.Series([0.01, 0.2, 0.2, 0.01, np.nan]), pd.Series([0.5, 0.01, 0.5, 0.01, np.nan])
    expected = ["difference shown", "equivalent within margin", "inconclusive", "difference shown", "inconclusive"]
    assert verdicts(p, q, 0.05).tolist() == expected


def test_the_table():
    _, design, scores = scored()
    by_recipe = {("tiny", name, "mlp"): scores[name] for name in "abc"}
    pairs = (("loss", "a", "b"), ("loss", "c", "a"))
    contrasts = [contrast for pair in pairs for contrast in simple_contrasts(list(by_recipe), pair)]
    training = contrasts_training(design, contrasts, by_recipe.__getitem__)
    table = contrasts_table(design, contrasts, by_recipe.__getitem__, training, {"macro_accuracy": 0.5}, 0.95)
    assert len(table) == 2 * len(design.names)
    macro = table[table["metric"] == "macro_accuracy"].set_index("contrast")
    row = macro.loc["c − a"]
    by_seed = (scores["c"].seeds - scores["a"].seeds)[:, 0]
    assert row["difference"] == pytest.approx(scores["c"].pooled[0] - scores["a"].pooled[0])
    assert row["seeds_difference"] == pytest.approx(by_seed.mean())
    half = stats.t.ppf(0.975, 4) * np.sqrt((0.2 + design.test_to_train) * by_seed.var(ddof=1))
    assert (row["seeds_low"], row["seeds_high"]) == pytest.approx((by_seed.mean() - half, by_seed.mean() + half))
    assert macro["p_holm"].tolist() == pytest.approx(multipletests(macro["p_value"], method="holm")[1])
    assert (macro["p_equivalence"] < 0.05).all(), "a margin of half the scale"
    assert (macro["verdict"] != "inconclusive").all()
    others = table[table["metric"] == "brier"]
    assert others["p_equivalence"].isna().all(), "no margin, no equivalence"
    tested = table[table["mcnemar_mid"].notna()]
    assert set(tested["metric"]) == {"micro_accuracy"}


def test_one_seed_shows_no_difference_of_recipes():
    """Its runs may differ by their training alone, of which one seed says nothing."""
    labels = np.repeat(np.arange(2), 100)
    by_recipe = {}
    for name, right in (("a", 90), ("b", 40)):
        hits = np.arange(200) % 100 < right
        runs = {0: Part(np.arange(200), labels, 3.0 * np.eye(2)[np.where(hits, labels, 1 - labels)])}
        design = make_design(runs, 2, 0.25)
        by_recipe[("tiny", name, "mlp")] = score_recipe(design, runs, 300, 1)
    asked = simple_contrasts(list(by_recipe), ("loss", "a", "b"))
    training = contrasts_training(design, asked, by_recipe.__getitem__)
    table = contrasts_table(design, asked, by_recipe.__getitem__, training, {}, 0.95).set_index("metric")
    assert table.loc["macro_accuracy", "p_holm"] < 0.01, "of these two runs"
    assert table.loc["macro_accuracy", "verdict"] == "inconclusive"


def test_intervals_of_differences_stay_on_the_scale():
    """Three seeds of which one is wrong throughout: Student's t would reach beyond a difference of one."""
    labels, parts = np.repeat(np.arange(2), 10), {}
    for name, rights in (("a", (20, 18, 0)), ("b", (1, 2, 1))):
        parts[name] = {}
        for seed, right in enumerate(rights):
            hits = np.arange(20) // 2 + 10 * (np.arange(20) % 2) < right
            logits = 3.0 * np.eye(2)[np.where(hits, labels, 1 - labels)]
            parts[name][seed] = Part(np.arange(20) + 20 * seed, labels, logits)
    design = make_design(parts["a"], 2, 0.5)
    by_recipe = {("tiny", name, "mlp"): score_recipe(design, runs, 500, 1) for name, runs in parts.items()}
    asked = simple_contrasts(list(by_recipe), ("loss", "a", "b"))
    training = contrasts_training(design, asked, by_recipe.__getitem__)
    table = contrasts_table(design, asked, by_recipe.__getitem__, training, {}, 0.95).set_index("metric")
    for metric, end in (("macro_accuracy", 1.0), ("micro_accuracy", 1.0), ("mcc", 2.0), ("brier", 2.0)):
        for name in ("crossed", "bca", "seeds"):
            low, high = table.loc[metric, [f"{name}_low", f"{name}_high"]]
            assert not low < -end
            assert not high > end
    assert table.loc["macro_accuracy", "crossed_high"] == 1.0
    best = best_pair_table(design, [("tiny", "a", "mlp")], [("tiny", "b", "mlp")], by_recipe.__getitem__, 0.95)
    assert best["high"].tolist() == [1.0, 1.0]
    crossing = interaction(GRID, ("decoder", "mlp", "identity"), ("loss", "weighted_focal", "weighted_ce"))
    assert crossing.largest("macro_accuracy") == pytest.approx(2.0), "100 points here, −100 points there"
