"""Correctness of points, and the map files, read back with other tools than they were written with."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from rasterio.warp import transform

from terralucas.evidence import maps
from terralucas.statistics.run_predictions import Part, RunPredictions

CLASSES = [{"code": 4, "name": "Wooded areas"}, {"code": 8, "name": "Inland water"}]
CHIPS = pd.DataFrame({
    "point_id": ["45922254", "45942254", "46002300", "46022300"], "label": [0, 0, 1, 1],
    "easting_m": [4592e3, 4594e3, 4600e3, 4602e3], "northing_m": [2254e3, 2254e3, 2300e3, 2300e3],
})  # fmt: skip


def run(loss, seed, chips, predictions):
    chips = np.array(chips)
    part = Part(chips, CHIPS["label"].to_numpy()[chips], np.eye(2)[predictions])
    return RunPredictions({"backbone": "tiny", "loss": loss, "decoder": "mlp", "seed": seed}, part, None)


@pytest.fixture
def table():
    """The last chip is never tested; the first is tested by two seeds."""
    runs = [
        run("ce", 0, [2, 0], [1, 0]), run("ce", 1, [0, 1], [1, 1]),
        run("focal", 0, [2, 0], [0, 1]), run("focal", 1, [0, 1], [1, 0]),
    ]  # fmt: skip
    return maps.correctness_table(runs, CHIPS, CLASSES)


def test_each_tested_point_has_its_share_of_right_predictions(table):
    assert table["point_id"].tolist() == ["45922254", "45942254", "46002300"]
    assert table["n_predictions"].tolist() == [4, 2, 2]
    assert table["share_right"].tolist() == [0.25, 0.5, 0.5]
    assert table["tiny/ce/mlp"].tolist() == [0.5, 0.0, 1.0]
    assert table["tiny/focal/mlp"].tolist() == [0.0, 1.0, 0.0]
    assert table["commonest_prediction"].tolist() == ["Inland water", "Wooded areas", "Wooded areas"]
    assert table["class_code"].tolist() == ["4", "4", "8"]


def test_map_files_hold_the_same_points_in_their_systems(table, tmp_path):
    maps.write_maps(table, tmp_path / "points.parquet", tmp_path / "points.geojson")
    parquet = gpd.read_parquet(tmp_path / "points.parquet")
    assert parquet.crs.to_epsg() == 3035
    assert parquet.geometry.x.tolist() == [4592e3, 4594e3, 4600e3]
    pd.testing.assert_frame_equal(pd.DataFrame(parquet), pd.DataFrame(table))
    collection = json.loads((tmp_path / "points.geojson").read_text(encoding="utf-8"))
    assert "crs" not in collection, "GeoJSON is WGS 84 (RFC 7946)"
    places = np.array([feature["geometry"]["coordinates"] for feature in collection["features"]])
    expected = transform("EPSG:3035", "EPSG:4326", parquet.geometry.x, parquet.geometry.y)
    np.testing.assert_allclose(places.T, expected, atol=1e-6)
    assert collection["features"][0]["properties"]["tiny/ce/mlp"] == 0.5


def test_the_same_table_gives_the_same_bytes(table, tmp_path):
    for folder in ("a", "b"):
        maps.write_maps(table, tmp_path / folder / "points.parquet", tmp_path / folder / "points.geojson")
    for name in ("points.parquet", "points.geojson"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_points_for_which_there_is_no_space_are_not_written_in_part(table, tmp_path, small_files):
    """GDAL writes the last part when it closes a file, and does not say if it cannot."""
    table = pd.concat([table] * 500)
    maps.write_maps(table, tmp_path / "points.parquet", tmp_path / "points.geojson")
    size = (tmp_path / "points.geojson").stat().st_size
    assert (tmp_path / "points.parquet").stat().st_size < size - 100
    small_files(size - 100)
    with pytest.raises(OSError, match=r"File too large.*new/points\.geojson"):
        maps.write_maps(table, tmp_path / "new" / "points.parquet", tmp_path / "new" / "points.geojson")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["points.parquet"]


def test_without_coordinates_the_files_have_no_points(tmp_path):
    nowhere = CHIPS.assign(easting_m=np.nan, northing_m=np.nan)
    table = maps.correctness_table([run("ce", 0, [0, 2], [0, 1])], nowhere, CLASSES)
    maps.write_maps(table, tmp_path / "points.parquet", tmp_path / "points.geojson")
    assert gpd.read_parquet(tmp_path / "points.parquet").empty
    assert json.loads((tmp_path / "points.geojson").read_text(encoding="utf-8"))["features"] == []
