"""Variance components against formulas and studies whose parts are known."""

import numpy as np
import pytest

from helpers.small_study import HOLDOUT, SMALL, score_recipe, scored
from terralucas.statistics.resampling import make_design
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.variance import seed_spread, variance_table
from terralucas.tables.vocabulary import CHIPS, INITIALISATION, SPLIT, SPLIT_AND_INITIALISATION


def drawn_runs(random, training_sd, n=60, n_seeds=5, same_chips=False, chip_sd=0.0):
    """Two classes; a run's share of right chips is 0.6 plus its own shift, chips differing in difficulty."""
    labels = np.arange(n) % 2
    ease = chip_sd * random.normal(size=n * n_seeds)
    runs = {}
    for seed in range(n_seeds):
        chips = np.arange(n) + (0 if same_chips else n * seed)
        right = random.random(n) < np.clip(0.6 + training_sd * random.normal() + ease[chips], 0, 1)
        logits = np.zeros((n, 2))
        logits[np.arange(n), np.where(right, labels, 1 - labels)] = 1.0
        runs[seed] = Part(chips, labels, logits)
    return runs


def spreads(same_chips, training_sd, chip_sd=0.0, studies=200):
    random = np.random.default_rng(4)
    found = []
    for _ in range(studies):
        runs = drawn_runs(random, training_sd, same_chips=same_chips, chip_sd=chip_sd)
        design = make_design(runs, 2, 0.0 if same_chips else 0.25)
        spread = seed_spread(design, score_recipe(design, runs, 2, 1))
        place = design.names.index("micro_accuracy")
        found.append([spread.observed[place], spread.from_chips[place], spread.chips[place]])
    return np.mean(found, axis=0)


@pytest.mark.parametrize("metric", ["macro_accuracy", "micro_accuracy"])
def test_chips_of_a_run_are_the_binomial_variance_within_classes(metric):
    """The variance of a stratified mean, Σ w² s² / n, where w is 1 / 4 or a class's share (Cochran 1977, eq. 5.12)."""
    _, design, scores = scored()
    expected, hits = [], np.split(scores["a"].hits, np.cumsum([len(test) for test in design.tests])[:-1])
    for test, right in zip(design.tests, hits, strict=True):
        classes = [right[design.labels[test] == k] for k in range(4)]
        weights = [1 / 4 if metric == "macro_accuracy" else len(each) / len(test) for each in classes]
        expected.append(
            sum(w**2 * each.var(ddof=1) / len(each) for w, each in zip(weights, classes, strict=True) if len(each) > 1)
        )
    spread = seed_spread(design, scores["a"])
    place = design.names.index(metric)
    assert spread.chips[place] == pytest.approx(np.mean(expected))
    assert spread.from_chips[place] == pytest.approx(np.mean(expected)), "folds share no chips"


@pytest.mark.parametrize("same_chips", [False, True])
@pytest.mark.parametrize(("training_sd", "chip_sd"), [(0.0, 0.2), (0.08, 0.2), (0.08, 0.0)])
@pytest.mark.slow
def test_moments_tell_training_from_chips(same_chips, training_sd, chip_sd):
    observed, from_chips, _ = spreads(same_chips, training_sd, chip_sd)
    # Means of 200 studies; s² of 60 chips, about 0.004, has a standard error of 0.0003 over them.
    assert observed - from_chips == pytest.approx(training_sd**2, abs=0.001)


def test_chips_that_all_runs_share_do_not_spread_them():
    """Under a holdout hard chips are hard for every run: less spread between seeds than folds of other chips give."""
    _, shared, chips = spreads(True, 0.0, chip_sd=0.4)
    assert shared < 0.9 * chips


def test_what_a_design_can_not_tell_is_said_and_empty():
    for world, component in ((SMALL, SPLIT_AND_INITIALISATION), (HOLDOUT, INITIALISATION)):
        _, design, scores = scored(world, draws=10)
        table = variance_table(design, scores["a"], 0.95)
        rows = table[table["metric"] == "micro_accuracy"].set_index("component")
        assert {component, CHIPS} <= set(rows.index)
        assert rows.loc[[component, CHIPS], "share"].sum() == pytest.approx(1)
        assert (SPLIT in rows.index) == world.holdout
        if world.holdout:
            assert np.isnan(rows.loc[SPLIT, "variance"])
            assert "unknown: all seeds share one split" in rows.loc[SPLIT, "note"]


@pytest.mark.slow
def test_limits_of_the_seed_component_hold_it():
    """χ² limits of s²: of 150 studies with normal training effects about 95 % hold the truth."""
    random, held = np.random.default_rng(7), 0
    for _ in range(150):
        runs = drawn_runs(random, 0.1)
        design = make_design(runs, 2, 0.25)
        table = variance_table(design, score_recipe(design, runs, 2, 1), 0.95)
        row = table[(table["metric"] == "micro_accuracy") & (table["component"] == SPLIT_AND_INITIALISATION)].iloc[0]
        held += row["low"] <= 0.1**2 <= row["high"]
    assert 0.89 <= held / 150 <= 0.99
