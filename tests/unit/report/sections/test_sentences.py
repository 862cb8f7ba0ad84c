"""The sentences of the report: they say what the numbers say, and change with them."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from helpers.report_page import CROSSED, LOSSES, MACRO, MICRO, PLAN, Page, as_written, change
from helpers.synthetic import make_study


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"difference": 0.012, "crossed_low": 0.006, "crossed_high": 0.018, "verdict": "difference shown"},
            "Focal is better than weighted_ce in macro accuracy: +1.2 points, anything from +0.6 to +1.8 (p = 0.012). ",
        ),
        (
            {"difference": -0.012, "crossed_low": -0.018, "crossed_high": -0.006, "verdict": "difference shown",
             "p_equivalence_holm": 0.01, "p_holm": 0.0002},
            "Focal is worse than weighted_ce in macro accuracy: −1.2 points, anything from −1.8 to −0.6 (p < 0.001), "
            "and less than the margin of 2 points. ",
        ),
        (
            {"difference": 0.001, "crossed_low": -0.009, "crossed_high": 0.011, "verdict": "equivalent within margin",
             "p_equivalence_holm": 0.031},
            "Focal and weighted_ce are equivalent in macro accuracy, within ± 2 points: +0.1 points, anything from "
            "−0.9 to +1.1 (p = 0.031). ",
        ),
        (
            {"difference": 0.012, "crossed_low": -0.006, "crossed_high": 0.03, "verdict": "inconclusive"},
            "No clear difference in macro accuracy: +1.2 points, anything from −0.6 to +3.0. About 4 × the chips or "
            "about 20 seeds could settle ± 2 points. ",
        ),
        (
            {"difference": 0.012, "crossed_low": np.nan, "crossed_high": np.nan, "verdict": "inconclusive"},
            "Macro accuracy differs by +1.2 points; there is no interval, so that nothing is shown. ",
        ),
        (
            {"difference": np.nan, "crossed_low": np.nan, "crossed_high": np.nan, "verdict": "inconclusive"},
            "Macro accuracy could not be compared. ",
        ),
    ],
)  # fmt: skip
def test_the_answer_says_what_the_numbers_say(study, render, values, sentence):
    change(study, "contrasts", MACRO, **({"p_holm": 0.012, "p_equivalence_holm": 0.4} | values))
    change(study, "power", MACRO, seeds_needed=20.0, chips_factor_needed=3.14)
    change(study, "power", MICRO, seeds_needed=40.0, chips_factor_needed=np.nan)
    text = Page(render(study)).text
    assert f"focal − weighted_ce: {sentence}" in text
    assert "no difference" not in text.lower().replace("and no difference is shown", "")


@pytest.mark.parametrize(
    ("seeds", "chips", "words"),
    [
        (np.nan, 2.31, "About 2.4 × the chips could settle ± 2 points (more seeds alone could not)."),
        (104.0, np.nan, "About 110 seeds could settle ± 2 points (more chips alone could not)."),
        (np.nan, np.nan, "Neither more seeds nor more chips alone could settle ± 2 points."),
        (5.0, 1.0, "anything from −0.6 to +3.0. Focal and weighted_ce are equivalent in micro accuracy"),
    ],
)
def test_an_open_answer_says_what_would_decide_it(study, render, seeds, chips, words):
    change(study, "contrasts", MACRO, verdict="inconclusive", difference=0.012, crossed_low=-0.006, crossed_high=0.03)
    change(study, "power", MACRO, seeds_needed=seeds, chips_factor_needed=chips)
    change(study, "contrasts", MICRO, verdict="equivalent within margin")
    assert words in Page(render(study)).text


def test_no_difference_of_more_than_all_points_is_named(study, render):
    change(study, "power", {"metric": "macro_accuracy"}, smallest_difference=1.701)
    text = Page(render(study)).text
    assert "% is more than 100 points; it decides the margin" in text
    assert "averagedmore than 100" in text
    assert "interaction170.1" in text, "differences of differences reach 200 points"


def test_what_two_open_answers_need_is_said_once(study, render):
    for metric, difference in (("macro_accuracy", 0.012), ("micro_accuracy", -0.004)):
        chosen = MACRO | {"metric": metric}
        values = {"difference": difference, "crossed_low": -0.02, "crossed_high": 0.03, "verdict": "inconclusive"}
        change(study, "contrasts", chosen, **values)
        change(study, "power", chosen, seeds_needed=20.0, chips_factor_needed=3.14)
    text = Page(render(study)).text
    assert (
        "No clear difference in macro accuracy: +1.2 points, anything from −2.0 to +3.0. No clear difference in micro "
        "accuracy: −0.4 points, anything from −2.0 to +3.0. About 4 × the chips or about 20 seeds could settle "
        "± 2 points."
    ) in text
    assert "focal against weighted_ce +1.2[−2.0, +3.0] inconclusive" in text.replace(
        "+1.2 inconclusive[−2.0, +3.0]", "+1.2[−2.0, +3.0] inconclusive"
    )


@pytest.mark.parametrize(
    ("difference", "verdict", "word"),
    [(0.03, "difference shown", "better"), (-0.03, "difference shown", "worse"),
     (0.001, "equivalent within margin", "equivalent"), (0.01, "inconclusive", "inconclusive")],
)  # fmt: skip
def test_the_first_table_has_one_word_for_each_score(study, render, difference, verdict, word):
    change(study, "contrasts", MACRO, difference=difference, crossed_low=-0.05, crossed_high=0.05, verdict=verdict)
    page = Page(render(study))
    words = [entry["class"] for entry in page.attributes("span") if entry.get("class", "").startswith("word")]
    assert words[0] == f"word {word}"


def test_the_primary_score_stands_first_and_is_named(study, render):
    text = Page(render(study, primary="micro_accuracy")).text
    assert "Micro accuracy answers the question; other scores are secondary" in text
    assert text.index("Micro accuracy primary score") < text.index("Macro accuracy secondary")


def test_the_trust_box_tells_what_the_tables_hold(study, render):
    change(study, "per_class", {"class_name": "Grass", "metric": "recall"}, n=12)
    study.tables["runs"]["best_epoch"] = study.tables["runs"]["epochs"]
    text = Page(render(study)).text
    n = len(study.tables["runs"])
    assert "“Grass”, 12 test chips: one more right is 2.8 points of macro accuracy" in text
    assert f"best at the last epoch in {n} of {n} runs: longer training may score higher" in text
    assert "simulated chips, random weights (tiny)" in text


def test_correlated_neighbours_are_told(study, render):
    table = study.tables["correlation"]
    known = table["moran_i"].notna()
    table.loc[known, ["moran_i", "independent_low", "independent_high"]] = [0.0, -0.1, 0.1]
    total = len(study.tables["summary"][["backbone", "loss", "decoder"]].drop_duplicates())
    assert f"together more than by chance for 0 of {total} recipes" in Page(render(study)).text
    table.loc[known, "moran_i"] = 0.3
    text = Page(render(study)).text
    assert f"together more than by chance for {total} of {total} recipes" in text
    assert "No interval of this page speaks of another landscape" in text


def test_intervals_that_are_wider_in_blocks_are_told(study, render):
    table = study.tables["spatial"]
    own = study.tables["summary"]
    own = own[own["classes"] == "all"].set_index(["backbone", "loss", "decoder", "metric"])
    for place, row in table[table["contrast"].isna()].iterrows():
        crossed = own.loc[tuple(row[["backbone", "loss", "decoder", "metric"]])]
        middle, half = crossed["pooled"], crossed["crossed_high"] - crossed["crossed_low"]
        table.loc[place, ["low", "high"]] = [middle - half, middle + half]
    study.tables["spatial"] = table[table["contrast"].isna()].reset_index(drop=True)
    text = Page(render(study)).text
    assert "the interval of the median recipe or contrast 2.00 times as wide. Quote the wider ones." in text


def test_verdicts_are_counted_by_family(study, render):
    macro = {"metric": "macro_accuracy", "classes": "all"}
    change(study, "contrasts", macro | {"family": "averaged"}, verdict="inconclusive")
    change(study, "contrasts", macro | {"family": "cell"}, verdict="equivalent within margin")
    words = (
        "averaged: 0 of 2 show a difference, 0 equivalent within the margin, 2 inconclusive; cell: 0 of 4 show a "
        "difference, 4 equivalent within the margin, 0 inconclusive"
    )
    assert words in Page(render(study)).text


def test_discrepancies_of_the_mixed_model_are_listed_or_said_to_be_none(study, render):
    study.tables["mixed_model"]["discrepancy"] = np.nan
    total = len(study.tables["mixed_model"])
    assert f"agrees in {total} of {total} comparisons." in Page(render(study)).text
    change(study, "mixed_model", MACRO, discrepancy="estimates differ", mixed_difference=0.05)
    text = Page(render(study)).text
    assert f"agrees in {total - 1} of {total} comparisons." in text
    assert "focal − weighted_ce (all classes), macro accuracy: +5.0" in text
    assert "here; estimates differ." in text


@pytest.mark.parametrize(
    ("low", "high", "verdict", "words"),
    [
        (0.01, 0.03, "difference shown", "focal is better, not only elsewhere on the curve."),
        (-0.01, 0.05, "difference shown", "without a shift may be another point of the same curve."),
        (-0.01, 0.05, "inconclusive", "no difference is shown, neither there nor without a shift."),
        (np.nan, np.nan, "inconclusive", "better and elsewhere can’t be told apart."),
    ],
)
def test_fronts_tell_better_from_elsewhere(study, render, low, high, verdict, words):
    change(study, "contrasts", MACRO, verdict=verdict, crossed_low=0.01, crossed_high=0.03, difference=0.02)
    fronts = study.tables["fronts_contrasts"]
    rows = (fronts["metric"] == "macro_accuracy_at_equal_micro") & (fronts["contrast"] == LOSSES["contrast"])
    fronts.loc[rows & (fronts["scope"] == "all"), ["difference", "ci_low", "ci_high"]] = [0.02, low, high]
    text = Page(render(study)).text
    sentence = text[text.index("focal − weighted_ce: at equal micro accuracy") :]
    assert words in sentence[:300]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.02, 0.18, "is better than the best control (majority, 40.0 %): +10.0 points [+2.0, +18.0]."),
        (
            -0.02,
            0.22,
            "No recipe is shown to beat a simple rule in macro accuracy: the best recipe in macro accuracy (",
        ),
        (np.nan, np.nan, "differ by +10.0 points without an interval."),
    ],
)
def test_controls_are_beaten_only_where_numbers_say_so(study, render, low, high, words):
    macro = {"metric": "macro_accuracy", "classes": "all"}
    values = {"control_backbone": "none", "control": "majority", "pooled": 0.5, "control_pooled": 0.4}
    change(study, "best_pair", macro, **values, difference=0.1, low=low, high=high)
    assert words in Page(render(study)).text.replace("\u00a0", " ")


def test_a_recipe_that_is_worse_than_a_control_is_said_to_be(study, render):
    change(study, "best_pair", {"metric": "micro_accuracy"}, difference=-0.1, low=-0.15, high=-0.05)
    assert "is worse than the best control (" in Page(render(study)).text


def test_a_study_without_controls_says_so(study, render):
    for name in ("controls", "best_pair"):
        study.tables[name] = study.tables[name].head(0)
    assert "The study has no controls (report.controls)" in Page(render(study)).text


def test_the_leader_follows_the_numbers(study, render):
    macro = {"metric": "macro_accuracy", "classes": "all"}
    change(study, "summary", macro, pooled=0.4, crossed_low=0.35, crossed_high=0.45)
    best = macro | {"loss": "focal", "decoder": "mlp"}
    change(study, "summary", best, pooled=0.5, crossed_low=0.48, crossed_high=0.52)
    text = Page(render(study)).text
    assert "Highest macro accuracy of 4 recipes 50.0 % tiny · focal · mlp" in text
    assert "guessing would score about 10.0 %: the interval of 4 of 4 recipes lies above that." in text
    below = Page(render(study, chance_macro_accuracy=0.6)).text
    assert "guessing would score about 60.0 %: the interval of 0 of 4 recipes lies above that, and of 4 below." in below
    change(study, "summary", best, pooled=0.3)
    assert "40.0 % A tie of 3 at the precision shown:" in Page(render(study)).text


def test_no_one_is_named_alone_where_others_are_equal(study, render):
    """In alternative texts, in the box about trust, and above the pictures of chips."""
    macro = {"metric": "macro_accuracy", "classes": "all"}
    change(study, "summary", macro, pooled=0.4)
    change(study, "summary", macro | {"loss": "focal", "decoder": "mlp"}, pooled=0.3)
    change(study, "summary", {"metric": "micro_accuracy", "classes": "all"}, pooled=0.5)
    change(study, "per_class", {"metric": "recall"}, n=20)
    change(study, "confusion", {"true_name": "Grass"}, count=5)
    classes = study.tables["classes"]["class_name"].tolist()
    nothing = {"typical": [], "hardest": [], "wrong": []}
    gallery = {
        "recipe": ["tiny", "focal", "mlp"], "bands": ["RED", "GREEN", "BLUE"], "brightest": 0.2, "gamma": 1.6,
        "classes": [{"n": 5, "right": 4, "kinds": nothing} for _ in classes], "chips": {}, "pairs": [],
    }  # fmt: skip
    page = Page(render(study, gallery=gallery))
    texts = " ".join(image["alt"] for image in page.attributes("img"))
    assert "Macro accuracy runs from 30.0 % (tiny · focal · mlp) to 40.0 % (tiny · " in texts
    assert " and tiny · " in texts[texts.index("to 40.0 %") : texts.index("Micro accuracy is 50.0 % of every recipe.")]
    assert re.search(r"Grass as \w.* and \w.* \d+\.\d % each", texts)
    assert re.search(r"20 test chips each: one more right is", page.text)
    assert "one of the recipes with the best macro accuracy" in page.text
    change(study, "summary", macro | {"loss": "focal", "decoder": "mlp"}, pooled=0.45)
    assert "predicts them, the recipe with the best macro accuracy" in Page(render(study, gallery=gallery)).text


def test_a_class_that_is_never_predicted_has_no_precision_and_is_named(study, render):
    assert "never predicted by" not in Page(render(study)).text
    mlp = {"decoder": "mlp", "predicted_name": "Grass"}
    change(study, "confusion", mlp, count=0)
    empty = dict.fromkeys(["pooled", "mean", "seeds_low", "seeds_high", *CROSSED], np.nan)
    change(study, "per_class", {"decoder": "mlp", "class_name": "Grass", "metric": "precision"}, **empty)
    text = Page(render(study)).text
    assert "“Grass” is never predicted by tiny · weighted_ce · mlp and tiny · focal · mlp" in text
    assert "—never predicted" in text
    change(study, "confusion", {"predicted_name": "Grass"}, count=0)
    assert "“Grass” is never predicted by any recipe" in Page(render(study)).text


def test_one_seed_says_what_it_cannot_tell(tmp_path, render):
    study = as_written(make_study(tmp_path, seeds=1), tmp_path)
    text = Page(render(study)).text
    assert "No seeds interval: it needs at least two seeds" in text
    assert "interval for new chips alone" in text
    assert "intervals (chips: for new chips alone; no seeds interval)" in text
    assert "new seeds and new chips" not in text
    assert "chips [" in text
    assert "chips; dashed: zero" in text
    assert "seeds [" not in text
    assert "With one seed, the spread over trainings is unknown, and so is the power." in text
    assert "one seed" in text[text.index("The answer") : text.index("Figure 1.")].lower()
    assert "unknown: one seed" in text
    assert "The part from training is unknown: one seed." in text
    assert not re.search(r"\bnan\b", text.lower())


def test_several_seeds_that_do_not_differ_are_not_called_one_seed(study, render):
    table = study.tables["variance"]
    table[["variance", "sd", "low", "high"]], table["share"], table["note"] = 0.0, np.nan, ""
    text = Page(render(study)).text
    assert "none seen: all runs of a recipe have the same accuracies" in text
    assert "no test chip of theirs changes, so that there is no spread to share out." in text
    assert "one seed" not in text.lower()


def test_one_recipe_compares_nothing(tmp_path, render):
    options = {"losses": ("ce",), "decoders": ("identity",), "seeds": 3, "controls": False}
    study = as_written(make_study(tmp_path, **options), tmp_path)
    text = Page(render(study)).text
    assert "The configuration names no contrasts (report.contrasts), so no settings are compared." in text
    assert "Macro accuracy of the one recipe" in text
    assert "★" not in text


def test_without_coordinates_the_page_says_so(study, render):
    for name in ("overlap", "distance"):
        study.tables[name] = study.tables[name].head(0)
    text = Page(render(dataclasses.replace(study, points=study.points.head(0)))).text
    assert "so it is unknown whether they share ground." in text
    assert "so that there is no map." in text


def test_the_kind_of_interval_decides_how_to_read_it(study, render):
    assert "training sets of different seeds overlap" in Page(render(study)).text
    for name in ("summary", "per_class", "controls"):
        study.tables[name]["seeds_interval"] = "t_fixed_split"
    text = Page(render(study)).text
    assert "do not cover the choice of training chips" in text
    assert "training sets of different seeds overlap" not in text


def test_plans_made_after_results_are_told(study, render):
    assert "No plan was made or changed after results existed." in Page(render(study)).text
    text = Page(render(study, plan_changes=["On Monday margins changed."])).text
    assert "The plan was changed or made after results existed: On Monday margins changed." in text
    assert PLAN["sha256"] in text
    assert "There is no record of what was planned" in Page(render(study, registrations=[])).text


def test_runs_that_are_lost_are_named_first_with_what_is_compared_without_them(study, render):
    runs = study.tables["runs"]
    runs["reason"] = runs["reason"].astype(object)
    runs.loc[3, ["status", "reason"]] = ["diverged", "training loss nan in epoch 2"]
    runs.loc[7:8, "status"] = "missing"
    study.tables["fronts_runs"] = study.tables["fronts_runs"].query("seed not in (2, 3)")
    text = Page(render(study)).text
    assert f"1 of 20 runs diverged: {runs.loc[3, 'run']} (training loss nan in epoch 2)." in text
    assert f"2 of 20 runs are missing: {runs.loc[7, 'run']} and {runs.loc[8, 'run']}." in text
    assert "All comparisons are of 4 of 4 recipes on the seeds they all have (0, 1 and 4)." in text
    assert text.index("diverged") < text.index("The answer")
    assert "An average over other settings" not in text


def test_averages_without_the_recipes_that_are_left_out_are_said_to_be_such(study, render):
    of_one = (study.tables["runs"]["loss"] == "focal") & (study.tables["runs"]["decoder"] == "mlp")
    study.tables["runs"].loc[of_one, "status"] = "missing"
    study.tables["fronts_runs"] = study.tables["fronts_runs"].query("not (loss == 'focal' and decoder == 'mlp')")
    text = Page(render(study)).text
    assert "3 of 4 recipes" in text
    assert "An average over other settings uses only the settings that still have all recipes it needs." in text
