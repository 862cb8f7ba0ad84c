"""Moran's I of correctness, against esda's formula written out and against fields with a known correlation."""

import itertools

import numpy as np
import pandas as pd
import pytest

from terralucas.evidence.spatial_correlation import DISTANCES_KM, correlation_table
from terralucas.statistics.run_predictions import Part, RunPredictions

NAMES = {"backbone": "tiny", "loss": "ce", "decoder": "mlp"}


def run(labels, hits, seed=0):
    """A run that is right where hits is 1."""
    wanted = np.where(hits, labels, (labels + 1) % 2)
    part = Part(np.arange(len(labels)), labels, np.eye(2)[wanted].astype(np.float32))
    return RunPredictions({**NAMES, "seed": seed}, part, part)


def test_it_is_the_mean_product_of_pairs_of_one_class():
    random = np.random.default_rng(0)
    places = random.uniform(0, 60_000, (80, 2))
    labels, hits = np.repeat([0, 1], 40), random.random(80) < 0.5
    table = correlation_table([run(labels, hits)], places, 0.95, 1)
    values = hits - np.array([hits[labels == label].mean() for label in labels])
    for row, (low, high) in zip(table.to_dict("records"), itertools.pairwise(DISTANCES_KM), strict=True):
        pairs = [
            (i, j)
            for i, j in itertools.combinations(range(80), 2)
            if labels[i] == labels[j] and low <= np.hypot(*(places[i] - places[j])) / 1000 < high
        ]
        assert row["n_pairs"] == len(pairs)
        if len(pairs) >= 30:
            expected = np.mean([values[i] * values[j] for i, j in pairs]) / np.mean(values**2)
            assert row["moran_i"] == pytest.approx(expected)


def test_patches_are_correlated_and_chance_is_not():
    random = np.random.default_rng(1)
    places = random.uniform(0, 200_000, (600, 2))
    labels = np.zeros(600, int)
    patches = (np.floor(places / 20_000).sum(axis=1) % 2).astype(bool)
    correlated = correlation_table([run(labels, patches)], places, 0.95, 1)
    near = correlated.iloc[0]
    assert near["moran_i"] > 0.6
    assert near["p_value"] == pytest.approx(1 / 200)
    chance = [
        correlation_table([run(labels, np.random.default_rng(s).random(600) < 0.5)], places, 0.95, 1).iloc[0]
        for s in range(20)
    ]
    inside = [row["independent_low"] <= row["moran_i"] <= row["independent_high"] for row in chance]
    assert sum(inside) >= 16  # P(fewer) < 0.001 at a level of 95 %


def test_without_places_there_are_no_rows():
    labels = np.array([0, 1, 0, 1])
    places = np.full((4, 2), np.nan)
    assert correlation_table([run(labels, labels == 0)], places, 0.95, 1).empty


def test_the_same_seed_gives_the_same_table():
    random = np.random.default_rng(2)
    places, labels = random.uniform(0, 30_000, (60, 2)), np.repeat([0, 1], 30)
    runs = [run(labels, random.random(60) < 0.5)]
    pd.testing.assert_frame_equal(*(correlation_table(runs, places, 0.95, 3) for _ in range(2)))
