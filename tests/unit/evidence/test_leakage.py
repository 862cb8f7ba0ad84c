"""Shared ground: against every pair of squares, and Wilson's limits against scipy's."""

import numpy as np
import pytest
from scipy.stats import binomtest
from shapely import box

from helpers.predicted import study
from terralucas.evidence import leakage

N = 100
SIDE = 6720.0


@pytest.fixture(scope="module")
def places():
    return 2000.0 * np.random.default_rng(0).integers(0, 30, size=(N, 2))


@pytest.fixture(scope="module")
def parts():
    fold = np.arange(N) % 3
    validation = {seed: (fold == (seed + 1) % 3) & (np.arange(N) % 2 == 0) for seed in range(3)}
    return {
        seed: np.where(fold == seed, "test", np.where(validation[seed], "validation", "train")) for seed in range(3)
    }


def test_distances_and_overlaps_are_those_of_all_pairs(places, parts):
    nearest = leakage.nearest_training(places, parts[0], SIDE)
    training = places[parts[0] == "train"]
    assert nearest.chips.tolist() == np.flatnonzero(parts[0] == "test").tolist()
    every = np.linalg.norm(places[nearest.chips][:, None] - training[None], axis=2)
    assert nearest.distance_m == pytest.approx(every.min(axis=1))
    squares = [box(x - SIDE / 2, y - SIDE / 2, x + SIDE / 2, y + SIDE / 2) for x, y in places]
    shared = [
        any(squares[chip].intersection(squares[other]).area > 0 for other in np.flatnonzero(parts[0] == "train"))
        for chip in nearest.chips
    ]
    assert nearest.overlaps.tolist() == shared
    assert 0 < sum(shared) < len(shared)


def test_squares_that_only_touch_share_no_ground():
    places = np.array([[0.0, 0.0], [1000.0, 500.0], [0.0, 999.0]])
    parts = np.array(["train", "test", "test"])
    assert leakage.nearest_training(places, parts, 1000.0).overlaps.tolist() == [False, True]


def test_the_table_counts_overlaps_seed_by_seed(places, parts):
    table = leakage.overlap_table(places, parts, SIDE)
    assert table["seed"].tolist() == [0, 1, 2]
    for row in table.itertuples():
        nearest = leakage.nearest_training(places, parts[row.seed], SIDE)
        assert (row.n_test, row.n_overlapping) == (len(nearest.chips), nearest.overlaps.sum())
        assert row.share_overlapping == row.n_overlapping / row.n_test
        assert row.n_train == (parts[row.seed] == "train").sum()
    far = leakage.overlap_table(1e6 * np.arange(2 * N).reshape(N, 2).astype(float), parts, SIDE)
    assert (far["share_overlapping"] == 0).all()


def test_scores_by_distance_pool_all_seeds(places, parts):
    runs = study()
    table = leakage.distance_table(runs, places, parts, SIDE, 0.9)
    micro = table[(table["loss"] == "ce") & (table["metric"] == "micro_accuracy")]
    assert micro["n"].sum() == N
    chosen = micro[micro["n"] > 0].iloc[0]
    hits, labels = [], []
    for run in runs[:3]:
        nearest = leakage.nearest_training(places, parts[run.names["seed"]], SIDE)
        inside = (nearest.distance_m >= chosen["distance_m_low"]) & (nearest.distance_m < chosen["distance_m_high"])
        hits += (run.test.logits.argmax(axis=1) == run.test.labels)[inside].tolist()
        labels += run.test.labels[inside].tolist()
    assert chosen["value"] == pytest.approx(np.mean(hits))
    limits = binomtest(sum(hits), len(hits)).proportion_ci(0.9, "wilson")
    assert (chosen["ci_low"], chosen["ci_high"]) == pytest.approx((limits.low, limits.high))
    macro = table[(table["loss"] == "ce") & (table["metric"] == "macro_accuracy")].loc[chosen.name - 1]
    recalls = [np.mean(np.array(hits)[np.array(labels) == label]) for label in set(labels)]
    assert macro["value"] == pytest.approx(np.mean(recalls))
    assert macro["n_classes"] == len(recalls)
    assert micro.loc[micro["n"] == 0, "value"].isna().all()


def test_chips_that_several_seeds_test_count_once_for_the_interval(places, parts):
    """One test part for all seeds: three times the predictions, but no more chips."""
    runs = [run for run in study() if run.names["seed"] == 0]
    again = [type(run)(run.names | {"seed": seed}, run.test, run.validation) for run in runs for seed in range(3)]
    shared = dict.fromkeys(range(3), parts[0])
    once, thrice = (leakage.distance_table(each, places, shared, SIDE, 0.95) for each in (runs, again))
    assert (thrice["n"] == 3 * once["n"]).all()
    assert thrice[["value", "n_chips", "ci_low", "ci_high"]].equals(once[["value", "n_chips", "ci_low", "ci_high"]])


def test_without_coordinates_there_are_no_rows(parts):
    nowhere = np.full((N, 2), np.nan)
    assert not leakage.has_places(nowhere)
    assert leakage.overlap_table(nowhere, parts, SIDE).empty
    table = leakage.distance_table(study(), nowhere, parts, SIDE, 0.95)
    assert table.empty
    assert {"distance_m_low", "n", "value"} <= set(table.columns)
