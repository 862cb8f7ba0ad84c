"""The best recipe against the best control."""

import numpy as np
import pytest

from helpers.small_study import SMALL, scored
from terralucas.statistics.best_pair import _widening, best_pair_table
from terralucas.statistics.crossed_interval import crossed, limits
from terralucas.statistics.resampling import combine
from terralucas.statistics.training_variance import SeedScores, training_variances

RECIPES = [("tiny", "a", "mlp"), ("tiny", "c", "mlp")]
CONTROLS = [("none", "control", "b")]


@pytest.fixture(scope="module")
def small():
    _, design, scores = scored(SMALL, draws=2_000)
    return design, {name: scores[name[1] if name in RECIPES else "b"] for name in RECIPES + CONTROLS}


def rows_of(small, recipes=RECIPES, controls=CONTROLS):
    design, scores = small
    return best_pair_table(design, recipes, controls, scores.__getitem__, 0.95).set_index("metric")


def test_the_pair_is_that_of_the_highest_scores(small):
    design, scores = small
    table = rows_of(small)
    for name, row in table.iterrows():
        place = design.names.index(name)
        best = max(RECIPES, key=lambda recipe: scores[recipe].pooled[place])
        assert tuple(row[["backbone", "loss", "decoder"]]) == best
        assert row["control"] == "b"
        assert row["difference"] == pytest.approx(scores[best].pooled[place] - scores[CONTROLS[0]].pooled[place])
        assert row["low"] < row["difference"] < row["high"]
        assert row["n_pairs"] == 2


def test_one_pair_has_the_crossed_interval(small):
    """Nothing was selected, so nothing is allowed for."""
    design, scores = small
    table = rows_of(small, RECIPES[1:])
    difference = combine({RECIPES[1]: 1.0, CONTROLS[0]: -1.0}, scores.__getitem__)
    (training,) = training_variances([SeedScores.of(design, difference)], design.test_to_train)
    expected = limits(crossed(design, difference, training, "contrast"), 0.95)
    for name, row in table.iterrows():
        assert (row["low"], row["high"]) == pytest.approx(expected[:, design.names.index(name)], abs=0.004)


def test_without_controls_there_is_nothing_to_compare(small):
    assert rows_of(small, controls=[]).empty


def test_selection_widens_the_interval():
    """Ten equal recipes: of 300 studies, the interval of the best covers zero in 95 % where its own would in fewer."""
    random = np.random.default_rng(5)
    held, own = [], []
    for _ in range(300):
        draws = random.normal(size=(800, 10))
        estimates = random.normal(size=10)
        best = int(estimates.argmax())
        scaled = np.abs(draws / draws.std(axis=0))
        bound = np.quantile(np.abs(draws[:, best]), 0.95)
        held.append(estimates[best] <= bound * _widening(scaled.max(axis=1), scaled[:, best], 0.95))
        own.append(estimates[best] <= bound)
    assert np.mean(held) >= 0.93
    assert np.mean(own) < 0.9


def test_a_pair_whose_draws_mostly_equal_the_estimate_has_no_interval():
    alone = np.zeros(200)
    alone[:4] = 1.0
    assert np.isnan(_widening(np.ones(200), alone, 0.95))
