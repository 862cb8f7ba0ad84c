"""Resampled scores: what is drawn, what is paired, and which runs do not belong together."""

from dataclasses import fields, replace

import numpy as np
import pytest

from helpers.sklearn_scores import reference_scores
from helpers.small_study import HOLDOUT, SMALL, score_recipe, scored
from terralucas.errors import StudyError
from terralucas.statistics import resampling
from terralucas.statistics.resampling import Scores, combine, draw_weights, make_design, score_recipes
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.weighted_scores import CALIBRATION_SCORES
from terralucas.tables.scores import RUN_SCORES, SCORES


def pooled(runs):
    return [np.concatenate([getattr(run, name) for run in runs.values()]) for name in ("labels", "logits")]


def test_pooled_and_single_scores_are_those_of_the_runs():
    study, design, scores = scored()
    expected = reference_scores(*pooled(study.recipes["a"]))
    assert dict(zip(design.names, scores["a"].pooled, strict=True)) == pytest.approx(
        {name: expected.get(name, value) for name, value in zip(design.names, scores["a"].pooled, strict=True)}
    )
    for seed, run in study.recipes["a"].items():
        theirs = reference_scores(run.labels, run.logits)
        ours = dict(zip(design.names, scores["a"].seeds[seed], strict=True))
        assert {name: ours[name] for name in RUN_SCORES} == pytest.approx({name: theirs[name] for name in RUN_SCORES})


def test_draws_have_the_variance_of_a_mean():
    """s²/n for a class of twelve chips; draws of n of n chips have (n − 1)/n of it."""
    _, design, _ = scored()
    rows = design.labels == 3
    values = np.random.default_rng(1).normal(size=rows.sum())
    means = np.concatenate([weights[:, rows] @ values / 12 for weights in draw_weights(design, 40_000, 3)])
    assert means.var() == pytest.approx(values.var(ddof=1) / 12, rel=0.03)


def test_every_class_keeps_its_chips_in_every_draw():
    _, design, _ = scored()
    for weights in draw_weights(design, 700, 3):
        counts = [weights[:, design.labels == label].sum(axis=1) for label in range(4)]
        assert np.allclose(counts, np.array([[60.0], [34.0], [17.0], [12.0]]))
    assert len(weights) == 200, "the last chunk holds the rest"


def test_draws_repeat_with_their_seed_and_do_not_hang_on_the_order_of_rows():
    study, design, scores = scored(draws=50)
    runs = study.recipes["a"]
    turned = {seed: Part(*(np.asarray(x)[::-1] for x in vars(run).values())) for seed, run in runs.items()}
    again = score_recipe(design, turned, 50, 1)
    assert np.array_equal(again.drawn, scores["a"].drawn, equal_nan=True)
    assert np.allclose(again.deviations, scores["a"].deviations)
    assert not np.array_equal(score_recipe(design, runs, 50, 2).drawn, scores["a"].drawn, equal_nan=True)


def test_recipes_that_are_scored_together_have_the_scores_they_have_alone(monkeypatch):
    """One after the other, in twos with a last one alone, and all at once."""
    study, design, scores = scored(draws=700)
    names = list(study.recipes) + list(study.recipes)[:1]
    for together in (1, 2, 16):
        monkeypatch.setattr(resampling, "_TOGETHER", together)
        found = list(score_recipes(design, [study.recipes[name] for name in names], 700, 1))
        assert len(found) == len(names)
        for name, each in zip(names, found, strict=True):
            for field in fields(Scores):
                assert np.array_equal(getattr(each, field.name), getattr(scores[name], field.name), equal_nan=True)


def test_only_scores_that_get_no_interval_from_draws_are_not_drawn():
    _, design, scores = scored(draws=50)
    missing = [name for name, column in zip(design.names, scores["a"].drawn.T, strict=True) if np.isnan(column).all()]
    assert missing == list(CALIBRATION_SCORES)
    assert all(SCORES[name].recipe_interval == SCORES[name].contrast_interval == "seeds" for name in missing)


def test_blocks_are_drawn_whole():
    _, design, _ = scored(replace(SMALL, blocks=20))
    weights = next(draw_weights(design, 100, 1))
    for unit in np.unique(design.units):
        members = weights[:, design.units == unit]
        assert (members == members[:, :1]).all()
    assert len(np.unique(weights.sum(axis=1))) > 1, "blocks hold different numbers of chips"


def test_without_a_class_its_chips_and_its_logit_are_gone():
    study, design, scores = scored(excluded=(3,))
    labels, logits = pooled(study.recipes["a"])
    kept = labels != 3
    expected = reference_scores(labels[kept], logits[kept][:, :3])
    ours = dict(zip(design.names, scores["a"].pooled, strict=True))
    assert {name: ours[name] for name in RUN_SCORES} == pytest.approx({name: expected[name] for name in RUN_SCORES})
    assert "recall:2" in ours
    assert "recall:3" not in ours


def test_an_excluded_class_in_the_middle_keeps_the_numbers_of_the_others():
    study, design, scores = scored(excluded=(1,))
    labels, logits = pooled(study.recipes["a"])
    hits = logits[:, [0, 2, 3]].argmax(axis=1) == np.searchsorted([0, 2, 3], labels)
    ours = dict(zip(design.names, scores["a"].pooled, strict=True))
    assert ours["recall:3"] == pytest.approx(hits[labels == 3].mean())


def test_a_difference_of_scores_is_drawn_in_pairs():
    _, design, scores = scored()
    difference = combine({"a": 1.0, "c": -1.0}, scores.__getitem__)
    assert difference.pooled == pytest.approx(scores["a"].pooled - scores["c"].pooled, nan_ok=True)
    assert np.allclose(difference.drawn, scores["a"].drawn - scores["c"].drawn, atol=1e-6, equal_nan=True)
    place = design.names.index("micro_accuracy")
    paired = difference.drawn[:, place].var()
    assert paired < scores["a"].drawn[:, place].var() + scores["c"].drawn[:, place].var()
    same = combine({"a": 0.5, "b": 0.5}, {"a": scores["a"], "b": scores["a"]}.__getitem__)
    assert same.drawn == pytest.approx(scores["a"].drawn, nan_ok=True)


def test_scores_survive_a_file(tmp_path):
    _, _, scores = scored()
    scores["a"].save(tmp_path / "a.npz")
    read = Scores.load(tmp_path / "a.npz")
    for name, values in vars(scores["a"]).items():
        assert np.array_equal(getattr(read, name), values, equal_nan=True)


def test_a_holdout_tests_each_chip_with_every_seed():
    _, design, scores = scored(HOLDOUT)
    assert not design.tested_once
    assert len(design.chips) * 5 == len(scores["a"].hits)
    place = design.names.index("macro_accuracy")
    assert scores["a"].pooled[place] == pytest.approx(scores["a"].seeds[:, place].mean())


def without_seed(runs):
    return {seed: run for seed, run in runs.items() if seed != 2}


def with_other_chips(runs):
    return {**runs, 0: runs[1], 1: runs[0]}


def with_other_labels(runs):
    return {**runs, 0: replace(runs[0], labels=np.roll(runs[0].labels, 1))}


def diverged(runs):
    return {**runs, 4: replace(runs[4], logits=np.full_like(runs[4].logits, np.nan))}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_seed, "other seeds than the other recipes"),
        (with_other_chips, "test different chips with seed 0"),
        (with_other_labels, "test different chips with seed 0"),
        (diverged, "seed 4 contain numbers that are not finite"),
    ],
)
def test_runs_that_can_not_be_compared_are_refused(change, words):
    study, design, _ = scored(draws=10)
    with pytest.raises(StudyError, match=words):
        score_recipe(design, change(study.recipes["b"]), 10, 1)


def test_runs_that_are_no_study_are_refused():
    run = Part(np.array([4, 5, 5]), np.array([0, 1, 1]), np.zeros((3, 2)))
    with pytest.raises(StudyError, match="a chip twice in the test part of seed 0"):
        make_design({0: run}, 2, 0.25)
    other = Part(np.array([4, 6]), np.array([1, 0]), np.zeros((2, 2)))
    first = Part(np.array([4, 5]), np.array([0, 1]), np.zeros((2, 2)))
    with pytest.raises(StudyError, match="a chip with two labels"):
        make_design({0: first, 1: other}, 2, 0.25)
    with pytest.raises(StudyError, match="No test chips remain"):
        make_design({0: first}, 2, 0.25, excluded=(0, 1))
    with pytest.raises(StudyError, match="several units in every test part"):
        make_design({0: first}, 2, 0.25, groups=np.zeros(10, dtype=int))
