"""Fronts under prior shifts: by hand, by brute force, and by what must hold of any run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.predicted import PRIOR, part, study
from helpers.sklearn_scores import reference_scores
from terralucas.evidence import fronts
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.seed_means import SeedDesign
from terralucas.tables import vocabulary

DESIGN = SeedDesign(0.5, 0.95)
PRIORS = dict.fromkeys(range(3), PRIOR)


def traced(runs=None, monitor="macro_accuracy"):
    return fronts.trace(runs or study(), PRIORS, monitor)


def front(seed, *scores, loss="ce"):
    names = {"backbone": "tiny", "loss": loss, "decoder": "mlp", "seed": seed}
    return fronts.Front(names, np.resize(np.array(scores, dtype=float), (len(fronts.TAUS), 2)), 0, "validation")


def test_a_shift_by_hand():
    """Two classes, prior 3/4 and 1/4: τ moves the logit of the first down by τ log 3 against the second."""
    gap = np.array([2.0, 0.5, 1.0, -1.0]) * np.log(3.0)
    chips = Part(np.arange(4), np.array([0, 0, 1, 1]), np.column_stack([gap, np.zeros(4)]))
    scores = dict(zip(fronts.TAUS.tolist(), fronts.sweep(chips, np.array([0.75, 0.25])).tolist(), strict=True))
    assert scores[0.0] == [0.75, 0.75], "the third chip is wrong"
    assert scores[0.75] == [0.5, 0.5], "the second is wrong as well"
    assert scores[1.05] == [0.75, 0.75], "the third is right now"
    assert scores[-1.05] == [0.5, 0.5], "all are taken for the first class"


def test_without_a_shift_the_scores_are_those_of_the_run():
    for run, each in zip(study(), traced(), strict=True):
        scores = reference_scores(run.test.labels, run.test.logits)
        assert each.scores[fronts.UNSHIFTED] == pytest.approx([scores["macro_accuracy"], scores["micro_accuracy"]])
    table = fronts.front_runs_table(traced())
    assert table.loc[0, "macro_accuracy_unshifted"] == traced()[0].scores[fronts.TAUS.tolist().index(0.0), 0]


def test_a_run_that_only_sits_elsewhere_has_the_same_front():
    """A run and its twin whose logits had one log prior taken off, as a balanced loss would: nothing is better."""
    run = study()[0]
    twin = replace(run, test=replace(run.test, logits=run.test.logits - np.log(PRIOR)))
    one, other = (fronts.trace([each], PRIORS, "macro_accuracy")[0].scores for each in (run, twin))
    assert one[fronts.UNSHIFTED].tolist() != other[fronts.UNSHIFTED].tolist()
    assert fronts.pareto(one) == pytest.approx(fronts.pareto(other))
    assert fronts.hypervolume(one) == pytest.approx(fronts.hypervolume(other))


def test_the_shift_is_chosen_on_validation_chips_and_the_smallest_that_is_best():
    run = study()[0]
    always_right = Part(run.validation.chips, run.validation.labels, 50.0 * np.eye(4)[run.validation.labels])
    (chosen,) = fronts.trace([replace(run, validation=always_right)], PRIORS, "macro_accuracy")
    assert fronts.TAUS[chosen.chosen] == 0.0
    (itself,) = fronts.trace([replace(run, validation=None)], PRIORS, "macro_accuracy")
    assert itself.scores[itself.chosen, 0] == itself.scores[:, 0].max()
    assert itself.chosen_on == "test"
    table = fronts.front_runs_table([itself])
    assert table.loc[0, "macro_accuracy_shifted"] == itself.scores[:, 0].max()


def test_the_hypervolume_is_the_area_below_the_front():
    points = np.array([[0.6, 0.2], [0.3, 0.5], [0.3, 0.4], [0.1, 0.6]])
    assert fronts.pareto(points).tolist() == [[0.6, 0.2], [0.3, 0.5], [0.1, 0.6]]
    assert fronts.hypervolume(points) == pytest.approx(0.6 * 0.2 + 0.3 * 0.3 + 0.1 * 0.1)
    random = np.random.default_rng(0)
    points = random.uniform(size=(30, 2))
    cells = (np.arange(1000) + 0.5) / 1000
    covered = np.zeros((1000, 1000), dtype=bool)
    for macro, micro in points:
        covered |= (cells[:, None] <= macro) & (cells <= micro)
    assert fronts.hypervolume(points) == pytest.approx(covered.mean(), abs=2e-3)


def test_macro_accuracy_at_a_micro_accuracy():
    points = np.array([[0.6, 0.2], [0.3, 0.5], [0.2, 0.3]])
    found = fronts.macro_at(points, np.array([0.1, 0.2, 0.35, 0.5, 0.51]))
    assert found[:4] == pytest.approx([0.6, 0.6, 0.45, 0.3]), (
        "a micro accuracy below the front is reached with its best"
    )
    assert np.isnan(found[4])


def test_contrasts_pair_seeds_and_compare_at_equal_micro_accuracy():
    """The front of `focal` lies above that of `ce` by 0.1, 0.2 and 0.3 of macro accuracy."""
    pairs = []
    for seed, gap in enumerate((0.1, 0.2, 0.3)):
        pairs += [
            front(seed, (0.5, 0.2), (0.3, 0.6)),
            front(seed, (0.45 + gap, 0.3), (0.35 + gap, 0.5), (0.3 + gap, 0.6), loss="focal"),
        ]
    contrast = {"factor": "loss", "a": "focal", "b": "ce"}
    table = fronts.contrasts_table(pairs, [contrast], DESIGN)
    equal = table[table["metric"] == vocabulary.EQUAL_MICRO]
    levels = equal.dropna(subset="micro_accuracy")
    assert levels["micro_accuracy"].iloc[[0, -1]].tolist() == pytest.approx([0.2, 0.6])
    reached = levels.loc[levels["micro_accuracy"] > 0.3, "difference"].tolist()
    assert reached == pytest.approx([0.2] * len(reached))
    half = stats.t.ppf(0.975, 2) * np.sqrt((1 / 3 + 0.5) * 0.1**2)
    last = levels.iloc[-1]
    assert (last["ci_low"], last["ci_high"]) == pytest.approx((0.2 - half, 0.2 + half))
    (mean,) = equal.loc[equal["micro_accuracy"].isna(), "difference"]
    assert mean == pytest.approx(levels["difference"].mean())
    swapped = fronts.contrasts_table(pairs, [contrast | {"a": "ce", "b": "focal"}], DESIGN)
    assert swapped["difference"].tolist() == pytest.approx((-table["difference"]).tolist())


def test_contrasts_average_over_other_settings_and_name_single_backbones():
    runs = study(decoders=("identity", "mlp"), backbones=("tiny", "base"))
    table = fronts.contrasts_table(traced(runs), [{"factor": "loss", "a": "focal", "b": "ce"}], DESIGN)
    cells = table[table["metric"] == "hypervolume"].set_index("scope")["n_cells"]
    assert cells.to_dict() == {"all": 4, "tiny": 2, "base": 2}
    runs_table = fronts.front_runs_table(traced(runs))
    means = runs_table.groupby("loss")["hypervolume"].mean()
    volume = table[(table["metric"] == "hypervolume") & (table["scope"] == "all")].iloc[0]
    assert volume["difference"] == pytest.approx(means["focal"] - means["ce"])


def test_a_contrast_of_settings_that_are_not_in_the_grid_has_no_rows():
    table = fronts.contrasts_table(traced(), [{"factor": "loss", "a": "hinge", "b": "ce"}], DESIGN)
    assert table.empty
    assert {"difference", "micro_accuracy", "p_value"} <= set(table.columns)


def test_points_are_means_over_seeds_and_say_which_lie_on_the_front():
    table = fronts.points_table(traced(), DESIGN)
    runs = fronts.front_runs_table(traced())
    ce = table[(table["loss"] == "ce") & (table["tau"] == 0) & (table["metric"] == "micro_accuracy")]
    assert ce["mean"].item() == pytest.approx(runs.loc[runs["loss"] == "ce", "micro_accuracy_unshifted"].mean())
    wide = table.pivot_table(index=["loss", "tau", "on_front"], columns="metric", values="mean").reset_index()
    for _, recipe in wide.groupby("loss"):
        best = recipe[recipe["on_front"]].sort_values("micro_accuracy").drop_duplicates("micro_accuracy")
        assert best["macro_accuracy"].is_monotonic_decreasing
        for row in recipe[~recipe["on_front"]].itertuples():
            beaten = (recipe["macro_accuracy"] >= row.macro_accuracy) & (recipe["micro_accuracy"] >= row.micro_accuracy)
            assert beaten.sum() > 1


def test_summary_is_over_seeds():
    table = fronts.summary_table(traced(), DESIGN)
    assert list(table["metric"].unique()) == list(fronts.RUN_METRICS)
    assert isinstance(table, pd.DataFrame)
    assert set(table["n_seeds"]) == {3}


def test_a_class_that_is_not_tested_does_not_count():
    random = np.random.default_rng(0)
    chips = part(random, np.arange(20), np.repeat([0, 1], 10))
    assert np.isfinite(fronts.sweep(chips, PRIOR)).all()


def test_intervals_stay_on_the_scale():
    """Two seeds that differ much: Student's t alone would reach below 0 and above 1."""
    pair = [front(0, (0.1, 0.2), (0.2, 0.1)), front(1, (0.9, 0.8), (0.8, 0.9))]
    for table in (fronts.points_table(pair, DESIGN), fronts.summary_table(pair, DESIGN)):
        scores = table[table["metric"] != "tau"]
        assert (scores["ci_low"].dropna() >= 0).all()
        assert (scores["ci_high"].dropna() <= 1).all()
        assert (scores["ci_low"] == 0).any()
    other = [front(seed, (0.1, 0.2), (0.2, 0.1), loss="focal") for seed in range(2)]
    differences = fronts.contrasts_table([*pair, *other], [{"factor": "loss", "a": "ce", "b": "focal"}], DESIGN)
    assert (differences["ci_low"].min(), differences["ci_high"].max()) == (-1.0, 1.0)


def test_equal_points_are_on_the_front_together_whatever_their_last_bit():
    """0.1 + 0.2 and 0.3 differ in the last bit."""
    scores = [(0.1 + 0.2, 0.5), (0.3, 0.5), (0.2, 0.4)]
    table = fronts.points_table([front(0, *scores)], DESIGN)
    rows = table[table["metric"] == "macro_accuracy"]["on_front"].to_numpy()
    assert rows[0::3].all()
    assert rows[1::3].all()
    assert not rows[2::3].any()
