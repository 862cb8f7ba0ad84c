"""Figures of what scores mean: what a reader sees in them, for ordinary and degenerate studies."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from pyproj import Transformer

from helpers.predicted import PRIOR, study
from terralucas.data.discovery.lucas import italy_grid_points
from terralucas.evidence import calibration, fronts, leakage, maps
from terralucas.report.colours import palette
from terralucas.report.figures import evidence
from terralucas.statistics.seed_means import SeedDesign

CLASSES = [{"code": code, "name": f"Class {code}"} for code in range(4)]


def draw_all(folder, places=None, **options):
    runs = study(**options)
    seeds = sorted({run.names["seed"] for run in runs})
    parts = {seed: np.full(100, "train", dtype=object) for seed in seeds}
    for run in runs:
        parts[run.names["seed"]][run.test.chips] = "test"
    design = SeedDesign(0.5, 0.95)
    traced = fronts.trace(runs, dict.fromkeys(seeds, PRIOR), "macro_accuracy")
    if places is None:
        places = 1000.0 * italy_grid_points()[::790][:100].astype(float)
    chips = pd.DataFrame({"point_id": np.arange(100).astype(str), "label": np.repeat(np.arange(4), (60, 25, 10, 5))})
    chips[["easting_m", "northing_m"]] = places
    paths = {name: folder / f"{name}.svg" for name in ("fronts", "reliability", "distance", "map")}
    evidence.fronts_figure(fronts.points_table(traced, design), fronts.front_runs_table(traced), paths["fronts"])
    evidence.reliability_figure(
        calibration.reliability_table(runs, calibration.scale_runs(runs)[0]), paths["reliability"]
    )
    distances = leakage.distance_table(runs, places, parts, 6720.0, 0.95)
    evidence.distance_figure(distances, paths["distance"])
    evidence.map_figure(maps.correctness_table(runs, chips, CLASSES), paths["map"])
    return paths


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_all(tmp_path_factory.mktemp("figures"))


def words(path):
    root = ElementTree.parse(path).getroot()
    return " ".join("".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize(
    ("name", "phrases"),
    [
        (
            "fronts",
            ("Macro accuracy (%)", "Micro accuracy (%)", "τ from −2 to 2", "95 % seeds interval of macro accuracy"),
        ),
        ("reliability", ("Confidence (%)", "Share of hits (%)", "tiny · identity: before", "tiny · identity: after")),
        ("distance", ("nearest training chip (km)", "95 % Wilson interval", "n = ")),
        ("map", ("Predictions that are right (%)", "Each of 100 points", "2 test predictions", "EPSG:3035")),
    ],
)
def test_every_axis_names_its_quantity_and_unit(drawn, name, phrases):
    for phrase in phrases:
        assert phrase in words(drawn[name]), phrase


def test_a_loss_keeps_its_colour(drawn):
    for name in ("fronts", "reliability", "distance"):
        content = drawn[name].read_text(encoding="utf-8").lower()
        assert all(colour.lower() in content for colour in palette(["ce", "focal"]).values()), name


def test_figures_load_nothing_from_outside(drawn):
    for path in drawn.values():
        assert not re.findall(r'(?:href|src)="(?!#|data:)[^"]*"', path.read_text(encoding="utf-8"))


def test_same_predictions_give_the_same_bytes(drawn, tmp_path):
    for name, path in draw_all(tmp_path).items():
        assert path.read_bytes() == drawn[name].read_bytes(), name


def test_a_study_of_five_heads_and_one_of_two_seeds_are_drawn(tmp_path):
    many = draw_all(tmp_path / "many", decoders=("a", "b", "c", "d", "e"))
    assert "tiny · e: after" in words(many["reliability"])
    few = draw_all(tmp_path / "few", losses=("_ce$",), seeds=(3, 7))
    assert "_ce$" in words(few["fronts"])


def test_chips_outside_italy_are_drawn_without_its_outline(drawn, tmp_path):
    far = np.random.default_rng(0).uniform(5.0e6, 5.1e6, size=(100, 2))
    outside = draw_all(tmp_path, places=far)["map"]
    for path, drawn_there in ((drawn["map"], True), (outside, False)):
        assert ("Natural Earth" in words(path)) == drawn_there
        assert ("fill: #f4f4f4" in path.read_text(encoding="utf-8")) == drawn_there


def test_a_map_far_from_europe_is_centred_on_its_points(tmp_path):
    """In EPSG:3035, a square in New Zealand would be a strip, 58 times longer than wide."""
    to_places = Transformer.from_crs(32760, 3035, always_xy=True)
    square = np.random.default_rng(0).uniform(0, 100e3, size=(100, 2)) + np.array([400e3, 5_400e3])
    far = np.stack(to_places.transform(*square.T), axis=1)
    assert "Lambert azimuthal equal-area, centred on the points" in words(draw_all(tmp_path, places=far)["map"])


def test_chips_without_places_have_neither_distances_nor_a_map(tmp_path):
    nowhere = draw_all(tmp_path, places=np.full((100, 2), np.nan))
    assert "Not all chips have coordinates" in words(nowhere["distance"])
    assert "no coordinates" in words(nowhere["map"])
