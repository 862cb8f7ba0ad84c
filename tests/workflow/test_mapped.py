"""From a finished study to a map of a scene: with Snakemake and without, and in agreement with predictions of chips."""

import json

import numpy as np
import pandas as pd
import pytest
import rasterio

from helpers.project import results

pytestmark = pytest.mark.workflow

CONFIG = ("--cores", 2, "--configfile", "config/small.yaml")
# Three strips, of 128 pixels.
ROWS, COLUMNS, SIDE = 10, 2, 32
LEFT, TOP = 600_000, 5_000_000
RASTERS = ("classes.tif", "probabilities.tif", "uncertainty.tif")


@pytest.fixture(scope="module")
def scene(selected, tmp_path_factory):
    """Chips of the study side by side, each of them a square of 960 m."""
    path = tmp_path_factory.mktemp("scene") / "a scene.tif"
    files = sorted((selected.folder / "resources").rglob("*.tif"))[: ROWS * COLUMNS]
    chips = [rasterio.open(file).read() for file in files]
    values = np.concatenate([np.concatenate(chips[row * COLUMNS :][:COLUMNS], axis=2) for row in range(ROWS)], axis=1)
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(30, 0, LEFT, 0, -30, TOP)}
    profile = {"driver": "GTiff", "count": 6, "height": ROWS * SIDE, "width": COLUMNS * SIDE, "dtype": "float32"}
    with rasterio.open(path, "w", **profile, **place) as target:
        target.write(values)
    return path


@pytest.fixture(scope="module")
def mapped(selected, scene):
    given = f"map={{input: {scene}, stride_m: 480, shards: 2}}"
    output = selected.snakemake(*CONFIG, "--config", given, "--", "map").output
    folder = results(selected) / "maps" / "a_scene"
    assert f"The map is at {folder / 'map.html'}" in output
    assert "36 of 80 cells of 480 m have a class" in output
    refused = f"map={{input: {scene}, stride_m: 1e308, shards: 2}}"
    done = selected.snakemake(*CONFIG, "--config", refused, "--", "map", check=False)
    assert "larger than any scene" in done.output
    assert selected.planned(*CONFIG, "--config", given, "--", "map") == {}, "a refused map costs nothing"
    return folder


def test_the_class_of_a_cell_is_the_prediction_for_the_chip_that_is_cut_out_there(selected, scene, mapped, tmp_path):
    chips = tmp_path / "chips"
    chips.mkdir()
    with rasterio.open(scene) as source, rasterio.open(mapped / "classes.tif") as classes:
        labels = classes.read(1)
        for row, column in zip(*np.nonzero(labels != classes.nodata), strict=True):
            x, y = rasterio.transform.xy(classes.transform, row, column)
            window = rasterio.windows.from_bounds(x - 480, y - 480, x + 480, y + 480, source.transform).round()
            assert (window.width, window.height) == (SIDE, SIDE)
            profile = source.profile | {"width": SIDE, "height": SIDE, "transform": source.window_transform(window)}
            with rasterio.open(chips / f"{row:02d}-{column:02d}.tif", "w", **profile) as chip:
                chip.write(source.read(window=window))
    done = selected.module("predict", chips, "--study", "results/small", "--output", tmp_path / "out", "--threads", 1)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert len(table) == 36
    row, column = table["id"].str.split("-", expand=True).astype(int).to_numpy().T
    assert (labels[row, column] + 1).tolist() == table["class_code"].astype(int).tolist()
    assert table["class_code"].nunique() > 1
    with rasterio.open(mapped / "probabilities.tif") as source:
        probabilities = source.read()[:, row, column].T / 250
    expected = table[[f"probability_{code}" for code in range(1, 11)]].to_numpy()
    assert np.abs(probabilities - expected).max() <= 0.5 / 250 + 1e-5
    with rasterio.open(mapped / "uncertainty.tif") as source:
        entropy, dissimilarity, unlike, set_size = source.read()[:, row, column]
    assert entropy == pytest.approx(table["entropy"].to_numpy(), abs=1e-5)
    assert dissimilarity == pytest.approx(table["dissimilarity"].to_numpy(), abs=1e-4)
    assert (unlike == 1).tolist() == table["unlike_training"].tolist()
    assert set_size.tolist() == table["conformal_set"].map(len).tolist()


def test_the_command_without_snakemake_writes_the_same_bytes(selected, scene, mapped, tmp_path):
    # Snakemake gives each part two threads.
    arguments = (scene, "--study", "results/small", "--output", tmp_path, "--stride-m", 480, "--threads", 2)
    done = selected.module("mapping", *arguments)
    assert done.returncode == 0, done.stderr
    assert "36 of 80 cells of 480 m have a class" in done.stdout
    for name in (*RASTERS, "classes.tif.aux.xml", "classes.qml", "map.png", "map.html", "map.json"):
        assert (tmp_path / name).read_bytes() == (mapped / name).read_bytes(), name


def test_the_record_says_what_was_mapped_and_that_it_is_simulated(scene, mapped):
    record = json.loads((mapped / "map.json").read_text(encoding="utf-8"))
    assert record["recipe"] == {"backbone": "tiny", "loss": "weighted_ce", "decoder": "identity"}
    assert record["models"] == 2
    assert record["simulated_chips"] is record["random_weights"] is True
    assert record["input"] == [str(scene)]
    assert record["bounds"] == [LEFT, TOP - 480 * 20, LEFT + 480 * 4, TOP]
    assert record["without_class"] == {"edge": 44}
    assert sum(item["cells"] for item in record["classes"]) == record["predicted"] == 36


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("map={stride_m: 480}", "map={input: path/to/scene.tif}"),
        ("map={input: a.tif, stride_m: 0}", "stride_m"),
        ("map={input: a.tif, stride: 80}", "stride"),
    ],
)
def test_what_the_configuration_cannot_mean_is_an_error_before_any_job(selected, given, words):
    done = selected.snakemake("-n", *CONFIG, "--config", given, "--", "map", check=False)
    assert done.returncode != 0
    assert words in done.output


def test_a_scene_that_cannot_be_mapped_is_told_in_words(selected, scene, tmp_path):
    done = selected.module("mapping", scene, "--study", "results/small", "--output", tmp_path / "new", "--stride-m", 85)
    assert done.returncode == 1
    assert "The stride of the map is no whole number of pixels" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "new").glob("[!.]*"))
