"""Scores of weighted chips against scikit-learn and scipy on chips that are really repeated."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import recall_score

from helpers.sklearn_scores import reference_scores
from terralucas.statistics import weighted_scores
from terralucas.tables.scores import RUN_SCORES

N_CLASSES = 4
NAMES = weighted_scores.score_names(range(N_CLASSES))


@pytest.fixture(scope="module")
def case():
    random = np.random.default_rng(5)
    labels = np.sort(np.concatenate([np.arange(N_CLASSES), random.integers(0, N_CLASSES, 196)]))
    logits = 2 * random.normal(size=(200, N_CLASSES))
    logits[np.arange(200), labels] += 1.5
    return labels, logits


def of_weights(labels, logits, weights):
    return dict(
        zip(
            NAMES,
            weighted_scores.scores(weights[None], labels, weighted_scores.chip_terms(labels, logits), N_CLASSES)[0],
            strict=True,
        )
    )


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_weight_is_a_repetition(case, seed):
    labels, logits = case
    weights = np.ones(200) if seed is None else np.random.default_rng(seed).integers(0, 4, 200).astype(float)
    rows = np.repeat(np.arange(200), weights.astype(int))
    ours, theirs = of_weights(labels, logits, weights), reference_scores(labels[rows], logits[rows])
    assert {name: ours[name] for name in RUN_SCORES} == pytest.approx({name: theirs[name] for name in RUN_SCORES})
    for name in weighted_scores.CLASS_SCORES:
        assert [ours[f"{name}:{index}"] for index in range(N_CLASSES)] == pytest.approx(theirs["per_class"][name])


def test_scores_beside_those_of_a_run(case):
    labels, logits = case
    ours = of_weights(labels, logits, np.ones(200))
    recall = recall_score(labels, logits.argmax(axis=1), average=None)
    assert ours["geometric_mean"] == pytest.approx(stats.gmean(recall))
    assert ours["worst_class_recall"] == pytest.approx(recall.min())


def test_classwise_calibration_by_its_definition(case):
    """Kull et al. (2019): in bins of each class's probability, mean probability beside share of the class."""
    labels, logits = case
    probabilities = softmax(logits, axis=1)
    total = 0.0
    for index in range(N_CLASSES):
        p, truth = probabilities[:, index], labels == index
        edges = np.linspace(0, 1, 16)
        for low, high in itertools.pairwise(edges):
            here = (p > low) & (p <= high)
            if here.any():
                total += here.sum() / 200 * abs(p[here].mean() - truth[here].mean())
    assert of_weights(labels, logits, np.ones(200))["classwise_ece"] == pytest.approx(total / N_CLASSES)


def test_a_class_without_chips_or_predictions_is_left_out_or_undefined():
    labels, logits = np.array([0, 0, 1, 1]), np.tile([[5.0, 0.0, 0.0, 0.0]], (4, 1))
    scores = of_weights(labels, logits, np.ones(4))
    assert (scores["macro_accuracy"], scores["micro_accuracy"]) == (0.5, 0.5)
    assert scores["macro_f1"] == pytest.approx((2 / 3) / 2)
    assert (scores["geometric_mean"], scores["worst_class_recall"], scores["mcc"]) == (0.0, 0.0, 0.0)
    assert np.isnan([scores["recall:2"], scores["precision:1"], scores["f1:2"]]).all()


def test_large_logits_do_not_overflow():
    scores = of_weights(np.array([0, 1]), np.array([[3e4, -3e4, 0, 0], [3e4, -3e4, 0, 0]]), np.ones(2))
    assert np.isfinite(scores["nll"])
