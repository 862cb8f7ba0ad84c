"""The section “Chips” of the page: its cards, the table of errors, and where its links lead."""

import re

import pytest

from helpers.report_page import render
from terralucas.report.sections.gallery import gallery_items

NAMES = ["Arable land", "Grass & <shrubs>", "Water"]


def make_gallery():
    chip = {"id": "45922254", "true": 0, "predicted": 0, "p_true": 0.9, "p_predicted": 0.9, "picture": "QUJD"}
    missed = chip | {"id": "x<y", "predicted": 1, "p_true": 0.12, "p_predicted": 0.8}
    kinds = {"typical": [0], "hardest": [], "wrong": [3]}
    nothing = {"typical": [], "hardest": [], "wrong": []}
    return {
        "schema_version": 1,
        "recipe": ["tiny", "ce", "mlp"],
        "bands": ["RED", "GREEN", "BLUE"],
        "brightest": 0.2134,
        "gamma": 1.6,
        "classes": [
            {"n": 5, "right": 1, "kinds": kinds},
            {"n": 0, "right": 0, "kinds": nothing},
            {"n": 0, "right": 0, "kinds": nothing},
        ],
        "pairs": [
            {"true": 0, "predicted": 0, "n": 1, "chips": []},
            {"true": 0, "predicted": 1, "n": 4, "chips": [3]},
        ],
        "chips": {"0": chip, "3": missed},
    }


def test_each_card_says_what_is_true_what_was_predicted_and_how_sure():
    found = gallery_items(make_gallery(), NAMES)
    (entry,) = found["classes"]
    assert entry["counts"] == "1 of 5 chips right"
    typical, wrong = (kind["cards"][0] for kind in entry["kinds"])
    assert (typical["verdict"], typical["rest"]) == ("right, 90.0\u00a0%", "")
    assert (wrong["verdict"], wrong["rest"]) == ("taken for Grass & <shrubs>, 80.0\u00a0%", "true class 12.0\u00a0%")
    assert found["stretch"] == "true colour; black is reflectance 0, white 0.21, gamma 1.6"


def test_a_number_of_the_table_leads_to_its_chips():
    found = gallery_items(make_gallery(), NAMES)
    cells = found["matrix"][0]["cells"]
    assert [cell["n"] for cell in cells] == [1, 4, 0]
    assert [cell["target"] for cell in cells] == [None, "chips-0-1", None]
    (error,) = found["errors"]
    assert error["target"] == "chips-0-1"
    assert error["title"] == "“Arable land” predicted as “Grass & <shrubs>”: 4 chips"
    assert not error["is_all"]


def test_one_band_is_shown_in_grey_and_said_so():
    gallery = make_gallery() | {"bands": ["SWIR_1"]}
    assert gallery_items(gallery, NAMES)["stretch"].startswith("grey, band SWIR_1;")


@pytest.mark.parametrize("gallery", [None, make_gallery()])
def test_the_page_has_the_section_where_there_are_pictures(study, tmp_path, gallery):
    names = list(study.tables["classes"]["class_name"])
    if gallery is not None:
        gallery["classes"] = gallery["classes"][:1] * len(names)
    page = render(study, tmp_path, gallery=gallery)
    assert ('<h2 id="chips">' in page) == (gallery is not None)
    assert ('<a href="#chips">Chips</a>' in page) == (gallery is not None)
    if gallery is not None:
        assert "data:image/jpeg;base64,QUJD" in page
        assert "x&lt;y" in page
        targets = set(re.findall(r'href="#(chips-\d+-\d+)"', page))
        assert targets == set(re.findall(r'id="(chips-\d+-\d+)"', page)) == {"chips-0-1"}
