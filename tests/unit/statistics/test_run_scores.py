"""Scores against torchmetrics, which the project's own code does not use for them."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from helpers.sklearn_scores import reference_scores
from terralucas.statistics.run_scores import evaluate
from terralucas.tables.scores import RUN_SCORES


@pytest.fixture(scope="module")
def case():
    random = np.random.default_rng(5)
    labels = np.concatenate([np.arange(4), random.integers(0, 4, 196)])
    logits = random.normal(size=(200, 4)) * 2
    logits[np.arange(200), labels] += 1.5
    return labels, logits.astype(np.float32)


def test_against_torchmetrics(case):
    from torchmetrics.functional import classification as tm

    labels, logits = case
    scores = evaluate(labels, logits)
    x, y = torch.from_numpy(softmax(logits.astype(np.float64), axis=1)), torch.from_numpy(labels)
    expected = {
        "macro_accuracy": tm.multiclass_accuracy(x, y, 4, average="macro"),
        "micro_accuracy": tm.multiclass_accuracy(x, y, 4, average="micro"),
        "macro_f1": tm.multiclass_f1_score(x, y, 4, average="macro"),
        "mcc": tm.multiclass_matthews_corrcoef(x, y, 4),
        "cohen_kappa": tm.multiclass_cohen_kappa(x, y, 4),
        "nll": torch.nn.functional.nll_loss(x.log(), y),
        "brier": ((x - torch.nn.functional.one_hot(y, 4)) ** 2).sum(dim=1).mean(),
        "ece": tm.multiclass_calibration_error(x, y, 4, n_bins=15, norm="l1"),
    }
    assert tuple(expected) == RUN_SCORES
    for name, value in expected.items():
        assert scores[name] == pytest.approx(float(value), abs=1e-6), name
    recall = tm.multiclass_recall(x, y, 4, average="none").tolist()
    assert scores["per_class"]["recall"] == pytest.approx(recall, abs=1e-6)
    assert np.array_equal(scores["confusion"], tm.multiclass_confusion_matrix(x, y, 4).numpy())


def test_a_class_never_predicted_has_no_precision_but_counts_as_zero_in_macro_f1():
    labels = np.array([0, 0, 1, 1])
    logits = np.tile([[5.0, 0.0]], (4, 1))
    scores = evaluate(labels, logits)
    assert scores["per_class"]["precision"] == [0.5, None]
    assert scores["per_class"]["recall"] == [1.0, 0.0]
    assert scores["macro_f1"] == pytest.approx((2 / 3) / 2)
    assert scores["macro_accuracy"] == 0.5


def test_against_scikit_learn(case):
    ours, theirs = evaluate(*case), reference_scores(*case)
    assert ours.keys() == theirs.keys()
    assert {name: ours[name] for name in RUN_SCORES} == pytest.approx({name: theirs[name] for name in RUN_SCORES})
    assert ours["confusion"] == theirs["confusion"]
    for name, values in theirs["per_class"].items():
        assert ours["per_class"][name] == pytest.approx(values), name


def test_perfect_and_certain():
    labels = np.arange(3)
    scores = evaluate(labels, np.eye(3) * 100)
    assert scores["macro_accuracy"] == scores["micro_accuracy"] == scores["mcc"] == 1.0
    assert scores["nll"] == pytest.approx(0, abs=1e-9)
    assert scores["brier"] == pytest.approx(0, abs=1e-9)


def test_calibration_error_by_hand():
    # Confidence 0.9 and right, 0.6 and wrong: (0.1 + 0.6) / 2.
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    assert evaluate(np.array([0, 1]), np.log(probabilities))["ece"] == pytest.approx(0.35)


def test_large_logits_do_not_overflow():
    scores = evaluate(np.array([0, 1]), np.array([[3e4, -3e4], [3e4, -3e4]], dtype=np.float32))
    assert np.isfinite(scores["nll"])
