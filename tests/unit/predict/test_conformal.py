"""Conformal sets: against a count by hand, against the guarantee on exchangeable chips, and at their limits."""

import numpy as np
import pytest

from terralucas.predict.conformal import (
    Calibration,
    expected_coverage,
    held_out_p_values,
    in_sets,
    p_values,
    softmax,
)


def make_calibration(rng, n_chips=60, members=3, repeats=1, n_classes=3):
    """Scores of held-out chips; each chip belongs to one model of each repetition."""
    chip = np.tile(np.arange(n_chips), repeats)
    member = np.concatenate([r * members + rng.permutation(n_chips) % members for r in range(repeats)])
    label = np.arange(n_chips) % n_classes
    return Calibration(member, chip, np.tile(label, repeats), rng.random(n_chips * repeats), n_classes)


@pytest.mark.parametrize("repeats", [1, 2])
def test_p_values_count_held_out_chips_that_are_as_strange(repeats):
    rng = np.random.default_rng(1)
    calibration = make_calibration(rng, repeats=repeats)
    probabilities = rng.dirichlet(np.ones(3), size=(3 * repeats, 5))
    found = p_values(calibration, probabilities)
    for chip in range(5):
        for label in range(3):
            count = total = 0
            for member, score, own in zip(calibration.member, calibration.score, calibration.label, strict=True):
                if own == label:
                    total += 1
                    count += score >= 1 - probabilities[member, chip, label]
            assert found[chip, label] == pytest.approx((1 + count / repeats) / (1 + total / repeats))


def test_sets_of_exchangeable_chips_hold_the_true_class_as_often_as_promised_in_each_class():
    """One model that knows little: 1,000 studies of 3 classes with 15, 30 and 100 held-out chips."""
    rng = np.random.default_rng(2)
    counts, covered = np.array([15, 30, 100]), np.zeros((1000, 3))
    label = np.repeat(np.arange(3), counts)
    for study in range(1000):
        logits = rng.normal(size=(len(label) + 3, 3)) + 1.2 * np.eye(3)[[*label, 0, 1, 2]]
        probabilities = softmax(logits)
        known = probabilities[:-3]
        score = 1 - known[np.arange(len(label)), label]
        calibration = Calibration(np.zeros(len(label), int), np.arange(len(label)), label, score, 3)
        covered[study] = np.diag(p_values(calibration, probabilities[None, -3:])) > 0.1
    # The exact probability is ceil(0.9 (n + 1)) / (n + 1): between 0.9 and 0.9 + 1 / (n + 1).
    expected = np.ceil(0.9 * (counts + 1)) / (counts + 1)
    assert np.abs(covered.mean(axis=0) - expected).max() < 3.5 * np.sqrt(0.09 / 1000)


def test_a_class_with_too_few_held_out_chips_is_in_every_set():
    calibration = Calibration(np.zeros(8, int), np.arange(8), np.zeros(8, int), np.full(8, 0.1), 2)
    values = p_values(calibration, np.array([[[0.0, 1.0]]]))
    assert values[0].tolist() == [1 / 9, 1.0], "8 chips, none as strange; and no chip at all"


@pytest.mark.parametrize(
    ("n_chips", "coverage", "contains"),
    [
        *((8, 0.9, True), (9, 0.9, False), (3, 0.8, True), (4, 0.8, False)),
        *((18, 0.95, True), (19, 0.95, False), (98, 0.99, True), (99, 0.99, False)),
    ],
)
def test_a_class_of_which_every_held_out_chip_is_less_strange_is_in_sets_if_it_has_too_few(n_chips, coverage, contains):
    """Its p value is 1 / (n + 1). A tie with 1 − coverage, which floating-point numbers round, is outside."""
    calibration = Calibration(
        np.zeros(n_chips, int), np.arange(n_chips), np.zeros(n_chips, int), np.full(n_chips, 0.1), 2
    )
    assert in_sets(p_values(calibration, np.array([[[0.0, 1.0]]])), coverage).tolist() == [[contains, True]]


def test_held_out_values_use_no_chip_of_the_own_part():
    rng = np.random.default_rng(3)
    calibration = make_calibration(rng)
    probabilities = rng.dirichlet(np.ones(3), size=60)
    values = held_out_p_values(calibration, probabilities, calibration.member)
    for row in range(0, 60, 7):
        for label in range(3):
            others = (calibration.member != calibration.member[row]) & (calibration.label == label)
            count = (calibration.score[others] >= 1 - probabilities[row, label]).sum()
            assert values[row, label] == pytest.approx((1 + count) / (1 + others.sum()))


def test_softmax_of_huge_logits_is_finite():
    assert softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0]])).tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize(("counts", "coverage"), [((20,), 0.9), ((200,), 0.9), ((30, 57), 0.8), ((20, 200), 0.95)])
def test_the_coverage_of_new_chips_lies_in_the_expected_range(counts, coverage):
    """Scores are uniform, so that the share of new chips below a bound is the bound itself."""
    rng = np.random.default_rng(3)
    label = np.repeat(np.arange(len(counts)), counts)
    found = []
    for _ in range(3000):
        score = rng.random(len(label))
        of_classes = []
        for number, n in enumerate(counts):
            own = np.sort(score[label == number])[::-1]
            # A new chip is left out if fewer than m of its class are as strange; m / (n + 1) is at most 1 − goal.
            m = max(k for k in range(n + 1) if k / (n + 1) <= 1 - coverage + 1e-9)
            of_classes.append(own[m - 1] if m else 1.0)
        found.append(np.average(of_classes, weights=counts))
    low, high = expected_coverage(np.array(counts), coverage)
    assert np.quantile(found, [0.025, 0.975]) == pytest.approx([low, high], abs=0.012)
    assert np.mean((np.array(found) >= low) & (np.array(found) <= high)) == pytest.approx(0.95, abs=0.015)


def test_classes_of_few_chips_are_in_every_set_for_certain():
    assert expected_coverage(np.array([3, 8]), 0.9) == (1.0, 1.0)
