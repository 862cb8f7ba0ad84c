"""The page about what mattered: what it says, what its pictures show, and that it is one silent file."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.browser import look_at
from helpers.report_page import Page
from terralucas.report.explained import build_explained
from terralucas.report.figures.importance import importance_figure

BANDS = ["RED", "NIR_NARROW"]
LOSSES = {
    ("group", "visible"): 0.02,
    ("group", "near infrared"): 0.3,
    ("band", "RED"): 0.02,
    ("band", "NIR_NARROW"): 0.3,
}
RECORD = {
    "study": "demo",
    "recipe": {"backbone": "tiny", "loss": "ce", "decoder": "mlp"},
    "metric": "macro_accuracy",
    "chips": {"simulated": True},
    "weights": {"source": "random"},
    "dataset": {"classes": [{"code": 1, "name": "Grass & <shrubs>"}, {"code": 2, "name": "Water"}]},
}


def importance():
    names = [
        {"kind": kind, "name": name, "bands": "NIR_NARROW" if loss > 0.1 else "RED", "metric": metric, "loss": loss}
        for (kind, name), loss in LOSSES.items()
        for metric in ("macro_accuracy", "micro_accuracy", "nll")
    ]
    rows = [
        row
        | {"score": 0.6, "sd_seeds": 0.05, "lowest": row["loss"] - 0.04, "highest": row["loss"] + 0.04}
        | {"se_permutations": 0.01, "n_seeds": 2, "permutations": 5, "chips": 80, "test_chips": 300}
        for row in names
    ]
    by_seed = [row | {"seed": seed, "loss": row["loss"] + 0.04 * (2 * seed - 1)} for row in names for seed in (0, 1)]
    return pd.DataFrame(rows), pd.DataFrame(by_seed)


def occlusion():
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "JPEG")
    fall = np.zeros((8, 8))
    fall[0, 7], fall[7, 0] = 0.25, -0.25
    chip = {"id": "a<b", "true": 0, "predicted": 0, "p_true": 0.9, "p_predicted": 0.9, "fall": fall.tolist()}
    chip |= {"picture": base64.b64encode(content.getvalue()).decode()}
    nothing = {"typical": [], "hardest": [], "wrong": []}
    return {
        "schema_version": 1, "recipe": ["tiny", "ce", "mlp"], "bands": ["RED", "GREEN", "BLUE"], "brightest": 0.2,
        "gamma": 1.6, "window_px": 16, "filling": {"RED": 0.1, "NIR_NARROW": 0.25},
        "classes": [
            {"n": 5, "right": 4, "kinds": nothing | {"typical": [0], "wrong": [3]}},
            {"n": 0, "right": 0, "kinds": nothing},
        ],
        "chips": {"0": chip, "3": chip | {"predicted": 1, "p_true": 0.1}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    table, by_seed = importance()
    importance_figure(by_seed, folder / "importance.svg")
    build_explained(RECORD, table, occlusion(), folder / "importance.svg", folder / "explained.html")
    return folder / "explained.html"


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text(encoding="utf-8"))


def test_it_says_what_mattered_most_and_what_was_computed(page):
    assert (
        "Of the groups, near infrared costs most macro accuracy when permuted: 30.0 points, from 26.0 to 34.0"
        in page.text
    )
    assert "Of the single bands, NIR_NARROW costs most" in page.text
    assert "2 models, each on its own test chips; 5 permutations; 80 of 300 test chips" in page.text
    assert "unchanged chips: 60.0" in page.text
    assert "seeds −2.0 to 6.0, sd 5.0" in page.text
    assert "The chips are simulated" in page.text
    assert "weights of the backbone are random" in page.text


def test_it_says_what_the_numbers_do_not_show(page):
    for words in ("Bands are correlated", "mixes two places", "it is no confidence interval", "itself unusual"):
        assert words in page.text


def test_each_occluded_chip_has_a_picture_and_a_map_with_words(page):
    texts = [image["alt"] for image in page.attributes("img")]
    assert len(texts) == 1 + 2 * 2
    assert texts[0].startswith("Dots with ranges. Mean loss of macro accuracy, points: visible 2.0; near infrared 30.0")
    assert texts[1] == "Chip a<b: Grass & <shrubs>, right, 90.0\u00a0%"
    assert texts[2].endswith("probability of Grass & <shrubs>: it falls most, by 25.0 points, in the upper right.")
    assert "taken for Water" in page.text
    assert "Confidently wrong" in page.text


@pytest.mark.parametrize(
    ("red", "infrared", "said"),
    [
        (
            0.3,
            0.3,
            "Of the single bands, RED and NIR_NARROW cost most macro accuracy when permuted: 30.0 points each, from",
        ),
        (
            0.3001,
            0.3,
            "Of the single bands, RED and NIR_NARROW cost most macro accuracy when permuted: 30.0 points each",
        ),
        (-0.02, -0.3, "None of the single bands costs macro accuracy when permuted, at the precision shown."),
        (0.0004, 0.0, "None of the single bands costs macro accuracy when permuted, at the precision shown."),
    ],
)
def test_no_band_is_named_alone_where_others_are_equal_and_none_where_nothing_is_lost(tmp_path, red, infrared, said):
    table, by_seed = importance()
    importance_figure(by_seed, tmp_path / "importance.svg")
    losses = table["name"].map({"RED": red, "NIR_NARROW": infrared})
    table["loss"] = losses.where(losses.notna(), table["loss"])
    build_explained(RECORD, table, occlusion(), tmp_path / "importance.svg", tmp_path / "page.html")
    text = Page((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert said in text
    assert "Of the groups, near infrared costs most macro accuracy" in text


@pytest.mark.parametrize(
    ("cells", "fall", "said"),
    [
        ([(0, 7), (7, 0)], 0.25, "it falls most, by 25.0 points, in the upper right and lower left."),
        ([(0, 7)], 0.0004, "it falls nowhere."),
    ],
)
def test_all_places_of_the_largest_fall_are_named(tmp_path, cells, fall, said):
    table, by_seed = importance()
    importance_figure(by_seed, tmp_path / "importance.svg")
    found, falls = occlusion(), np.zeros((8, 8))
    for cell in cells:
        falls[cell] = fall
    found["chips"]["0"]["fall"] = falls.tolist()
    build_explained(RECORD, table, found, tmp_path / "importance.svg", tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.attributes("img")[2]["alt"].endswith(f"the probability of Grass & <shrubs>: {said}")


def test_a_probability_that_falls_nowhere_has_no_largest_fall(tmp_path):
    table, by_seed = importance()
    importance_figure(by_seed, tmp_path / "importance.svg")
    found = occlusion()
    found["chips"]["0"]["fall"] = (-0.1 * np.ones((8, 8))).tolist()
    build_explained(RECORD, table, found, tmp_path / "importance.svg", tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.attributes("img")[2]["alt"].endswith("the probability of Grass & <shrubs>: it falls nowhere.")
    assert page.text.count("falls nowhere") == 1
    assert page.text.count("largest fall 25.0 points") == 1


def test_the_map_is_orange_where_the_probability_falls_and_white_where_nothing_changes(page):
    source = page.attributes("img")[2]["src"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))).astype(int)
    assert pixels.shape == (8, 8, 3)
    red, green, blue = pixels[0, 7]
    assert red > green > blue, "orange"
    red, green, blue = pixels[7, 0]
    assert blue > red > green, "purple"
    assert pixels[3, 3].min() > 240


def test_equal_tables_give_equal_bytes(path, tmp_path):
    table, by_seed = importance()
    importance_figure(by_seed, tmp_path / "importance.svg")
    build_explained(RECORD, table, occlusion(), tmp_path / "importance.svg", tmp_path / "explained.html")
    assert (tmp_path / "explained.html").read_bytes() == path.read_bytes()


def test_one_seed_and_one_permutation_have_no_spread(tmp_path):
    table, by_seed = importance()
    alone = {"sd_seeds": np.nan, "se_permutations": np.nan, "n_seeds": 1, "permutations": 1, "chips": 300}
    importance_figure(by_seed[by_seed["seed"] == 0], tmp_path / "importance.svg")
    record = RECORD | {"metric": "mcc", "chips": {"simulated": False}, "weights": {"source": "huggingface"}}
    build_explained(record, table.assign(**alone), occlusion(), tmp_path / "importance.svg", tmp_path / "page.html")
    text = Page((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "nan" not in text
    assert "near infrared costs most macro accuracy when permuted: 30.0 points." in text
    assert "1 model, each on its own test chips; 1 permutation; all 300 test chips." in text
    assert "seeds −2.0" not in text
    assert "Read this first" not in text


# A page around the page that reads it in frames; the page's own rules let no other script in.
AROUND = """<!DOCTYPE html><body><script>
const seen = {};
for (const width of [360, 1200]) {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; width: ${width}px; height: 900px`;
  frame.onload = () => {
    const page = frame.contentDocument;
    seen[width] = {
      content: page.documentElement.scrollWidth,
      images: [...page.images].map((image) => image.naturalWidth),
      buttons: page.querySelectorAll("table.sortable th button").length,
      loaded: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 5)),
    };
    if (Object.keys(seen).length === 2) document.body.innerHTML = `<pre>${JSON.stringify(seen)}</pre>`;
  };
  frame.src = "explained.html";
  document.body.append(frame);
}
</script></body>"""


@pytest.mark.slow
def test_in_a_browser_it_fits_stays_silent_and_loads_nothing(chromium, path):
    around = path.with_name("around.html")
    around.write_text(AROUND, encoding="utf-8")
    seen, said = look_at(chromium, around)
    assert said == []
    for width, found in seen.items():
        assert found["content"] <= int(width)
        assert len(found["images"]) == 5 and all(found["images"])
        assert found["buttons"] == 5, "tables can be sorted by keyboard"
        assert set(found["loaded"]) <= {"data:"}
