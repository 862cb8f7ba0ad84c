import json
import os
import subprocess
import sys

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from helpers.paths import SCRIPTS
from terralucas.geojson import write_geojson


def points(columns):
    number = len(next(iter(columns.values())))
    places = gpd.points_from_xy(np.linspace(7.0, 18.0, number), np.linspace(36.0, 47.0, number))
    return gpd.GeoDataFrame(pd.DataFrame(columns), geometry=places, crs="EPSG:4326")


def test_gdal_reads_the_same_values(tmp_path):
    table = points(
        {
            "id": ["é", 'a"b', "c\n"],
            "right": [True, False, True],
            "count": [3, 0, 2**40],
            "share": [0.1, np.nan, 1 / 3],
            "short": np.array([0.1, np.nan, 0.7], dtype=np.float32),
            "group": ["x", None, "y"],
        }
    )
    write_geojson(table, tmp_path / "a.geojson", decimals=3)
    read = gpd.read_file(tmp_path / "a.geojson", engine="pyogrio")
    assert read.crs.to_epsg() == 4326
    assert read.geometry.x.tolist() == [7.0, 12.5, 18.0]
    assert read.geometry.y.tolist() == [36.0, 41.5, 47.0]
    assert read["count"].tolist() == [3, 0, 2**40]
    assert read["right"].tolist() == [True, False, True]
    assert read["id"].tolist() == ["é", 'a"b', "c\n"]
    assert read["group"].isna().tolist() == [False, True, False]
    np.testing.assert_array_equal(read["share"], [0.1, np.nan, 1 / 3])
    np.testing.assert_array_equal(read["short"], [0.1, np.nan, 0.7])


def test_numbers_of_single_precision_are_written_with_their_own_digits(tmp_path):
    write_geojson(points({"p": np.array([0.1, 0.7], dtype=np.float32)}), tmp_path / "a.geojson", decimals=6)
    features = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))["features"]
    assert [feature["properties"]["p"] for feature in features] == [0.1, 0.7]


def test_no_point_is_a_collection_without_features(tmp_path):
    write_geojson(points({"id": []}), tmp_path / "a.geojson", decimals=6)
    content = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
    assert content == {"type": "FeatureCollection", "name": "a", "features": []}


def test_an_infinite_number_has_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_geojson(points({"p": [np.inf]}), tmp_path / "a.geojson", decimals=6)
    assert not list(tmp_path.iterdir())


# In a process of its own: threads that other tests left behind allocate memory, too.
PEAK = """
import sys
import tracemalloc
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from terralucas.geojson import write_geojson

values = np.random.default_rng(0).random((600, 300))
table = gpd.GeoDataFrame(
    pd.DataFrame(values).add_prefix("recipe "),
    geometry=gpd.points_from_xy(np.linspace(7.0, 18.0, 600), np.linspace(36.0, 47.0, 600)),
    crs="EPSG:4326",
)
# The first call imports modules.
write_geojson(table.head(1), Path(sys.argv[1]), decimals=6)
tracemalloc.start()
write_geojson(table, Path(sys.argv[1]), decimals=6)
print(tracemalloc.get_traced_memory()[1])
"""


def test_the_text_of_many_columns_is_never_in_memory_as_a_whole(tmp_path):
    command = [sys.executable, "-c", PEAK, tmp_path / "a.geojson"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert int(printed) < (tmp_path / "a.geojson").stat().st_size
