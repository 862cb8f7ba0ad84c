"""Claims of an earlier study: judged right where the truth is known, and by the rule that is written down."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from terralucas.statistics.claims import Claim, add_claimed_differences, judge
from terralucas.statistics.comparison import Question, compare
from terralucas.statistics.contrasts import COLUMNS
from terralucas.statistics.crossed_interval import Crossed, exceeding_p
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.sampling_distribution import SamplingDistribution

LABELS = np.repeat(np.arange(3), [300, 200, 100])
FOLDS = np.arange(len(LABELS)) % 5
LOSSES, DECODERS = ("good", "bad", "as_good"), ("mlp", "identity")
RECIPES = list(itertools.product(["tiny"], LOSSES, DECODERS))
CLASSES = [{"code": code, "name": f"class {code}"} for code in (1, 2, 3)]
MARGINS = {"macro_accuracy": 0.02, "micro_accuracy": 0.02}


def claim(name, a, b, relation, metric="macro_accuracy", margin=None, factor="loss"):
    return Claim(name, f"{name} says so", (factor, a, b), metric, relation, margin)


def load(recipe):
    """`good` and `as_good` know the labels alike but for noise, `bad` knows less; decoders differ by a hair."""
    _, loss, decoder = recipe
    parts = {}
    for seed in range(5):
        chips = np.flatnonzero(np.equal(FOLDS, seed))
        # Shared by the decoders; `as_good` has noise of its own.
        random = np.random.default_rng([seed, loss == "as_good"])
        logits = random.normal(size=(len(chips), 3))
        logits[np.arange(len(chips)), LABELS[chips]] += 0.3 if loss == "bad" else 2.0
        if decoder == "mlp":
            logits += random.normal(0.0, 0.02, size=logits.shape)
        parts[seed] = Part(chips, LABELS[chips], logits.astype(np.float32))
    return parts


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Claims whose truth is known, through the whole comparison; asked of `good − bad` and `mlp − identity` alone."""
    claims = [
        claim("higher", "good", "bad", "higher"),
        claim("turned", "bad", "good", "lower", "micro_accuracy"),
        claim("wrong way", "bad", "good", "higher"),
        claim("lower nll", "good", "bad", "lower", "nll"),
        claim("same", "identity", "mlp", "equivalent", factor="decoder"),
        claim("same, own margin", "mlp", "identity", "equivalent", margin=0.03, factor="decoder"),
        claim("higher, but same", "mlp", "identity", "higher", factor="decoder"),
        claim("not the same", "good", "bad", "equivalent", margin=0.005),
        claim("not to be told", "good", "as_good", "equivalent", margin=0.001),
        claim("nobody knows", "good", "as_good", "higher"),
        claim("not here", "good", "other", "higher"),
    ]
    asked = add_claimed_differences([("loss", "good", "bad"), ("decoder", "mlp", "identity")], claims)
    question = Question(CLASSES, (2,), asked, [], MARGINS, 5, 0.95, 500, 0, claims)
    return compare(RECIPES, [], load, 0.3, None, question, tmp_path_factory.mktemp("scores"))


def row_of(judged, name, classes="all"):
    table = judged["claims"]
    return table[(table["claim"] == name) & (table["classes"] == classes)].iloc[0]


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("higher", "supported"),
        ("turned", "supported"),
        ("wrong way", "refuted"),
        ("lower nll", "supported"),
        ("same", "supported"),
        ("same, own margin", "supported"),
        ("higher, but same", "refuted: equivalent"),
        ("not the same", "refuted"),
        ("not to be told", "inconclusive"),
        ("nobody knows", "inconclusive"),
        ("not here", "inconclusive"),
    ],
)
def test_where_the_truth_is_known(judged, name, verdict):
    assert row_of(judged, name)["verdict"] == verdict


@pytest.mark.parametrize(
    ("relation", "verdict"),
    [
        ("higher", "supported, but smaller than the margin"),
        ("lower", "refuted, by a difference smaller than the margin"),
    ],
)
def test_a_shown_difference_that_does_not_matter_is_told_apart(relation, verdict):
    assert verdict_of(claim("C", "a", "b", relation), p_equivalence_holm=0.01, p_equivalence=0.01) == verdict


def test_numbers_are_of_the_claims_own_direction(judged):
    contrasts = judged["contrasts"].set_index(["classes", "contrast", "scope", "metric"])
    ours, theirs = row_of(judged, "turned"), contrasts.loc[("all", "good − bad", "all", "micro_accuracy")]
    assert ours["difference"] == -theirs["difference"] < 0
    assert (ours["crossed_low"], ours["crossed_high"]) == (-theirs["crossed_high"], -theirs["crossed_low"])
    assert "bad − good" not in judged["contrasts"]["contrast"].to_numpy(), "one test, and not two of the same"


def test_claims_join_the_contrasts_family(judged):
    contrasts = judged["contrasts"]
    family = contrasts[(contrasts["classes"] == "all") & (contrasts["family"] == "averaged")]
    macro = family[family["metric"] == "macro_accuracy"]
    assert list(macro["contrast"]) == ["good − bad", "mlp − identity", "good − as_good"]
    assert row_of(judged, "nobody knows")["p_holm"] == macro["p_holm"].iloc[2]


def test_what_it_would_take_is_told_for_the_claims_own_margin(judged):
    power = judged["power"].set_index(["classes", "contrast", "scope", "metric"])
    of_study = power.loc[("all", "good − as_good", "all", "macro_accuracy")]
    assert row_of(judged, "nobody knows")["chips_factor_needed"] == of_study["chips_factor_needed"]
    assert pd.isna(row_of(judged, "not to be told")["chips_factor_needed"]), "more than 1,000 times the chips"


def test_a_claim_of_equivalence_is_planned_at_the_level_of_its_family(tmp_path):
    """Three contrasts and no margin of its own: what power.csv says. With its own margin it is a fourth test."""
    asked = [("loss", "good", "bad"), ("decoder", "mlp", "identity"), ("loss", "good", "as_good")]
    claims = [
        claim("of the study", "good", "as_good", "equivalent"),
        claim("its own", "good", "as_good", "equivalent", margin=MARGINS["macro_accuracy"]),
    ]
    question = Question(CLASSES, (), asked, [], MARGINS, 5, 0.95, 300, 0, claims)
    tables = compare(RECIPES, [], load, 0.3, None, question, tmp_path)
    power = tables["power"].set_index(["contrast", "scope", "metric"]).loc[("good − as_good", "all", "macro_accuracy")]
    rows = tables["claims"].set_index("claim")["chips_factor_needed"]
    assert rows["of the study"] == power["chips_factor_needed"]
    assert rows["its own"] > rows["of the study"]


def test_every_set_of_classes_is_judged(judged):
    assert row_of(judged, "higher", "without 3")["verdict"] == "supported"


def test_beyond_a_margin_against_the_normal_distribution():
    random = np.random.default_rng(0)
    draws = random.normal(0.05, 0.01, 200_000)
    one = np.ones(1)
    drawn = (SamplingDistribution(draws, np.nan, np.nan, 0.0, 0.5),)
    crossed = Crossed(np.array([0.05]), drawn, 0 * one, one > 0, one > 0)
    for margin in (0.025, 0.03, 0.2):
        theirs = 2 * min(stats.norm.cdf(margin, 0.05, 0.01), stats.norm.sf(-margin, 0.05, 0.01))
        assert exceeding_p(crossed, np.array([margin]))[0] == pytest.approx(min(theirs, 1.0), abs=0.003)


def contrasts_of(**values):
    """A table of one contrast a − b in macro accuracy and others of its family."""
    row = dict.fromkeys(COLUMNS, np.nan) | {
        "contrast": "a − b", "scope": "all", "family": "averaged", "metric": "macro_accuracy", "n_seeds": 5,
        "difference": 0.03, "crossed_low": 0.01, "crossed_high": 0.05, "margin": 0.02, "p_holm": 0.01,
        "p_equivalence": 0.9, "p_equivalence_holm": 0.9,
    }  # fmt: skip
    return pd.DataFrame([row | values])


def verdict_of(claim, test=None, **values):
    columns = ["claim", "p_equivalence", "p_exceeding", "seeds_needed", "chips_factor_needed"]
    tests = pd.DataFrame([{"claim": claim.name} | test] if test else [], columns=columns)
    none = pd.DataFrame(columns=["contrast", "family", "metric", "seeds_needed", "chips_factor_needed"])
    return judge([claim], contrasts_of(**values), none, tests, 0.05)["verdict"].iloc[0]


def test_the_adjusted_p_value_decides_and_not_the_interval():
    assert verdict_of(claim("C", "a", "b", "higher")) == "supported"
    assert verdict_of(claim("C", "a", "b", "higher"), p_holm=0.051) == "inconclusive"


def test_a_study_that_lacks_every_contrast_can_judge_nothing():
    claims = [claim("C1", "good", "bad", "higher"), claim("C2", "good", "bad", "equivalent", margin=0.01)]
    nothing = pd.DataFrame(columns=list(COLUMNS))
    tests = pd.DataFrame(columns=["claim"])
    table = judge(claims, nothing, nothing, tests, 0.05)
    assert list(table["verdict"]) == ["inconclusive", "inconclusive"]
    assert table["difference"].isna().all()


def test_one_seed_decides_nothing():
    assert verdict_of(claim("C", "a", "b", "higher"), n_seeds=1) == "inconclusive"


def test_a_margin_of_its_own_is_one_test_more_in_the_family():
    own = claim("C", "a", "b", "equivalent", margin=0.01)
    test = {"p_equivalence": 0.03, "p_exceeding": 0.9}
    assert verdict_of(own, test, p_equivalence=0.01) == "supported", "the larger of two is not multiplied"
    assert verdict_of(own, test, p_equivalence=0.5) == "inconclusive", "the smaller of two is: 0.06"
    assert verdict_of(claim("C", "a", "b", "equivalent"), test, p_equivalence_holm=0.03) == "supported"
