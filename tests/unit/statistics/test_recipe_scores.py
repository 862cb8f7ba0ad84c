"""The table of a recipe's scores: both intervals, their names and the chips behind them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from helpers.small_study import HOLDOUT, SMALL, score_recipe, scored
from terralucas.statistics.recipe_scores import scores_table
from terralucas.statistics.resampling import make_design
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.training_variance import SeedScores, training_variances


def scores_rows(design, scores):
    """The table of a recipe that is alone in its study, by score."""
    (training,) = training_variances([SeedScores.of(design, scores)], design.test_to_train)
    return scores_table(design, scores, training, 0.95).set_index("metric")


def table_of(world=SMALL, **options):
    study, design, scores = scored(world, **options)
    return study, scores_rows(design, scores["a"])


def test_both_intervals_are_named_and_hold_their_estimates():
    study, table = table_of()
    row = table.loc["macro_accuracy"]
    assert (row["crossed_interval"], row["seeds_interval"]) == ("crossed_percentile", "nadeau_bengio_t")
    each = [balanced_accuracy_score(run.labels, run.logits.argmax(axis=1)) for run in study.recipes["a"].values()]
    assert row["mean"] == pytest.approx(np.mean(each))
    half = stats.t.ppf(0.975, 4) * np.sqrt((0.2 + SMALL.test_to_train) * np.var(each, ddof=1))
    assert row["seeds_high"] == pytest.approx(row["mean"] + half)
    assert row["crossed_low"] < row["pooled"] < row["crossed_high"]
    assert (table["n_seeds"].drop(["precision:3", "f1:3"]) == 5).all()


def test_a_holdout_and_a_single_seed_have_their_own_names():
    _, table = table_of(HOLDOUT)
    assert (table["seeds_interval"] == "t_fixed_split").all()
    study, *_ = scored()
    runs = {0: study.recipes["a"][0]}
    design = make_design(runs, 4, SMALL.test_to_train)
    row = scores_rows(design, score_recipe(design, runs, 200, 1)).loc["micro_accuracy"]
    assert row["crossed_interval"] == "chips_percentile"
    assert np.isnan([row["seeds_low"], row["sd"]]).all()


def test_chips_behind_each_score():
    _, table = table_of()
    assert table.loc["brier", "n"] == 123
    assert [table.loc[f"f1:{index}", "n"] for index in range(4)] == [60, 34, 17, 12]


def test_no_interval_goes_beyond_its_scale():
    for number in range(6):
        _, table = table_of(number=number)
        recalls = table[table.index.str.startswith("recall")]
        for prefix in ("crossed", "bca", "seeds", "wilson"):
            assert (recalls[f"{prefix}_low"].dropna() >= 0).all()
            assert (recalls[f"{prefix}_high"].dropna() <= 1).all()


def test_recalls_of_one_run_have_wilsons_interval():
    study, *_ = scored()
    runs = {0: study.recipes["a"][0]}
    design = make_design(runs, 4, SMALL.test_to_train)
    table = scores_rows(design, score_recipe(design, runs, 50, 1))
    for index in range(4):
        of_class = runs[0].labels == index
        right = int((runs[0].logits.argmax(axis=1) == index)[of_class].sum())
        theirs = stats.binomtest(right, int(of_class.sum())).proportion_ci(0.95, method="wilson")
        row = table.loc[f"recall:{index}"]
        assert (row["wilson_low"], row["wilson_high"]) == pytest.approx((theirs.low, theirs.high))


def test_a_class_never_or_always_right_still_has_an_interval():
    study, design, _ = scored()
    runs = {
        seed: replace(run, logits=np.where(np.arange(4) == 0, 9.0, 0.0) + np.zeros((len(run.labels), 1)))
        for seed, run in study.recipes["a"].items()
    }
    table = scores_rows(design, score_recipe(design, runs, 200, 1))
    assert np.isnan(table.loc["recall:1", "crossed_low"]), "no draw differs"
    assert table.loc["recall:1", "wilson_low"] == pytest.approx(0)
    assert 0.05 < table.loc["recall:1", "wilson_high"] < 0.2
    assert np.isnan(table.loc["precision:1", "pooled"])


def test_recalls_of_blocks_are_covered_where_chips_of_a_block_are_right_together():
    """60 blocks of 10 chips of one class, in one run: with each chip as independent, about two thirds are covered."""
    covered, n_blocks, size, truth = [], 60, 10, 0.5
    labels = np.tile([0] * 9 + [1], n_blocks)
    groups = np.repeat(np.arange(n_blocks), size)
    for number in range(120):
        rng = np.random.default_rng(number)
        right = rng.random(n_blocks * size) < np.repeat(rng.beta(0.25, 0.25, n_blocks), size)
        logits = np.eye(2)[np.where(right, labels, 1 - labels)]
        runs = {0: Part(np.arange(len(labels)), labels, logits)}
        design = make_design(runs, 2, 0.25, groups)
        row = scores_rows(design, score_recipe(design, runs, 200, 1)).loc["recall:0"]
        covered.append(row["wilson_low"] <= truth <= row["wilson_high"])
    assert 0.9 <= np.mean(covered) <= 1.0


def test_a_class_in_few_blocks_has_a_wide_interval_and_one_that_is_always_right_as_many_chips_as_blocks():
    labels, groups = np.repeat([0, 1], 40), np.tile(np.repeat(np.arange(4), 10), 2)
    right = np.where(labels == 0, True, groups < 2)
    runs = {0: Part(np.arange(80), labels, np.eye(2)[np.where(right, labels, 1 - labels)])}
    design = make_design(runs, 2, 0.25, groups)
    table = scores_rows(design, score_recipe(design, runs, 200, 1))
    theirs = stats.binomtest(4, 4).proportion_ci(0.95, method="wilson")
    assert table.loc["recall:0", "wilson_low"] == pytest.approx(theirs.low)
    low, high = table.loc["recall:1", ["wilson_low", "wilson_high"]]
    assert high - low > 0.75, "two of four blocks are right"
