"""The mixed model against the analysis of variance of a balanced design, and against the REML of statsmodels."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from terralucas.statistics.contrasts import simple_contrasts
from terralucas.statistics.mixed_model import mixed_model_table

RECIPES = list(itertools.product(("tiny", "base"), ("ce", "focal"), ("mlp",)))


def runs_of(random, n_seeds=6):
    seeds = 0.03 * random.normal(size=n_seeds)
    return pd.DataFrame([
        {"backbone": b, "loss": x, "decoder": d, "seed": s,
         "nll": 1.0 + 0.1 * (x == "focal") + seeds[s] + 0.01 * random.normal()}
        for b, x, d in RECIPES for s in range(n_seeds)
    ])  # fmt: skip


def given(contrasts, difference, low, high):
    return pd.DataFrame([
        {"contrast": c.name, "scope": c.scope, "metric": "nll", "difference": difference, "crossed_low": low,
         "crossed_high": high} for c in contrasts
    ])  # fmt: skip


def test_against_the_two_way_analysis_of_variance():
    """Balanced recipes × seeds: the estimate is the difference of means, its error √(2 MS / (cells · seeds))."""
    runs = runs_of(np.random.default_rng(2))
    average, *cells = simple_contrasts(RECIPES, ("loss", "focal", "ce"))
    table = mixed_model_table(runs, [average, *cells], given([average, *cells], 0.1, 0.02, 0.18), "nll", 0.95)
    wide = runs.pivot(index="seed", columns=["backbone", "loss"], values="nll").to_numpy()
    rest = wide - wide.mean(axis=0) - wide.mean(axis=1, keepdims=True) + wide.mean()
    square = (rest**2).sum() / ((6 - 1) * (4 - 1))
    row = table.iloc[0]
    means = runs.groupby("loss")["nll"].mean()
    assert row["mixed_difference"] == pytest.approx(means["focal"] - means["ce"])
    half = stats.norm.ppf(0.975) * np.sqrt(2 * square / (2 * 6))
    assert row["mixed_high"] - row["mixed_difference"] == pytest.approx(half)
    assert (table["discrepancy"] == "").all()


def test_discrepancies_are_named():
    runs = runs_of(np.random.default_rng(2))
    contrasts = simple_contrasts(RECIPES, ("loss", "focal", "ce"))[:1]
    note = mixed_model_table(runs, contrasts, given(contrasts, 0.0, -0.1, 0.1), "nll", 0.95)["discrepancy"].item()
    assert "estimates differ" in note
    assert "one of them shows a difference" in note


def test_a_study_without_seed_effects_has_the_errors_of_the_one_way_analysis_of_variance():
    random = np.random.default_rng(6)
    runs = runs_of(random)
    # Seeds whose means agree exactly: the seed variance lies at its bound of 0.
    runs["nll"] -= runs.groupby("seed")["nll"].transform("mean")
    contrasts = simple_contrasts(RECIPES, ("loss", "focal", "ce"))[:1]
    row = mixed_model_table(runs, contrasts, given(contrasts, 0.1, 0.02, 0.18), "nll", 0.95).iloc[0]
    within = runs.groupby(["backbone", "loss"])["nll"].var(ddof=1).mean()
    half = stats.norm.ppf(0.975) * np.sqrt(2 * within / (2 * 6))
    assert row["mixed_high"] - row["mixed_difference"] == pytest.approx(half)


@pytest.mark.filterwarnings("ignore:The MLE may be on the boundary")
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_reml_estimate_of_statsmodels(seed):
    runs = runs_of(np.random.default_rng(seed))
    recipes = list(dict.fromkeys(runs[["backbone", "loss", "decoder"]].itertuples(index=False, name=None)))
    of_recipe = np.array([[row == recipe for recipe in recipes] for row in runs.iloc[:, :3].itertuples(False, None)])
    fit = MixedLM(runs["nll"].to_numpy(), of_recipe.astype(float), groups=runs["seed"].to_numpy()).fit(reml=True)
    contrasts = simple_contrasts(RECIPES, ("loss", "focal", "ce"))
    table = mixed_model_table(runs, contrasts, given(contrasts, 0.1, 0.02, 0.18), "nll", 0.95)
    for contrast, row in zip(contrasts, table.to_dict("records"), strict=True):
        weights = np.array([contrast.coefficients.get(recipe, 0.0) for recipe in recipes])
        error = np.sqrt(weights @ fit.cov_params()[: len(recipes), : len(recipes)] @ weights)
        assert row["mixed_difference"] == pytest.approx(weights @ fit.fe_params)
        assert row["mixed_high"] - row["mixed_low"] == pytest.approx(2 * 1.959964 * error, rel=1e-3)


def test_one_seed_gives_the_difference_alone():
    runs = runs_of(np.random.default_rng(2), n_seeds=1)
    contrasts = simple_contrasts(RECIPES, ("loss", "focal", "ce"))[:1]
    row = mixed_model_table(runs, contrasts, given(contrasts, 0.1, 0.02, 0.18), "nll", 0.95).iloc[0]
    means = runs.groupby("loss")["nll"].mean()
    assert row["mixed_difference"] == pytest.approx(means["focal"] - means["ce"])
    assert np.isnan([row["mixed_low"], row["mixed_high"], row["mixed_p_value"]]).all()
    assert row["discrepancy"] == ""
