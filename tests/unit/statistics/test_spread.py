"""Scores that do not vary, up to rounding: no interval, no test, no power."""

import numpy as np
import pandas as pd
import pytest

from helpers.small_study import score_recipe
from terralucas.statistics.best_pair import best_pair_table
from terralucas.statistics.comparison import _needs, observed_spreads
from terralucas.statistics.contrasts import Contrast, contrasts_table, contrasts_training
from terralucas.statistics.intervals import corrected_t
from terralucas.statistics.mixed_model import mixed_model_table
from terralucas.statistics.power import smallest_difference
from terralucas.statistics.recipe_scores import scores_table
from terralucas.statistics.resampling import combine, make_design
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.training_variance import SeedScores, training_variances
from terralucas.tables.scores import MAIN_SCORES
from terralucas.tables.vocabulary import CELL, INCONCLUSIVE

PAIR = ("tiny", "ce", "mlp"), ("tiny", "focal", "mlp")
CONTRAST = Contrast("ce − focal", "all", CELL, dict(zip(PAIR, (1.0, -1.0), strict=True)))
SIZES = [(3, 3), (3, 5), (7, 5), (10, 3)]


def folds(n_classes, seeds, known, per_class=4, logit=3.0):
    """Runs of disjoint folds: chips of the `known` classes are always right, all others get the first class."""
    labels = np.repeat(np.arange(n_classes), per_class)
    logits = np.zeros((len(labels), n_classes), dtype=np.float32)
    logits[np.arange(len(labels)), np.where(labels < known, labels, 0)] = logit
    return {seed: Part(np.arange(len(labels)) + seed * len(labels), labels, logits) for seed in range(seeds)}


def scored(n_classes, seeds, *known, **options):
    """The design, and the Scores of a recipe for each number of known classes."""
    runs = [folds(n_classes, seeds, each, **options) for each in known]
    design = make_design(runs[0], n_classes, 1 / (seeds - 1))
    return design, dict(zip(PAIR, (score_recipe(design, each, 500, 1) for each in runs), strict=False))


@pytest.mark.parametrize(("n_classes", "seeds"), SIZES)
@pytest.mark.parametrize("known", [1, 2])
def test_a_difference_that_never_varies_has_no_interval_and_no_verdict(n_classes, seeds, known):
    """Always right against a constant: rounding gave some of these intervals without width and p < 0.001."""
    design, scores = scored(n_classes, seeds, n_classes, known)
    training = contrasts_training(design, [CONTRAST], scores.__getitem__)
    margins = dict.fromkeys(MAIN_SCORES, 0.02)
    table = contrasts_table(design, [CONTRAST], scores.__getitem__, training, margins, 0.95).set_index("metric")
    rows = table.loc[list(MAIN_SCORES)]
    empty = [
        "crossed_low",
        "crossed_high",
        "bca_low",
        "bca_high",
        "p_value",
        "p_equivalence",
        "seeds_low",
        "seeds_high",
    ]
    assert (
        rows[[*empty, "seeds_p_value", "seeds_p_equivalence", "bayes_a_better", "bayes_b_better"]].isna().all(axis=None)
    )
    assert (rows["verdict"] == INCONCLUSIVE).all()
    # Brier scores of equal chips differ in the draws by rounding in float32.
    assert table.loc[["nll", "brier"], empty].isna().all(axis=None)

    best = best_pair_table(
        design, PAIR[:1], [("none", "constant", "b")], lambda name: scores[PAIR[name[0] == "none"]], 0.95
    )
    assert best[["low", "high"]].isna().all(axis=None)
    for spreads in observed_spreads(design, combine(CONTRAST.coefficients, scores.__getitem__), training[0], seeds)[:2]:
        assert np.isnan(smallest_difference(spreads, 0.05))
        assert _needs(spreads, 0.02, 0.05, seeds) == {"seeds_needed": None, "chips_factor_needed": None}

    runs = pd.concat(
        pd.DataFrame(each.seeds, columns=design.names).assign(
            seed=design.seeds, **dict(zip(("backbone", "loss", "decoder"), recipe, strict=True))
        )
        for recipe, each in scores.items()
    )
    mixed = mixed_model_table(runs, [CONTRAST], table.reset_index(), "macro_accuracy", 0.95).iloc[0]
    assert np.isnan(mixed[["mixed_low", "mixed_high", "mixed_p_value"]].to_numpy(float)).all()
    assert mixed["discrepancy"] == ""


@pytest.mark.parametrize("logit", [0.0, 0.7, 60.0])
def test_a_control_that_never_varies_has_no_interval(logit):
    """All chips of all runs have the same probabilities; with the logit 0, also the same Brier score and NLL."""
    design, scores = scored(10, 3, 1, per_class=300, logit=logit)
    (training,) = training_variances([SeedScores.of(design, scores[PAIR[0]])], design.test_to_train)
    table = scores_table(design, scores[PAIR[0]], training, 0.95).set_index("metric")
    rows = table.loc[["macro_accuracy", "micro_accuracy"] + (["nll", "brier"] if logit == 0 else [])]
    limits = ["crossed_low", "crossed_high", "bca_low", "bca_high", "seeds_low", "seeds_high"]
    assert rows[limits].isna().all(axis=None)


def test_one_chip_of_many_is_spread():
    """The smallest spread that a study of 60,000 chips can have: a single chip on which two recipes differ."""
    right = folds(3, 2, 3, per_class=10_000)
    logits = right[0].logits.copy()
    logits[0] = (0.0, 3.0, 0.0)
    other = {**right, 0: Part(right[0].chips, right[0].labels, logits)}
    design = make_design(right, 3, 1.0)
    scores = {name: score_recipe(design, runs, 200, 1) for name, runs in zip(PAIR, (right, other), strict=True)}
    training = contrasts_training(design, [CONTRAST], scores.__getitem__)
    table = contrasts_table(design, [CONTRAST], scores.__getitem__, training, {}, 0.95).set_index("metric")
    row = table.loc["micro_accuracy"]
    assert row["crossed_low"] < 1 / 60_000 < row["crossed_high"]


def test_large_scores_have_large_rounding():
    """The tolerance is a millionth of the score: equal scores of 50 in float32 differ by 4e-6."""
    design, scores = scored(2, 3, 0, 0, per_class=500, logit=60.0)
    one = scores[PAIR[0]]
    place = design.names.index("nll")
    assert one.pooled[place] == pytest.approx(30.0), "half of the chips have the wrong class for certain"
    assert corrected_t(np.array([30.0, 30.00001, 30.00002]), 0.0, 0.95).sd == 0.0
    assert corrected_t(np.array([0.3, 0.30001, 0.30002]), 0.0, 0.95).sd == pytest.approx(1e-5)
    assert combine({PAIR[0]: 1.0, PAIR[1]: -1.0}, scores.__getitem__).size[place] == pytest.approx(60.0)
