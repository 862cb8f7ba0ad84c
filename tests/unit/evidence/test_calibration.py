"""Calibration against scikit-learn's curves and temperature scaling, and what scaling may never change."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator

from helpers.predicted import study
from helpers.sklearn_scores import expected_calibration_error, reference_scores
from terralucas.evidence import calibration
from terralucas.statistics.seed_means import SeedDesign

DESIGN = SeedDesign(0.5, 0.95)


class Logits(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are its logits."""

    def __init__(self, n_classes=4):
        self.n_classes = n_classes

    def fit(self, inputs, labels):
        self.classes_ = np.arange(self.n_classes)
        return self

    def decision_function(self, inputs):
        return inputs

    def predict(self, inputs):
        return inputs.argmax(axis=1)


@pytest.fixture(scope="module")
def runs():
    return study(sharpness=3.0)


@pytest.fixture(scope="module")
def predicted(runs):
    labels = np.concatenate([run.test.labels for run in runs])
    return labels, softmax(np.concatenate([run.test.logits for run in runs]).astype(float), axis=1)


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_temperature_agrees_with_scikit_learn(runs):
    chips = runs[0].validation
    model = CalibratedClassifierCV(FrozenEstimator(Logits().fit(None, None)), method="temperature")
    model.fit(chips.logits.astype(np.float64), chips.labels)
    beta = model.calibrated_classifiers_[0].calibrators[0].beta_
    assert calibration.fit_temperature(chips.labels, chips.logits) == pytest.approx(1 / beta, rel=1e-3)


def test_sharpness_of_a_run_is_found_and_taken_back(runs):
    calm = study(sharpness=1.0)
    found = [calibration.fit_temperature(each.validation.labels, each.validation.logits) for each in (runs[0], calm[0])]
    assert found[0] == pytest.approx(3.0 * found[1], rel=1e-3)


def test_a_temperature_stays_within_its_bounds():
    labels = np.arange(12) % 3
    assert calibration.fit_temperature(labels, np.eye(3)[(labels + 1) % 3]) == pytest.approx(20, rel=0.01)


@pytest.mark.parametrize("margin", [0, 0.01, 1, 5, 10, 60])
def test_there_is_no_temperature_where_all_chips_are_right(margin):
    """The likelihood grows with 1 / T for ever, and is the same number for all T that are small enough."""
    labels = np.arange(100) % 3
    assert calibration.fit_temperature(labels, margin * np.eye(3)[labels]) == 1
    wrong = np.where(np.arange(100) == 0, (labels + 1) % 3, labels)
    # Of one wrong chip in 100: log(99 · 2) in place of the margin, because K - 1 = 2 classes share the rest.
    if margin:
        found = calibration.fit_temperature(labels, margin * np.eye(3)[wrong])
        assert found == pytest.approx(np.clip(margin / np.log(99 * 2), 0.05, 20), rel=0.05)


def test_scaling_never_changes_a_prediction(runs):
    _, after = calibration.scale_runs(runs)
    for run, logits in zip(runs, after, strict=True):
        for metric in ("macro_accuracy", "micro_accuracy"):
            assert (
                reference_scores(run.test.labels, logits)[metric]
                == reference_scores(run.test.labels, run.test.logits)[metric]
            )


def test_reliability_agrees_with_scikit_learn(predicted):
    labels, probabilities = predicted
    bins = [row for row in calibration.reliability(labels, probabilities) if row["n"]]
    hits = probabilities.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(hits, probabilities.max(axis=1), n_bins=15)
    assert [row["accuracy"] for row in bins] == pytest.approx(accuracy)
    assert [row["confidence"] for row in bins] == pytest.approx(confidence)
    gaps = [row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins]
    expected = pytest.approx(sum(gaps) / len(labels))
    assert calibration.calibration_scores(labels, np.log(probabilities))["ece"] == expected
    assert expected_calibration_error(labels, probabilities) == expected


def test_classwise_error_agrees_with_scikit_learns_curves(predicted):
    labels, probabilities = predicted
    errors = []
    for index in range(4):
        shares, means = calibration_curve(labels == index, probabilities[:, index], n_bins=15)
        sizes = np.histogram(probabilities[:, index], bins=np.linspace(0, 1, 16))[0]
        errors.append(np.sum(sizes[sizes > 0] * np.abs(shares - means)) / len(labels))
    assert calibration.calibration_scores(labels, np.log(probabilities))["classwise_ece"] == pytest.approx(
        np.mean(errors)
    )


def test_scaling_makes_an_overconfident_study_honest(runs):
    table = calibration.temperature_table(runs, 0)
    assert (table["temperature"] > 1.0).all()
    summary = calibration.summary_table(table, DESIGN).set_index(["loss", "metric", "stage"])["mean"]
    for loss in ("ce", "focal"):
        for metric in ("nll", "ece"):
            change = summary[loss, metric, "after_minus_before"]
            assert change < 0
            assert change == pytest.approx(summary[loss, metric, "after"] - summary[loss, metric, "before"])


def test_scores_before_scaling_are_those_of_the_run(runs):
    table = calibration.temperature_table(runs, 0)
    for row, run in zip(table.to_dict("records"), runs, strict=True):
        scores = reference_scores(run.test.labels, run.test.logits)
        assert [row[f"{name}_before"] for name in ("nll", "brier", "ece")] == pytest.approx(
            [scores[name] for name in ("nll", "brier", "ece")]
        )


def test_the_reliability_table_pools_all_seeds(runs):
    table = calibration.reliability_table(runs, calibration.scale_runs(runs)[0])
    assert len(table) == 2 * 2 * 15
    assert (table.groupby(["loss", "stage"])["n"].sum() == 100).all(), "every chip is tested once"
    assert table.loc[table["n"] == 0, "accuracy"].isna().all()


def class_error(labels, probabilities):
    """Compute Kull et al. (2019), eq. 2, bin by bin, with each bin's lower bound excluded."""
    total = 0.0
    for k, column in enumerate(probabilities.T):
        for bin_number in range(15):
            inside = (column > bin_number / 15) & (column <= (bin_number + 1) / 15)
            total += abs((column[inside] - (labels[inside] == k)).sum())
    return total / probabilities.size


def test_calibrated_errors_are_the_mean_over_labels_drawn_from_the_probabilities(runs):
    logits = runs[0].test.logits
    found = calibration.calibrated_scores(logits, np.random.default_rng(3), draws=7)
    random, probabilities = np.random.default_rng(3), softmax(logits.astype(float), axis=1)
    drawn = [(random.random((len(logits), 1)) > probabilities.cumsum(axis=1)[:, :-1]).sum(axis=1) for _ in range(7)]
    assert found["ece"] == pytest.approx(np.mean([reference_scores(labels, logits)["ece"] for labels in drawn]))
    assert found["classwise_ece"] == pytest.approx(np.mean([class_error(labels, probabilities) for labels in drawn]))
