"""The page's sentences on claims, and the scores of other studies beside this one's."""

import numpy as np
import pandas as pd
import pytest

from helpers import synthetic
from helpers.report_page import Page, as_written, render
from terralucas.errors import StudyError
from terralucas.report.sections.claims import claim_items
from terralucas.report.sections.other_studies import (
    other_class_sentences,
    other_studies_page_table,
    other_studies_table,
)
from terralucas.statistics.claims import COLUMNS

LEVEL = 0.95
BASE = dict.fromkeys(COLUMNS, np.nan) | {
    "classes": "all", "claim": "C1", "says": "MLP wins.", "a": "mlp", "b": "identity", "metric": "macro_accuracy",
    "relation": "higher", "margin": 0.02, "verdict": "supported", "difference": 0.05, "crossed_low": 0.01,
    "crossed_high": 0.09, "n_seeds": 5, "p_holm": 0.01, "p_equivalence_holm": 0.9,
}  # fmt: skip
OPEN = {"verdict": "inconclusive", "difference": 0.01, "crossed_low": -0.02, "crossed_high": 0.04, "p_holm": 0.6}


def sentence(**values):
    (item,) = claim_items(pd.DataFrame([BASE | values]), LEVEL)
    return item["sentence"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "In macro accuracy mlp is higher than identity: +5.0 points [+1.0, +9.0], p = 0.010."),
        (
            {"verdict": "refuted", "difference": -0.05, "crossed_low": -0.09, "crossed_high": -0.01},
            "In macro accuracy mlp is lower than identity: −5.0 points [−9.0, −1.0], p = 0.010.",
        ),
        (
            {"verdict": "refuted", "difference": 0.001, "p_holm": 0.8, "p_equivalence_holm": 0.02},
            "In macro accuracy mlp and identity are equivalent within ± 2 points: +0.1 points [+1.0, +9.0], p = 0.020.",
        ),
        (
            {"relation": "equivalent", "margin": 0.005, "verdict": "refuted", "p_exceeding_holm": 0.03},
            "In macro accuracy mlp and identity differ by more than 0.5 points: +5.0 points [+1.0, +9.0], p = 0.030.",
        ),
        (
            OPEN | {"seeds_needed": 15, "chips_factor_needed": 3.0},
            "In macro accuracy mlp − identity is +1.0 points [−2.0, +4.0]; about 3 × the chips or about "
            "15 seeds could settle ± 2 points.",
        ),
        (OPEN, "In macro accuracy mlp − identity is +1.0 points [−2.0, +4.0]; neither more seeds nor more chips alone "
               "could settle ± 2 points."),
        (OPEN | {"seeds_needed": 5, "chips_factor_needed": 1.0}, "In macro accuracy mlp − identity is +1.0 points "
         "[−2.0, +4.0]."),
        (
            OPEN | {"metric": "nll", "margin": np.nan},
            "In NLL mlp − identity is +0.010 [−0.020, +0.040].",
        ),
        (
            OPEN | {"n_seeds": 1},
            "In macro accuracy mlp − identity is +1.0 points [−2.0, +4.0] for new chips alone, and one seed says "
            "nothing of new training.",
        ),
        *(
            (
                OPEN | {"n_seeds": seeds, "margin": margin, "crossed_low": np.nan, "crossed_high": np.nan},
                "In macro accuracy mlp − identity is +1.0 points; there is no interval, so that nothing is shown.",
            )
            for seeds, margin in ((1, 0.02), (2, 0.02), (2, np.nan))
        ),
        (
            {"difference": np.nan, "verdict": "inconclusive"},
            "No two recipes of this study differ in mlp and identity alone.",
        ),
    ],
)  # fmt: skip
def test_sentences_are_made_of_the_numbers(values, said):
    assert sentence(**values) == said


def test_a_verdict_that_changes_without_a_class_is_told():
    table = pd.DataFrame([BASE, BASE | {"classes": "without 10", "verdict": "inconclusive"}])
    (item,) = claim_items(table, LEVEL)
    assert item["sentence"].endswith("p = 0.010. Without 10 (class code) it is inconclusive.")
    (item,) = claim_items(pd.DataFrame([BASE, BASE | {"classes": "without 10"}]), LEVEL)
    assert "Without 10" not in item["sentence"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return synthetic.make_study(tmp_path_factory.mktemp("study"), seeds=2, draws=200, controls=False)


def test_the_page_shows_claims_before_everything_but_the_answer(study, tmp_path):
    claims = pd.DataFrame([BASE | {"says": "MLP < others & wins."}, BASE | OPEN | {"claim": "C2"}])
    claims.insert(0, "schema_version", 2)
    study.tables["claims"] = claims
    classes = {"demo": pd.DataFrame({"class_code": ["a", "b"]}), "other": pd.DataFrame({"class_code": ["<c>", "b"]})}
    study.tables["beside"] = other_studies_table({"demo": study.tables["summary"], "other": other(study)}, classes)
    page = Page(render(as_written(study, tmp_path), tmp_path))
    assert "C1 : “MLP < others & wins.” Supported. In macro accuracy mlp is higher" in page.text.replace("C1:", "C1 :")
    assert "The study other has other classes (2: <c>, b) than this one (2)" in page.text
    ids = [attributes["id"] for attributes in page.attributes("h2") if "id" in attributes]
    assert ids.index("answer") < ids.index("claims") < ids.index("beside") < ids.index("recipes")
    links = {attributes.get("href") for attributes in page.attributes("a")}
    assert {"#claims", "#beside"} <= links


def test_a_page_without_claims_and_other_studies_says_nothing_of_them(study, tmp_path):
    none = {name: study.tables[name].iloc[:0] for name in ("claims", "beside")}
    study.tables.update(none)
    page = Page(render(as_written(study, tmp_path), tmp_path))
    assert "#claims" not in {attributes.get("href") for attributes in page.attributes("a")}
    assert "was claimed" not in page.text


def other(study):
    """Another study with one of the recipes and one that this study lacks."""
    summary = study.tables["summary"]
    table = summary[summary["decoder"] == "identity"].copy()
    table["loss"] = table["loss"].replace("focal", "terratorch_focal")
    return table.assign(pooled=0.25, crossed_low=0.2, crossed_high=0.3)


def test_recipes_of_both_studies_stand_in_one_row(study):
    table = other_studies_table({"ours": study.tables["summary"], "theirs": other(study)})
    assert set(table["metric"]) == {"macro_accuracy", "micro_accuracy"}
    page = other_studies_page_table(table)
    rows = {" · ".join(row.name): [cell.text for cell in row.cells] for row in page.rows}
    assert [column.label for column in page.columns] == ["Macro accuracy"] * 2 + ["Micro accuracy"] * 2
    assert rows["tiny · weighted_ce · identity"][1::2] == ["25.0", "25.0"]
    assert rows["tiny · weighted_ce · mlp"][1::2] == ["—", "—"]
    assert rows["tiny · terratorch_focal · identity"] == ["—", "25.0", "—", "25.0"]
    assert page.rows[0].cells[1].small == ("crossed [20.0, 30.0]",)
    assert "an interval (crossed: for new seeds and new chips)." in page.caption


def test_a_study_of_other_classes_is_said_to_have_another_task(study):
    codes = {"ours": [1, 2, 3, 4, 5], "theirs": ["1", "7"]}
    classes = {name: pd.DataFrame({"class_code": each}) for name, each in codes.items()}
    summaries = {"ours": study.tables["summary"], "theirs": other(study), "same": other(study), "old": other(study)}
    table = other_studies_table(summaries, classes | {"same": classes["ours"].iloc[::-1]})
    assert other_class_sentences(table) == [
        "The study theirs has other classes (2: 1, 7) than this one (5), and so another task: by chance, its macro "
        "accuracy is 50 %, and here 20 %."
    ]
    assert other_class_sentences(other_studies_table({"ours": study.tables["summary"]})) == []


def test_an_interval_of_a_study_with_one_seed_is_not_called_one_for_new_seeds(study):
    one_seed = other(study).assign(crossed_interval="chips_percentile", n_seeds=1)
    page = other_studies_page_table(other_studies_table({"ours": study.tables["summary"], "theirs": one_seed}))
    assert "(crossed: for new seeds and new chips; chips: for new chips alone)" in page.caption
    assert page.rows[0].cells[1].small == ("chips [20.0, 30.0]",)


def test_tables_of_another_version_are_refused(study):
    with pytest.raises(StudyError, match="study old cannot be shown beside"):
        other_studies_table({"ours": study.tables["summary"], "old": other(study).assign(schema_version=1)})
