"""The power of a study before its first run."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from terralucas.statistics.planned_power import Assumptions, Plan, planned_power, sentences

LUCAS = [511, 178, 205, 704, 126, 57, 125, 43, 20, 25]
SPLIT = {"strategy": "kfold", "folds": 5, "validation_share": 0.15, "test_share": 0.2}
ASSUMED = Assumptions(recall=0.5, paired_correlation=0.5, training_sd=0.01)


def test_without_spread_of_training_it_is_the_textbook_power_of_a_paired_difference():
    """Chow, Shao & Wang (2008), sample size of a paired difference: (z_0.975 + z_0.8) standard errors."""
    plan = Plan.from_config(SPLIT, range(5), [400] * 10, 0.02, 0.95)
    table = planned_power(plan, Assumptions(0.5, 0.5, 0.0)).set_index("seeds")["smallest_difference"]
    textbook = (norm.ppf(0.975) + norm.ppf(0.8)) * np.sqrt(2 * 0.25 * 0.5 / 4000)
    assert table[50] == pytest.approx(textbook, rel=0.1)
    assert table[5] > table[50] > 0.99 * textbook, "few seeds cannot know that training has no spread"


def test_more_repetitions_and_more_chips_show_less():
    table = planned_power(Plan.from_config(SPLIT, range(5), LUCAS, 0.02, 0.95), ASSUMED)
    assert list(table["seeds"]) == [5, 10, 20, 50]
    assert table["smallest_difference"].is_monotonic_decreasing
    larger = planned_power(Plan.from_config(SPLIT, range(5), [10 * n for n in LUCAS], 0.02, 0.95), ASSUMED)
    assert larger["smallest_difference"].iloc[0] < table["smallest_difference"].iloc[0]


def test_seeds_of_several_repetitions_leave_chips_untested_and_show_less():
    plan, usual = (Plan.from_config(SPLIT, seeds, LUCAS, 0.02, 0.95) for seeds in ([0, 10, 20, 30, 40], range(5)))
    found, expected = planned_power(plan, ASSUMED), planned_power(usual, ASSUMED)
    assert found["smallest_difference"].iloc[0] > 1.02 * expected["smallest_difference"].iloc[0]
    assert (found["smallest_difference"].iloc[1:] == expected["smallest_difference"].iloc[1:]).all()
    # 0.8 to the fifth power.
    assert "expected to leave 33 % of the chips untested" in sentences(found, plan, ASSUMED)[2]
    assert not any("untested" in line for line in sentences(expected, usual, ASSUMED))


def test_a_holdout_has_its_test_chips_alone():
    plan = Plan.from_config(SPLIT | {"strategy": "holdout"}, range(3), [100] * 10, 0.02, 0.95)
    assert plan.class_counts == [20.0] * 10
    assert (plan.folds, plan.test_to_train) == (1, 0.0)


def test_the_sentences_are_the_tables():
    plan = Plan.from_config(SPLIT, range(5), LUCAS, 0.02, 0.95)
    table = planned_power(plan, ASSUMED)
    smallest = 100 * table["smallest_difference"].iloc[0]
    assert f"must differ by {smallest:.1f} points" in sentences(table, plan, ASSUMED)[1]
    few = Plan.from_config(SPLIT, range(2), [15] * 10, 0.02, 0.95)
    assert planned_power(few, ASSUMED)["smallest_difference"].iloc[0] > 1.0
    assert (
        "must differ by more than 100 points of macro accuracy"
        in sentences(planned_power(few, ASSUMED), few, ASSUMED)[1]
    )
    single = Plan.from_config(SPLIT, range(1), LUCAS, 0.02, 0.95)
    assert "One seed tells nothing" in sentences(planned_power(single, ASSUMED), single, ASSUMED)[1]
    assert not any("Neither" in line for line in sentences(planned_power(single, ASSUMED), single, ASSUMED))
    both = sentences(planned_power(few, ASSUMED), few, ASSUMED)
    assert "both together may" in both[2]
    easy = Plan.from_config(SPLIT, range(5), [100_000] * 10, 0.05, 0.95)
    assert "Deciding 5 points takes" in sentences(planned_power(easy, ASSUMED), easy, ASSUMED)[2]


def test_a_holdout_with_too_few_test_chips_of_a_class_promises_nothing():
    plan = Plan.from_config(SPLIT | {"strategy": "holdout"}, range(3), [100, 9], 0.02, 0.95)
    table = planned_power(plan, ASSUMED)
    assert table["smallest_difference"].isna().all() and len(table) == 1
    (line,) = sentences(table, plan, ASSUMED)
    assert "about 2 test chip(s)" in line and "no interval for new chips and no test" in line
    enough = Plan.from_config(SPLIT | {"strategy": "holdout"}, range(3), [100, 15], 0.02, 0.95)
    assert planned_power(enough, ASSUMED)["smallest_difference"].notna().all()


def test_more_contrasts_know_more_of_training_and_need_more_of_each():
    grid = {"backbones": ["tiny", "base"], "losses": ["ce", "focal"], "decoders": ["identity", "mlp"]}
    asked = [{"factor": "loss", "a": "focal", "b": "ce"}, {"factor": "decoder", "a": "mlp", "b": "identity"}]
    plan = Plan.from_config(SPLIT, range(5), LUCAS, 0.02, 0.95, grid, asked)
    # Two averaged over the other settings, and each in four combinations of these.
    assert (plan.contrasts, plan.family, plan.alpha) == (10, 2, pytest.approx(0.025))
    alone = Plan.from_config(SPLIT, range(5), LUCAS, 0.02, 0.95)
    ours, single = (planned_power(each, ASSUMED)["smallest_difference"].iloc[0] for each in (plan, alone))
    assert ours < single, "ten contrasts know the variance from training better"
    unadjusted = planned_power(replace(plan, family=1), ASSUMED)["smallest_difference"].iloc[0]
    assert ours > unadjusted
    assert "adjusted over 2 contrasts" in sentences(planned_power(plan, ASSUMED), plan, ASSUMED)[0]
