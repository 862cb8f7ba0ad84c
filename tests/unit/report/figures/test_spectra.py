"""The figure of the reflectance of each class: its lines are the medians of the chips."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from terralucas.report.figures.spectra import spectra_figure
from terralucas.report.figures.study import with_names

BANDS = ["RED", "NIR_BROAD"]
SVG = "{http://www.w3.org/2000/svg}"


def chips_of(classes, means):
    """One row for each mean: (class, red, near infrared)."""
    rows = [(label, str(label), classes[label], np.array(values)) for label, *values in means]
    return pd.DataFrame(rows, columns=["label", "class_code", "class_name", "band_mean"])


def words(path):
    return ["".join(node.itertext()) for node in ElementTree.parse(path).iter(f"{SVG}text")]


def test_each_class_has_a_panel_with_its_chips(tmp_path):
    means = [(0, 0.05, 0.3), (0, 0.07, 0.4), (0, 0.06, 0.5), (2, 0.2, 0.2)]
    spectra_figure(chips_of({0: "Forest", 2: "Town"}, means), BANDS, tmp_path / "a.svg")
    found = words(tmp_path / "a.svg")
    assert [text for text in found if text in ("0 Forest", "2 Town")] == ["0 Forest", "2 Town"]
    assert [text for text in found if text.startswith("n = ")] == ["n = 3", "n = 1"]
    assert found.count("NIR_BROAD") == 2


def test_the_line_is_the_median_of_the_class_beside_that_of_all_chips(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("matplotlib.axes.Axes.plot", lambda axes, x, y, **style: drawn.append(np.asarray(y)))
    means = [(0, 0.1, 0.3), (0, 0.2, 0.5), (0, 0.4, 0.4), (1, 0.5, 0.1), (1, 0.7, 0.3)]
    spectra_figure(chips_of({0: "Forest", 1: "Town"}, means), BANDS, tmp_path / "a.svg")
    of_all = pytest.approx([0.4, 0.3])
    assert drawn == [of_all, pytest.approx([0.2, 0.4]), of_all, pytest.approx([0.6, 0.2])]


@pytest.mark.parametrize("classes", [1, 5, 40])
def test_any_number_of_classes(tmp_path, classes):
    names = {label: f"Class <{label}> of land that has a name with very many letters" for label in range(classes)}
    means = [(label, 0.01 * label, 0.3) for label in range(classes)]
    spectra_figure(chips_of(names, means), BANDS, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert len(re.findall("n = 1<", text)) == classes


def test_a_name_that_was_corrected_since_the_chips_were_indexed_is_shown():
    chips = pd.DataFrame({"class_code": ["1", "2", "x"], "class_name": ["slip", "Grass", "no row in the table"]})
    per_class = pd.DataFrame({"class_code": [1, 2, 1], "class_name": ["Fields", "Grass", "Fields"]})
    assert with_names(chips, per_class)["class_name"].tolist() == ["Fields", "Grass", "no row in the table"]
