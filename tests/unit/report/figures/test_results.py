"""Figures: what a reader sees in them, for ordinary and degenerate studies."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from helpers.synthetic import LEVEL, LUCAS, draw_all, make_study
from terralucas.report.colours import palette
from terralucas.report.figures import results

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    four = dict(list(LUCAS.items())[:4])
    return make_study(tmp_path_factory.mktemp("study"), backbones=("tiny", "base"), classes=four, excluded=(3,))


@pytest.fixture(scope="module")
def drawn(study, tmp_path_factory):
    return draw_all(study, tmp_path_factory.mktemp("figures"))


def texts(path):
    root = ElementTree.parse(path).getroot()
    return ["".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")]


def words(path):
    return " ".join(texts(path))


def test_same_tables_give_the_same_bytes(study, drawn, tmp_path):
    for name, path in draw_all(study, tmp_path).items():
        assert path.read_bytes() == drawn[name].read_bytes(), name


def test_every_axis_names_its_quantity_and_unit_and_both_intervals(drawn):
    wanted = {
        "answer": ("Difference (percentage points)", "95 % intervals", "thick crossed", "thin seeds", "Grey band"),
        "accuracy": ("Macro accuracy (%)", "Micro accuracy (%)", "95 % intervals", "thick crossed", "thin seeds"),
        "per_class": ("Recall (%)", "95 % intervals", "thick Wilson", "thin seeds", "n = 704"),
        "confusion": ("Predicted class (code)", "True class", "percent of the true class"),
        "curves": ("Epoch", "Validation macro accuracy (%)", "Band: lowest to highest seed"),
    }
    for name, phrases in wanted.items():
        for phrase in phrases:
            assert phrase in words(drawn[name]), (name, phrase)


def test_the_answer_shows_each_averaged_contrast_with_its_numbers_and_verdict(study, tmp_path):
    contrasts = study.tables["contrasts"].copy()
    chosen = (contrasts["contrast"] == "focal − weighted_ce") & (contrasts["scope"] == "all")
    chosen &= (contrasts["metric"] == "macro_accuracy") & (contrasts["classes"] == "all")
    assert chosen.sum() == 1
    contrasts.loc[chosen, ["difference", "crossed_low", "crossed_high"]] = [0.0123, 0.0046, 0.0201]
    contrasts.loc[chosen, "verdict"] = "difference shown"
    results.answer_figure(contrasts, LEVEL, tmp_path / "answer.svg")
    seen = texts(tmp_path / "answer.svg")
    assert "+1.2 [+0.5, +2.0]" in seen
    assert {"difference shown", "equivalent within margin", "inconclusive"} <= set(seen)
    # Three contrasts (loss, decoder, backbone) in two panels; cells and interactions are left to the tables.
    assert len([text for text in seen if re.fullmatch(r"[+−]?[\d.]+ \[.*\]", text)]) == 6


def test_a_study_without_contrasts_says_so(study, tmp_path):
    results.answer_figure(study.tables["contrasts"].head(0), LEVEL, tmp_path / "answer.svg")
    assert "names no contrasts (report.contrasts), or too few recipes are left" in words(tmp_path / "answer.svg")


def test_classes_are_ordered_by_their_number_of_chips(drawn):
    counts = [int(word.removeprefix("n = ")) for word in texts(drawn["per_class"]) if word.startswith("n = ")]
    assert counts == sorted(counts, reverse=True)


def test_confusion_rows_show_percent_of_the_true_class(tmp_path):
    cells = [("Land", "Land", 30), ("Land", "Water", 10), ("Water", "Land", 0), ("Water", "Water", 8)]
    codes = {"Land": "1", "Water": "2"}
    table = pd.DataFrame(
        {"backbone": "tiny", "loss": "ce", "decoder": "mlp", "true_code": codes[true], "true_name": true,
         "predicted_code": codes[other], "predicted_name": other, "count": count}
        for true, other, count in cells
    )  # fmt: skip
    results.confusion_figure(table, tmp_path / "confusion.svg")
    seen = texts(tmp_path / "confusion.svg")
    assert {"75", "25", "100"} <= set(seen)
    assert "0" not in seen


def test_confusion_shows_long_codes_once_and_upright(tmp_path):
    table = pd.DataFrame(
        {"backbone": "tiny", "loss": "ce", "decoder": "mlp", "true_code": true, "true_name": true,
         "predicted_code": other, "predicted_name": other, "count": 1}
        for true in ("Forest", "Herbaceous" * 4)
        for other in ("Forest", "Herbaceous" * 4)
    )  # fmt: skip
    results.confusion_figure(table, tmp_path / "confusion.svg")
    seen = texts(tmp_path / "confusion.svg")
    shortened = "HerbaceousHerbaceousHe …"
    assert [seen.count(name) for name in ("Forest", shortened)] == [2, 2]
    picture = (tmp_path / "confusion.svg").read_text(encoding="utf-8")
    turned = re.findall(r"<g[^>]*rotate\(-90\)[^>]*>|rotate\(-90[ )]", picture)
    assert len(turned) >= 3, "two codes and the label of the axis"


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_recipe_with_hostile_names_is_drawn(tmp_path, seeds):
    name = 'a <b> & "c" $x_1$ 水'
    options = {"losses": ("_ce$",), "decoders": ("i<&",), "classes": {name: 60, "_b": 30}, "controls": False}
    study = make_study(tmp_path / "study", ("_t",), seeds=seeds, epochs=1, **options)
    paths = draw_all(study, tmp_path)
    assert any(name in word for word in texts(paths["confusion"]))
    assert "_ce$" in texts(paths["accuracy"])
    assert ("No seeds interval" in words(paths["accuracy"])) == (seeds == 1)
    assert ("for new chips alone" in words(paths["accuracy"])) == (seeds == 1)


def test_scores_that_could_not_be_computed_are_left_out(study, tmp_path):
    summary = study.tables["summary"].copy()
    columns = ["pooled", "crossed_low", "crossed_high", "seeds_low", "seeds_high"]
    summary.loc[summary["metric"] == "macro_accuracy", columns] = np.nan
    results.accuracy_figure(summary, tmp_path / "accuracy.svg")
    assert "Macro accuracy (%)" in words(tmp_path / "accuracy.svg")


def test_a_loss_keeps_its_colour_in_every_figure(study, drawn):
    colours = palette(study.tables["summary"]["loss"])
    assert list(colours) == ["weighted_ce", "focal"]
    for name in ("accuracy", "per_class", "curves"):
        content = drawn[name].read_text(encoding="utf-8").lower()
        assert all(colour.lower() in content for colour in colours.values()), name
    assert len(set(palette(f"loss {number}" for number in range(12)).values())) == 12


def test_figures_load_nothing_from_outside(drawn):
    for path in drawn.values():
        content = path.read_text(encoding="utf-8")
        assert not re.findall(r'(?:href|src)="(?!#|data:)[^"]*"', content)
        assert not re.findall(r"url\((?!#)", content)
        assert "@import" not in content
