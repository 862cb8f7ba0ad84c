"""The place of a GeoTIFF from its tags: that of GDAL, or none, so that GDAL is asked."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint

from helpers.chips import make_spec, pixels, write_tif
from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip
from terralucas.data.rasters import georeference
from terralucas.data.rasters.georeference import is_known, read_geo_tags

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

NORTH_UP = rasterio.Affine(30, 0, 4_592_000, 0, -30, 2_254_000)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(georeference, "_known", {})


def write(path, **profile):
    profile = {"driver": "GTiff", "count": 1, "height": 32, "width": 16, "dtype": "uint16"} | profile
    tags = profile.pop("tags", {})
    with rasterio.open(path, "w", **profile) as target:
        target.write(np.ones((profile["count"], 32, 16), dtype=profile["dtype"]))
        target.update_tags(**tags)
    return path


READ = {
    "metres": {"crs": "EPSG:3035", "transform": NORTH_UP},
    "degrees": {"crs": "EPSG:4326", "transform": rasterio.Affine(2e-4, 0, 13.3, 0, -1e-4, 43.3)},
    "points": {"crs": "EPSG:32632", "transform": NORTH_UP, "tags": {"AREA_OR_POINT": "Point"}},
    "own system": {"crs": "+proj=laea +lat_0=45 +lon_0=9 +datum=WGS84", "transform": NORTH_UP},
    "compressed tiles": {"crs": "EPSG:3035", "transform": NORTH_UP, "compress": "deflate", "tiled": True},
}
LEFT_TO_GDAL = {
    "rotated": {"crs": "EPSG:3035", "transform": NORTH_UP @ rasterio.Affine.rotation(30)},
    "south up": {"crs": "EPSG:3035", "transform": rasterio.Affine(30, 0, 4_592_000, 0, 30, 2_254_000)},
    "without a system": {"transform": NORTH_UP},
    "without a place": {"crs": "EPSG:3035"},
    "large file": {"crs": "EPSG:3035", "transform": NORTH_UP, "bigtiff": "yes"},
    "other order of bytes": {"crs": "EPSG:3035", "transform": NORTH_UP, "endianness": "big"},
    "ground control points": {
        "crs": "EPSG:3035",
        "gcps": [GroundControlPoint(row, column, 13 + column, 43 - row) for row, column in ((0, 0), (0, 9), (9, 0))],
    },
}


@pytest.mark.parametrize("case", READ)
def test_the_tags_say_the_place_that_gdal_finds(tmp_path, case):
    path = write(tmp_path / "a.tif", **READ[case])
    tags = read_geo_tags(path.read_bytes())
    with rasterio.open(path) as source:
        assert tuple(tags.transform) == pytest.approx(tuple(source.transform), rel=1e-12)


@pytest.mark.parametrize("case", LEFT_TO_GDAL)
def test_what_is_unusual_is_left_to_gdal(tmp_path, case):
    assert read_geo_tags(write(tmp_path / "a.tif", **LEFT_TO_GDAL[case]).read_bytes()) is None


def test_a_file_that_ends_early_or_is_no_tiff_has_no_tags(tmp_path):
    whole = write(tmp_path / "a.tif", **READ["metres"]).read_bytes()
    found = [read_geo_tags(whole[:length]) for length in range(0, len(whole), 7)]
    assert all(tags is None or tags == read_geo_tags(whole) for tags in found)
    assert found[0] is None
    assert read_geo_tags(b"II*\0" + b"\xff" * 500) is None


def test_the_second_chip_of_a_system_has_the_same_place_as_for_gdal(tmp_path):
    spec = make_spec()
    for number, path in enumerate((tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "c.tif")):
        transform = rasterio.Affine(30, 0, 4_592_000 + 960 * number, 0, -30, 2_254_000)
        write_tif(path, pixels(number), transform=transform)
        assert is_known(read_geo_tags(path.read_bytes())) == (number > 0)
        centre = decode_chip(read_content(path), spec).centre
        with rasterio.open(path) as source:
            expected = source.transform @ (source.width / 2, source.height / 2)
            assert (centre.crs, (centre.x, centre.y), centre.shape) == (source.crs, expected, source.shape)
        assert (centre.column_step, centre.row_step) == ((30, 0), (0, -30))
    beside = "<PAMDataset><GeoTransform>1000, 60, 0, 2000, 0, -60</GeoTransform></PAMDataset>"
    (tmp_path / "c.tif.aux.xml").write_text(beside)
    assert decode_chip(read_content(tmp_path / "c.tif"), spec).centre.column_step == (60, 0), "GDAL reads this first"


def test_a_place_that_gdal_reads_otherwise_is_never_taken_from_the_tags(tmp_path, monkeypatch):
    path = write_tif(tmp_path / "a.tif", pixels(0), transform=NORTH_UP)
    tags = read_geo_tags(path.read_bytes())
    wrong = georeference.GeoTags(tags.system, rasterio.Affine.scale(2) @ tags.transform)
    monkeypatch.setattr("terralucas.data.chips.chip_files.read_geo_tags", lambda data: wrong)
    for _ in range(2):
        assert decode_chip(read_content(path), make_spec()).centre.column_step == (30, 0)


def test_tags_that_say_nothing_mean_no_place(tmp_path):
    tags = read_geo_tags(write(tmp_path / "a.tif").read_bytes())
    assert is_known(tags)
    assert tags.transform is None


def test_chips_without_a_place_are_read_without_a_warning(tmp_path):
    write_tif(tmp_path / "a.tif", pixels(0), crs=None, transform=None)
    program = """
import warnings
from pathlib import Path
from helpers.chips import make_spec
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip
warnings.simplefilter("error")  # as some libraries do with the warnings of all others
for with_place in (True, False):
    chip = decode_chip(read_content(Path("a.tif")), make_spec(), with_place=with_place)
    assert chip.centre is None
"""
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@needs_real_chips
def test_the_tags_of_real_chips_say_the_place_that_gdal_finds():
    for path in sorted(FOLDER.rglob("*.tif")):
        with rasterio.open(path) as source:
            assert read_geo_tags(path.read_bytes()).transform == source.transform
