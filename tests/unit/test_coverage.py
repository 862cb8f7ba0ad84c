"""Intervals and tests on simulated studies with a known truth: the small version of benchmarks/coverage.py.

100 studies: a share of 0.95 has a standard error of 0.022 over them, one of 0.05 as well.
"""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.coverage import ALPHA, measure
from benchmarks.simulated_studies import Recipe
from helpers.small_study import SMALL

pytestmark = pytest.mark.slow

STUDIES = 100


@pytest.fixture(scope="module")
def measured():
    recipes = {"a": Recipe(), "b": Recipe(), "c": Recipe(shift=3.0)}
    return measure(replace(SMALL, recipes=recipes), STUDIES, 200)


def share_held(measured, limits, name):
    index = measured.names.index(name)
    truth = measured.truth[:, index]
    return np.mean((limits[:, 0, index] <= truth) & (truth <= limits[:, 1, index]))


@pytest.mark.parametrize("name", ["macro_accuracy", "micro_accuracy", "mcc", "nll", "brier"])
def test_the_crossed_interval_covers(measured, name):
    assert 0.87 <= share_held(measured, measured.intervals["crossed"], name) <= 0.995


def test_the_rarest_class_is_covered_by_wilson(measured):
    assert share_held(measured, measured.intervals["wilson"], "recall:3") >= 0.88


def test_a_wrong_interval_is_found_out(measured):
    """Half as wide it must fail, or the check above checks nothing."""
    limits = measured.intervals["crossed"]
    centre = limits.mean(axis=1, keepdims=True)
    assert share_held(measured, centre + (limits - centre) / 2, "macro_accuracy") < 0.85


@pytest.mark.parametrize("method", ["crossed", "seeds"])
def test_one_recipe_under_two_names_is_seldom_called_two(measured, method):
    index = measured.names.index("macro_accuracy")
    assert np.mean(measured.p_values[method][:, index] < ALPHA) <= 0.13


def test_a_difference_is_found_more_often_than_none(measured):
    index = measured.names.index("macro_accuracy")
    found = [np.mean(p["crossed"][:, index] < ALPHA) for p in (measured.difference_p, measured.p_values)]
    assert found[0] > found[1] + 0.2


def test_equivalence_at_the_margin_is_seldom_shown(measured):
    index = measured.names.index("macro_accuracy")
    margin = np.abs(measured.difference[:, index])
    inside = (np.abs(measured.wide["crossed"][:, :, index]) < margin[:, None]).all(axis=1)
    assert inside.mean() <= 0.13
