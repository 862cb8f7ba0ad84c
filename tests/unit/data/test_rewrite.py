"""GeoTIFFs written again: what says the meaning of values is kept."""

import re

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from helpers.chips import make_spec
from helpers.paths import ROOT
from terralucas.data.chip_files import read_chip
from terralucas.data.rewrite import main, rewrite
from terralucas.errors import StudyError

NAMES = [f"B{name}" for name in (1, 2, 3, 4, 5, 6, 7, 8, "8A", 9, 10, 11, 12)]
SIX = ("BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2")


def write(path, side=32, pixel=10.0, nodata=None, count=13):
    """Write 13 bands of level 1C with names, scale, offset, and a nodata value or a mask of 4 rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(0).integers(2000, 6000, (count, side, side)).astype(np.uint16)
    place = {"crs": "EPSG:32632", "transform": Affine(pixel, 0, 600_000, 0, -pixel, 5_000_000)}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", count=count, height=side, width=side, dtype="uint16", nodata=nodata, **place
        ) as file,
    ):
        file.write(values)
        if nodata is None:
            mask = np.full((side, side), 255, np.uint8)
            mask[:4] = 0
            file.write_mask(mask)
        file.descriptions = NAMES[:count]
        file.scales, file.offsets = [1e-4] * count, [-0.1] * count
        file.update_tags(PROCESSING_BASELINE="05.00")
    return values


def command_of_the_manual():
    text = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    return re.search(r"terralucas\.data\.rewrite (b13 b12 --bands [0-9,]+)", text)[1].split()


def test_the_command_of_the_manual_leaves_out_one_band_and_keeps_what_the_values_mean(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = write(tmp_path / "b13" / "forest" / "a.tif")
    assert main(command_of_the_manual()) == 0
    with rasterio.open("b12/forest/a.tif") as file:
        kept = [name for name in NAMES if name != "B10"]
        assert list(file.descriptions) == kept
        assert np.array_equal(file.read(), values[[NAMES.index(name) for name in kept]])
        assert set(file.scales) == {1e-4} and set(file.offsets) == {-0.1}
        assert (file.read_masks(1) == 0).sum() == 4 * 32
        assert file.tags()["PROCESSING_BASELINE"] == "05.00"
        assert (file.crs, file.transform.c) == ("EPSG:32632", 600_000)


def test_chips_read_the_same_before_and_after(tmp_path):
    spec = make_spec(bands=list(SIX), unit="dn", point_ids="none")
    values = write(tmp_path / "a.tif", nodata=0, count=6)
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif", bands=[6, 5, 4, 3, 2, 1])
    with rasterio.open(tmp_path / "b.tif", "r+") as file:
        assert file.nodata == 0
        file.descriptions = [None] * 6
    # Reflectance is the stored value times the scale, and the offset: 10,000 is 0.9.
    assert read_chip(tmp_path / "b.tif", spec) == pytest.approx(values[::-1] * 1e-4 - 0.1, abs=1e-6)


def test_a_file_on_another_grid_keeps_names_scale_and_what_is_missing(tmp_path):
    write(tmp_path / "fine.tif", side=64)
    write(tmp_path / "coarse.tif", side=32, pixel=20.0)
    rewrite(tmp_path / "coarse.tif", tmp_path / "like.tif", like=tmp_path / "fine.tif")
    rewrite(tmp_path / "fine.tif", tmp_path / "other.tif", crs=rasterio.CRS.from_epsg(32633), pixel_m=20)
    with rasterio.open(tmp_path / "like.tif") as file, rasterio.open(tmp_path / "fine.tif") as fine:
        assert (file.shape, file.transform) == (fine.shape, fine.transform)
        assert list(file.descriptions) == NAMES and set(file.scales) == {1e-4} and set(file.offsets) == {-0.1}
        # 4 rows of 20 m are 8 rows of 10 m.
        assert (file.read_masks(1) == 0).all(axis=1).nonzero()[0].tolist() == list(range(8))
    with rasterio.open(tmp_path / "other.tif") as file:
        assert (file.crs, file.transform.a, list(file.descriptions)) == ("EPSG:32633", 20, NAMES)
        shown = file.read(1)[file.read_masks(1) > 0]
        assert len(shown) > 500
        assert shown.min() >= 2000, "no zeros from outside of the image"


def test_tags_of_scale_can_be_left_out(tmp_path):
    write(tmp_path / "a.tif")
    assert main([str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--without-scale"]) == 0
    with rasterio.open(tmp_path / "b.tif") as file:
        assert (set(file.scales), set(file.offsets)) == ({1.0}, {0.0})


def test_what_cannot_be_written_is_told(tmp_path, capsys):
    write(tmp_path / "a.tif")
    with pytest.raises(StudyError, match="no such bands"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif", bands=[0, 14])
    with pytest.raises(StudyError, match="over itself"):
        rewrite(tmp_path / "a.tif", tmp_path / "a.tif")
    (tmp_path / "c.tif").write_bytes(b"no raster")
    assert main([str(tmp_path / "c.tif"), str(tmp_path / "d.tif")]) == 1
    assert "cannot be written again" in capsys.readouterr().err


def test_no_message_or_page_advises_a_command_that_does_not_come_with_the_project():
    """GDAL's own commands and convmv are neither in requirements.lock nor in environment.yml."""
    absent = re.compile(r"\b(gdal_edit|gdalwarp|gdal_translate|gdalbuildvrt|convmv)\b")
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "config").iterdir(), *(ROOT / "workflow").rglob("*.py")]
    assert len(pages) > 200
    assert [str(page) for page in pages if absent.search(page.read_text(encoding="utf-8"))] == []


def test_coordinates_that_are_no_place_on_earth_are_an_error_in_words(tmp_path, capsys):
    write(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.crs = 'LOCAL_CS["site",UNIT["metre",1]]'
    asked = ["--crs", "EPSG:32632", "--pixel-m", "10"]
    assert main([str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), *asked]) == 1
    said = capsys.readouterr().err
    assert "cannot be converted" in said
    assert "Engineering CRS (LOCAL_CS" in said
    assert "rio edit-info --crs" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.98])
def test_a_file_that_has_no_space_is_never_written_in_part(tmp_path, share, small_files):
    """GDAL leaves out blocks without an error."""
    write(tmp_path / "a.tif", side=600, count=3)
    rewrite(tmp_path / "a.tif", tmp_path / "whole.tif")
    small_files(int(share * (tmp_path / "whole.tif").stat().st_size))
    with pytest.raises(StudyError, match=f"no space left to write {tmp_path}/b.tif"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "whole.tif"]
