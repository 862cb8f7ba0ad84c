"""Intervals in blocks of ground: wide where a block is right or wrong together, absent where blocks are few."""

import numpy as np
import pytest

from terralucas.statistics.contrasts import simple_contrasts
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.spatial_intervals import spatial_table

RECIPES = [("tiny", "ce", "mlp"), ("tiny", "focal", "mlp")]


def study(n_blocks, per_block, together):
    """Five folds of two equal classes; with `together` all chips of a block are right or wrong at once."""
    blocks = np.repeat(np.arange(n_blocks), per_block)
    labels = np.tile([0, 1], len(blocks) // 2)
    fold = blocks % 5

    def load(recipe):
        random = np.random.default_rng(RECIPES.index(recipe))
        hits = random.random(n_blocks)[blocks] < 0.7 if together else random.random(len(blocks)) < 0.7
        logits = np.eye(2)[np.where(hits, labels, 1 - labels)]
        tests = {seed: np.flatnonzero(fold == seed) for seed in range(5)}
        return {seed: Part(chips, labels[chips], logits[chips]) for seed, chips in tests.items()}

    return load, blocks


def table(load, blocks, folder):
    asked = simple_contrasts(RECIPES, ("loss", "focal", "ce"))
    return spatial_table(RECIPES, asked, load, 0.25, {50.0: blocks}, 2, 0.95, 1000, 0, folder)


def width(rows, metric="micro_accuracy", contrast=""):
    row = rows[(rows["metric"] == metric) & (rows["contrast"] == contrast)].iloc[0]
    return row["high"] - row["low"]


def test_the_interval_is_that_of_the_share_of_independent_blocks(tmp_path):
    """With all chips of a block alike, 100 blocks count as 100 chips: p (1 − p) / 100."""
    load, blocks = study(100, 20, together=True)
    rows = table(load, blocks, tmp_path)
    share = rows[(rows["metric"] == "micro_accuracy") & (rows["contrast"] == "")]["estimate"].iloc[0]
    expected = 2 * 1.96 * np.sqrt(share * (1 - share) / 100)
    assert width(rows) == pytest.approx(expected, rel=0.25)
    single, _ = study(100, 20, together=False)
    assert width(rows) > 2.0 * width(table(single, blocks, tmp_path))
    assert set(rows["n_blocks"]) == {100}
    assert width(rows, contrast="focal − ce") > 0


def test_few_blocks_give_no_interval(tmp_path):
    load, blocks = study(15, 20, together=True)
    assert table(load, blocks, tmp_path).empty
