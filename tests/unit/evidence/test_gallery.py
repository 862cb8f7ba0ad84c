"""The gallery: which chips are chosen, against a choice by hand, and what their pictures show."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from terralucas.evidence.gallery import choose_chips, make_gallery, mean_predictions
from terralucas.statistics.run_predictions import Part


def table(rows):
    return pd.DataFrame(rows, columns=["row", "label", "predicted", "p_true", "p_predicted", "runs"])


# row, label, predicted, p_true, p_predicted, runs
EXAMPLE = table(
    [
        [0, 0, 0, 0.9, 0.9, 1],
        [1, 0, 0, 0.6, 0.6, 1],
        [2, 0, 0, 0.8, 0.8, 1],
        [3, 0, 1, 0.1, 0.8, 1],
        [4, 0, 1, 0.3, 0.5, 1],
        [5, 0, 2, 0.05, 0.55, 1],
        [6, 1, 1, 0.7, 0.7, 1],
    ]
)


def test_chips_of_each_kind_are_chosen_by_their_probabilities():
    chosen = choose_chips(EXAMPLE, 3)
    assert chosen["classes"][0] == {
        "n": 6,
        "right": 3,
        "kinds": {"typical": [0, 2], "wrong": [3, 5], "hardest": [4, 1]},
    }
    assert chosen["classes"][1]["kinds"] == {"typical": [6], "wrong": [], "hardest": []}
    assert chosen["classes"][2] == {"n": 0, "right": 0, "kinds": {"typical": [], "wrong": [], "hardest": []}}
    assert chosen["pairs"] == [
        {"true": 0, "predicted": 0, "n": 3, "chips": []},
        {"true": 0, "predicted": 1, "n": 2, "chips": [3, 4]},
        {"true": 0, "predicted": 2, "n": 1, "chips": [5]},
        {"true": 1, "predicted": 1, "n": 1, "chips": []},
    ]


def test_a_chip_that_several_runs_tested_has_their_mean_probability():
    def part(chips, labels, *shares):
        return Part(np.array(chips), np.array(labels), np.log(np.array(shares)).astype(np.float32))

    parts = [part([5, 2], [1, 0], [0.2, 0.8], [0.9, 0.1]), part([5], [1], [0.9, 0.1])]
    found = mean_predictions(parts, 2)
    assert found["row"].tolist() == [2, 5]
    assert found["runs"].tolist() == [1, 2]
    assert found["predicted"].tolist() == [0, 0], "0.55 against 0.45"
    assert found["p_true"].to_numpy() == pytest.approx([0.9, 0.45])
    assert found["p_predicted"].to_numpy() == pytest.approx([0.9, 0.55])


def picture_of(gallery, place):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(gallery["chips"][place]["picture"]))))


def test_pictures_are_in_true_colour_on_one_scale_and_grey_where_pixels_are_missing():
    bands = ["BLUE", "NIR_NARROW", "RED", "GREEN"]
    chips = np.full((7, 4, 64, 64), 0.02)
    chips[0, 2] = 0.2  # red
    chips[6, 3] = 0.1  # half as bright, green
    chips[1, :, :32] = np.nan
    gallery = make_gallery(EXAMPLE, [f"c{n}" for n in range(7)], lambda row: chips[row], bands, 3, ("t", "l", "d"))
    assert gallery["bands"] == ["RED", "GREEN", "BLUE"]
    assert gallery["brightest"] == pytest.approx(0.2)
    red, green, half = (picture_of(gallery, place) for place in ("0", "6", "1"))
    assert red.shape == (64, 64, 3)
    assert red[32, 32] == pytest.approx([255, 60, 60], abs=6), "0.1 ^ (1 / 1.6) × 255"
    assert green[32, 32] == pytest.approx([60, 165, 60], abs=6), "0.5 ^ (1 / 1.6) × 255"
    assert half[10, 32] == pytest.approx([128] * 3, abs=6)
    assert half[50, 32] == pytest.approx([60] * 3, abs=6)
    assert gallery["chips"]["3"]["id"] == "c3"


@pytest.mark.parametrize(("side", "expected"), [(224, 74), (128, 64), (96, 96), (97, 48), (16, 16)])
def test_large_chips_are_averaged_to_at_most_96_pixels(side, expected):
    chip = np.random.default_rng(0).uniform(0, 0.3, (1, side, side))
    gallery = make_gallery(EXAMPLE, ["x"] * 7, lambda row: chip, ["SWIR_1"], 3, ("t", "l", "d"))
    picture = picture_of(gallery, "0")
    assert picture.shape == (expected, expected, 3)
    assert (picture[..., 0] == picture[..., 1]).mean() > 0.9, "one band is grey"


def test_the_same_chips_give_the_same_bytes():
    chip = np.random.default_rng(0).uniform(0, 0.3, (3, 32, 32))
    arguments = (EXAMPLE, ["x"] * 7, lambda row: chip, ["RED", "GREEN", "BLUE"], 3, ("t", "l", "d"))
    assert make_gallery(*arguments) == make_gallery(*arguments)
