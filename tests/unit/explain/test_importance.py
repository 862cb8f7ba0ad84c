"""Permutation importance: in worlds where one band decides, and against scikit-learn."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance as sklearn_importance

from terralucas.errors import StudyError
from terralucas.explain.importance import (
    Sampling,
    band_sets,
    count_passes,
    partners,
    permutation_importance,
    stratified_sample,
    summarise,
)
from terralucas.statistics.run_predictions import Part

BANDS = ["BLUE", "RED", "NIR_NARROW", "SWIR_1"]
SAMPLING = Sampling(chips=1000, permutations=5, batch_size=16, threads=2)
# Rows of the test chips in an index of more chips.
ROWS = 10 + 2 * np.arange(60)


@pytest.fixture
def world():
    """60 test chips of 3 classes; the means of RED and, less, of SWIR_1 know the class, the other bands do not."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    chips = random.normal(0, 0.02, (60, 4, 4, 4)) + random.normal(0, 0.5, (60, 4, 1, 1))
    chips[:, 1] += 1.5 * labels[:, None, None]
    chips[:, 3] += 0.5 * labels[:, None, None]
    return labels, chips, Part(ROWS, labels, np.zeros((60, 3), dtype=np.float32))


def logits_of(means):
    """A linear classifier of the means of the bands; it ignores BLUE and NIR_NARROW."""
    value = 2.0 * means[:, 1] + means[:, 3]
    return np.stack([-2 * np.abs(value - 3.5 * label) for label in range(3)], axis=1)


def predict(chips):
    return logits_of(chips.mean(axis=(2, 3)))


def importance(world, **options):
    _, chips, test = world
    rows = permutation_importance(
        predict, lambda row: chips[(row - 10) // 2], test, BANDS, 3, replace(SAMPLING, **options)
    )
    return pd.DataFrame(rows).set_index(["kind", "name", "metric"])


class Classifier(ClassifierMixin, BaseEstimator):
    classes_ = np.array([0, 1, 2])

    def fit(self, features, labels):
        return self

    def predict_proba(self, features):
        powers = np.exp(logits_of(features))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict(self, features):
        return logits_of(features).argmax(axis=1)


def test_it_is_that_of_scikit_learn(world):
    """Means over many permutations, whose standard errors are below 0.005 (accuracies) and 0.01 (NLL)."""
    labels, chips, _ = world
    scoring = {"macro_accuracy": "balanced_accuracy", "micro_accuracy": "accuracy", "nll": "neg_log_loss"}
    found = importance(world, permutations=200)["loss"]
    expected = sklearn_importance(
        Classifier(), chips.mean(axis=(2, 3)), labels, scoring=list(scoring.values()), n_repeats=200, random_state=0
    )
    # A permutation of scikit-learn leaves one chip of 60 with its own band, on average.
    others = 60 / 59
    for metric, name in scoring.items():
        ours = [found["band", band, metric] for band in BANDS]
        assert ours == pytest.approx(others * expected[name].importances_mean, abs=0.06 if metric == "nll" else 0.02), (
            metric
        )
    assert expected["accuracy"].importances_mean[1] > 0.3, "the comparison is about something"


def test_a_band_that_decides_has_a_loss_and_one_that_is_ignored_has_none(world):
    found = importance(world)
    assert found.loc[("band", "RED", "macro_accuracy"), "loss"] > 0.3
    assert found.loc[("band", "RED", "nll"), "loss"] > 1
    ignored = found.loc[
        [("band", band, metric) for band in ("BLUE", "NIR_NARROW") for metric in ("micro_accuracy", "nll")]
    ]
    assert ignored["loss"].abs().max() == 0
    assert found.loc[("group", "visible", "nll"), "loss"] == found.loc[("band", "RED", "nll"), "loss"]


def test_the_spatial_pattern_of_a_band_is_kept(world):
    _, chips, test = world
    seen = []

    def look(batch):
        seen.append(batch.copy())
        return predict(batch)

    permutation_importance(
        look, lambda row: chips[(row - 10) // 2], test, BANDS, 3, replace(SAMPLING, permutations=1, batch_size=60)
    )
    assert len(seen) == 1 + 4 + 1, "unchanged, four bands, and the only group of several bands"
    whole = {band.tobytes() for chip in chips for band in chip}
    assert all(band.tobytes() in whole for batch in seen for chip in batch for band in chip)
    changed = [tuple((batch != seen[0]).any(axis=(0, 2, 3)).tolist()) for batch in seen[1:]]
    assert changed[0] == (True, True, False, False), "the visible bands together"
    assert sorted(map(sum, changed)) == [1, 1, 1, 1, 2]
    visible = seen[1]
    assert {chip[:2].tobytes() for chip in visible} <= {chip[:2].tobytes() for chip in chips}, "both of the same chip"


def test_only_test_chips_of_the_model_are_read(world):
    _, chips, test = world
    read = []

    def remember(row):
        read.append(row)
        return chips[(row - 10) // 2]

    permutation_importance(predict, remember, test, BANDS, 3, replace(SAMPLING, chips=20))
    assert set(read) <= set(ROWS.tolist())
    assert len(set(read)) > 20, "bands come from all test chips, and not from the predicted ones alone"


def test_a_chip_never_gets_its_bands_from_itself():
    """The classifier knows two chips by their RED; with the band of the other one, both get the wrong class."""
    labels = np.array([0, 1])
    chips = np.zeros((2, 4, 2, 2)) + np.array([0.0, 3.5 / 2])[:, None, None, None]
    test = Part(np.arange(2), labels, np.zeros((2, 3), dtype=np.float32))
    red = lambda batch: logits_of(batch.mean(axis=(2, 3)) * [0, 1, 0, 0])  # noqa: E731
    rows = permutation_importance(red, lambda row: chips[row], test, BANDS, 0, replace(SAMPLING, permutations=20))
    (of_red,) = [row for row in rows if (row["name"], row["metric"]) == ("RED", "micro_accuracy")]
    assert (of_red["score"], of_red["loss"], of_red["sd_permutations"]) == (1, 1, 0)


@pytest.mark.parametrize("n_chips", [2, 3, 11])
def test_each_chip_is_the_partner_of_another_one_and_all_others_are_as_probable(n_chips):
    draws = np.array([partners(n_chips, np.random.default_rng(seed)) for seed in range(2000)])
    assert (np.sort(draws, axis=1) == np.arange(n_chips)).all()
    counts = np.array([np.bincount(draws[:, chip], minlength=n_chips) for chip in range(n_chips)])
    assert (np.diag(counts) == 0).all()
    expected = 2000 / (n_chips - 1)
    # Five standard deviations of a count.
    assert np.abs(counts - expected)[~np.eye(n_chips, dtype=bool)].max() <= 5 * np.sqrt(expected)


def test_one_test_chip_has_no_other_chip():
    test = Part(np.arange(1), np.array([0]), np.zeros((1, 3), dtype=np.float32))
    with pytest.raises(StudyError, match="a model with 1 test chip"):
        permutation_importance(predict, lambda row: np.zeros((4, 2, 2)), test, BANDS, 0, SAMPLING)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(world):
    first, again = importance(world), importance(world, batch_size=7)
    pd.testing.assert_frame_equal(first, again)
    _, chips, test = world
    other = permutation_importance(predict, lambda row: chips[(row - 10) // 2], test, BANDS, 4, SAMPLING)
    assert pd.DataFrame(other)["loss"].tolist() != first["loss"].tolist()


def test_a_sample_keeps_rare_classes():
    labels = np.repeat([0, 1, 2, 3], [500, 100, 12, 3])
    chosen = stratified_sample(labels, 60, np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [23, 22, 12, 3]
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert stratified_sample(labels, 700, np.random.default_rng(0)).tolist() == list(range(615))


def test_scores_of_a_sample_are_those_of_all_test_chips():
    """A classifier that is right for all chips of class 0 and wrong for all others: 30 of 60 chips, 1 of 3 classes."""
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    test = Part(np.arange(60), labels, np.zeros((60, 3), dtype=np.float32))
    always_first = lambda chips: np.tile([2.0, 0.0, 0.0], (len(chips), 1))  # noqa: E731
    rows = permutation_importance(
        always_first, lambda row: np.zeros((4, 2, 2)), test, BANDS, 0, replace(SAMPLING, chips=15)
    )
    scores = {row["metric"]: row["score"] for row in rows}
    assert scores["micro_accuracy"] == pytest.approx(30 / 60)
    assert scores["macro_accuracy"] == pytest.approx(1 / 3)
    others = np.log(np.exp(2) + 2)
    assert scores["nll"] == pytest.approx((30 * (others - 2) + 30 * others) / 60)
    assert {row["chips"] for row in rows} == {15}
    assert {row["test_chips"] for row in rows} == {60}


def test_the_bar_counts_what_passes_through_the_model(world):
    _, chips, test = world
    passed = []
    permutation_importance(predict, lambda row: chips[(row - 10) // 2], test, BANDS, 3, SAMPLING, passed.append)
    assert sum(passed) == count_passes(60, BANDS, SAMPLING.permutations)


def test_groups_are_of_the_bands_that_a_study_has():
    sets = {each.name: each.positions for each in band_sets(["SWIR_2", "RED_EDGE_1", "BLUE", "SWIR_1"])}
    assert sets == {
        "visible": (2,), "red edge": (1,), "short-wave infrared": (0, 3),
        "SWIR_2": (0,), "RED_EDGE_1": (1,), "BLUE": (2,), "SWIR_1": (3,),
    }  # fmt: skip


def test_the_summary_is_the_mean_over_seeds_with_their_spread():
    names = {"kind": "band", "name": "RED", "bands": "RED", "metric": "nll", "permutations": 4, "chips": 20}
    rows = [
        names | {"seed": seed, "score": 1.0, "loss": loss, "sd_permutations": 0.2, "test_chips": 30}
        for seed, loss in enumerate([0.1, 0.3, 0.5])
    ]
    (found,) = summarise(pd.DataFrame(rows)).to_dict("records")
    assert found["loss"] == pytest.approx(0.3)
    assert found["sd_seeds"] == pytest.approx(0.2)
    assert (found["lowest"], found["highest"]) == (0.1, 0.5)
    assert found["se_permutations"] == pytest.approx(0.2 / np.sqrt(12))
    assert (found["n_seeds"], found["permutations"], found["chips"], found["test_chips"]) == (3, 4, 60, 90)
