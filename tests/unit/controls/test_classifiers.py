"""Controls: what each predicts, by scikit-learn or by hand, and how its setting is chosen."""

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from terralucas.controls import classifiers
from terralucas.controls.classifiers import ControlData, fit_control
from terralucas.errors import StudyError

COUNTS = (90, 45, 15)
TRAIN, CHOOSING = np.arange(0, 150, 2), np.arange(1, 150, 4)


def chips(width=5, separation=1.0, seed=0):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    centres = separation * random.normal(size=(len(COUNTS), width))
    return ControlData(centres[labels] + random.normal(size=(150, width)), labels, TRAIN, CHOOSING, len(COUNTS))


def fit(name, data, monitor="macro_accuracy", seed=0):
    return fit_control(name, data, monitor, seed)


@pytest.mark.parametrize("name", ["majority", "band_statistics", "centre_spectrum", "knn/tiny", "logistic/tiny"])
def test_predictions_are_finite_probabilities_of_every_chip(name):
    fitted = fit(name, chips())
    assert fitted.log_probabilities.shape == (150, 3)
    assert np.isfinite(fitted.log_probabilities).all()
    assert logsumexp(fitted.log_probabilities, axis=1) == pytest.approx(0.0, abs=1e-9)
    again = fit(name, chips())
    assert np.array_equal(again.log_probabilities, fitted.log_probabilities)


def test_majority_says_the_shares_of_the_training_chips():
    data = chips()
    fitted = fit("majority", data)
    shares = np.bincount(data.labels[TRAIN]) / len(TRAIN)
    assert np.exp(fitted.log_probabilities) == pytest.approx(np.tile(shares, (150, 1)))


@pytest.mark.parametrize("name", ["band_statistics", "knn/tiny", "logistic/tiny", "centre_spectrum"])
def test_the_setting_is_the_best_on_the_choosing_chips_and_of_equal_ones_the_simplest(name):
    data = chips()
    fitted = fit(name, data)
    ((_, value),) = fitted.setting.items()
    assert value == max(fitted.scores, key=fitted.scores.get), "the first of the best, and the simplest come first"
    predicted = fitted.log_probabilities[CHOOSING].argmax(axis=1)
    assert fitted.scores[value] == pytest.approx(balanced_accuracy_score(data.labels[CHOOSING], predicted))
    micro = fit(name, data, monitor="micro_accuracy")
    ((_, value),) = micro.setting.items()
    assert micro.scores[value] == np.mean(micro.log_probabilities[CHOOSING].argmax(axis=1) == data.labels[CHOOSING])


def test_logistic_regression_is_at_its_optimum_with_balanced_weights():
    """The gradient of Σ w −log p + |b|² / 2C, in the standardised inputs, is zero (Hastie et al., ESL, §4.4)."""
    data = chips()
    fitted = fit("logistic/tiny", data)
    inputs = StandardScaler().fit(data.inputs[TRAIN]).transform(data.inputs[TRAIN])
    truth = np.eye(3)[data.labels[TRAIN]]
    weights = (len(TRAIN) / (3 * truth.sum(axis=0)))[data.labels[TRAIN]]
    logits = fitted.log_probabilities[TRAIN]
    slopes = np.linalg.lstsq(np.column_stack([inputs, np.ones(len(TRAIN))]), logits - logits[:, :1], rcond=None)[0]
    slopes -= slopes.mean(axis=1, keepdims=True)
    pull = inputs.T @ (weights[:, None] * (truth - np.exp(logits)))
    assert pull == pytest.approx(slopes[:-1] / fitted.setting["C"], abs=0.02)


def test_neighbours_and_trees_decide_as_scikit_learn_does():
    data = chips()
    scaler = StandardScaler().fit(data.inputs[TRAIN])
    knn = fit("knn/tiny", data)
    plain = KNeighborsClassifier(knn.setting["k"]).fit(scaler.transform(data.inputs[TRAIN]), data.labels[TRAIN])
    assert np.array_equal(knn.log_probabilities.argmax(axis=1), plain.predict(scaler.transform(data.inputs)))
    forest = fit("centre_spectrum", data)
    accuracy = np.mean(forest.log_probabilities.argmax(axis=1) == data.labels)
    other = RandomForestClassifier(300, min_samples_leaf=forest.setting["min_samples_leaf"], random_state=9)
    other.fit(data.inputs[TRAIN], data.labels[TRAIN])
    assert accuracy == pytest.approx(other.score(data.inputs, data.labels), abs=0.1)


def test_no_class_is_impossible_after_a_vote():
    fitted = fit("knn/tiny", chips(separation=20.0))
    k = fitted.setting["k"]
    assert np.exp(fitted.log_probabilities).min() == pytest.approx(1 / 3 / (k + 1))


def test_a_missing_centre_pixel_is_the_training_median():
    data = chips()
    gaps = data.inputs.copy()
    gaps[5], gaps[6, 2] = np.nan, np.nan
    filled = gaps.copy()
    medians = np.nanmedian(gaps[TRAIN], axis=0)
    filled[5], filled[6, 2] = medians, medians[2]
    one, other = (
        fit("centre_spectrum", ControlData(inputs, data.labels, TRAIN, CHOOSING, 3)).log_probabilities
        for inputs in (gaps, filled)
    )
    assert np.array_equal(one, other)


def test_the_seed_draws_the_forest_alone():
    data = chips()
    forests = [fit("centre_spectrum", data, seed=seed).log_probabilities for seed in (0, 1)]
    assert not np.array_equal(*forests)
    regressions = [fit("band_statistics", data, seed=seed).log_probabilities for seed in (0, 1)]
    assert np.array_equal(*regressions)


def test_two_classes():
    data = chips()
    two = ControlData(data.inputs, np.minimum(data.labels, 1), TRAIN, CHOOSING, 2)
    fitted = fit("logistic/tiny", two)
    assert fitted.log_probabilities.shape == (150, 2)
    assert np.mean(fitted.log_probabilities.argmax(axis=1) == two.labels) > 0.6


def test_more_iterations_are_tried_before_a_setting_is_left_out(monkeypatch, caplog):
    usual = fit("logistic/tiny", chips())
    monkeypatch.setattr(classifiers, "_ITERATIONS", (2, 1000))
    assert fit("logistic/tiny", chips()).setting == usual.setting
    monkeypatch.setattr(classifiers, "_ITERATIONS", (1, 2))
    with pytest.raises(StudyError, match="converged with none"):
        fit("logistic/tiny", chips())
    assert "did not converge with C 100" in caplog.text


def test_more_neighbours_than_training_chips_are_not_tried():
    data = chips()
    few = ControlData(data.inputs, data.labels, TRAIN[:20], CHOOSING, 3)
    assert max(fit("knn/tiny", few).scores) == 15


def test_a_class_without_training_chips_is_refused():
    data = chips()
    with pytest.raises(StudyError, match="lacks a class"):
        fit("majority", ControlData(data.inputs, data.labels, TRAIN, CHOOSING, 4))
