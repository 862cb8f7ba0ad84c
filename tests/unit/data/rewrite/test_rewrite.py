"""GeoTIFFs written again: what says the meaning of values is kept."""

import re

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.shutil import copy
from rasterio.transform import GCPTransformer, RPCTransformer
from rasterio.windows import Window

from helpers.chips import make_spec, pixels, write_tif
from helpers.paths import ROOT
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.rewrite import rewrite as rewriting
from terralucas.data.rewrite.__main__ import main
from terralucas.data.rewrite.missing_pixels import Layers
from terralucas.data.rewrite.rewrite import rewrite
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


@pytest.mark.parametrize("nodata", [0, 65535])
def test_missing_pixels_that_only_the_study_knows_are_not_mixed_with_the_others(tmp_path, nodata):
    """Its files state no nodata value; `dataset.nodata` does."""
    values = np.full((3, 64, 64), 5000, np.uint16)
    values[:, np.triu_indices(64)[0], np.triu_indices(64)[1]] = nodata
    place = {"crs": "EPSG:32632", "transform": Affine(15, 0, 600_000, 0, -15, 5_000_000)}
    size = {"count": 3, "height": 64, "width": 64, "dtype": "uint16"}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size, **place) as file:
        file.write(values)
        file.update_tags(1, ns="IMAGERY", CENTRAL_WAVELENGTH_UM="0.49")
    command = [str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--pixel-m", "10", "--side-px", "64"]
    assert main([*command, "--nodata", str(nodata)]) == 0
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.nodata == nodata
        assert set(np.unique(file.read())) == {5000, nodata}
        assert file.tags(1, ns="IMAGERY") == {"CENTRAL_WAVELENGTH_UM": "0.49"}


def test_a_file_that_lost_its_offset_with_its_end_is_not_written_as_if_it_had_none(tmp_path):
    write(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:-1])
    with pytest.raises(StudyError, match=r"a\.tif is damaged"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif")
    assert not (tmp_path / "b.tif").exists()


@pytest.mark.parametrize(("side", "around"), [(600, 0), (100, 1100)], ids=["around the image", "far around it"])
def test_pixels_stay_where_they_are_in_another_projection(tmp_path, side, around):
    """Values that say their place: GDAL's defaults move them by up to 0.12 pixel between zones of UTM."""
    columns, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 230_000, 0, -10, 5_000_000)}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=2, height=side, width=side, dtype="float32", **place
    ) as file:
        file.write(np.stack([columns, rows]).astype(np.float32))
    seen = side // 2
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif", crs=CRS.from_epsg(32632), pixel_m=10, side_px=seen)
    if around:
        with rasterio.open(tmp_path / "b.tif") as file:
            grid = {"crs": file.crs, "transform": file.transform @ Affine.translation(-around, -around)}
        size = {"height": 2 * around + seen, "width": 2 * around + seen}
        with rasterio.open(tmp_path / "like.tif", "w", driver="GTiff", count=1, dtype="uint8", **size, **grid):
            pass
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif", like=tmp_path / "like.tif")
    with rasterio.open(tmp_path / "b.tif") as file:
        found = file.read(window=Window(around, around, seen, seen))
        xs, ys = file.transform @ (columns[:seen, :seen] + around, rows[:seen, :seen] + around)
    to_source = Transformer.from_crs(32632, 32633, always_xy=True)
    expected = ~place["transform"] @ np.array(to_source.transform(xs, ys)).reshape(2, -1)
    assert np.abs(found.reshape(2, -1) - expected).max() < 0.005


@pytest.mark.parametrize(("left", "width", "pixel"), [(179.9956, 96, 9e-5), (-180.0043, 96, 9e-5), (170.0, 1010, 0.01)])
def test_an_image_of_which_a_part_would_be_lost_behind_180_degrees_is_refused(tmp_path, capsys, left, width, pixel):
    place = {"crs": "EPSG:4326", "transform": Affine(pixel, 0, left, 0, -pixel, 10)}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", count=1, height=96, width=width, dtype="uint16", **place
    ) as file:
        file.write(np.ones((1, 96, width), np.uint16))
    arguments = [
        str(tmp_path / "a.tif"),
        str(tmp_path / "b.tif"),
        "--crs",
        "EPSG:32660",
        "--pixel-m",
        f"{pixel * 1e5:g}",
    ]
    assert main(arguments) == 1
    assert "reaches beyond 180 degrees, and only a part of it would be resampled" in capsys.readouterr().err
    assert not (tmp_path / "b.tif").exists()


def test_larger_pixels_are_means_of_those_that_they_cover(tmp_path):
    """A triangle of two new pixels, as wide as GDAL's bilinear filter is: 1/8, 3/8, 3/8 and 1/8 of four old ones."""
    values = write(tmp_path / "a.tif", side=64, nodata=0, count=1)[0].astype(float)
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif", pixel_m=20)
    weights = np.array([1, 3, 3, 1]) / 8
    rows = sum(weight * values[1 + step : 61 + step : 2] for step, weight in enumerate(weights))
    expected = sum(weight * rows[:, 1 + step : 61 + step : 2] for step, weight in enumerate(weights))
    with rasterio.open(tmp_path / "b.tif") as file:
        assert np.abs(file.read(1)[1:-1, 1:-1] - expected).max() <= 0.51


@pytest.mark.parametrize("form", ["nodata", "mask", "NaN"])
@pytest.mark.parametrize("pixel_m", [5, 20, 30, 60])
def test_a_resampled_pixel_is_missing_if_less_than_half_of_its_ground_is_known(tmp_path, form, pixel_m):
    side, path = 120, tmp_path / "a.tif"
    missing = np.zeros((2, side, side), dtype=bool)
    missing[:, 48:60, 48:60] = missing[:, 30:36, 90:94] = missing[:, 81, 20] = True
    if form != "mask":
        missing[1, 100:107, 60:80] = True
    values = (
        np.random.default_rng(1).integers(2000, 4000, missing.shape).astype("float32" if form == "NaN" else "int16")
    )
    values[missing] = np.nan if form == "NaN" else -9999
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_100_000)}
    size = {"count": 2, "height": side, "width": side, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", nodata=-9999 if form == "nodata" else None, **size, **place) as file:
        file.write(values)
        if form == "mask":
            file.write_mask(~missing[0])
    rewrite(path, tmp_path / "b.tif", pixel_m=pixel_m)
    with rasterio.open(tmp_path / "b.tif") as file:
        found = (file.read_masks() == 0) | np.isnan(file.read())
        assert file.read()[~found].min() >= 2000, "nothing missing is mixed in"
    if pixel_m < 10:
        share = missing.repeat(2, axis=1).repeat(2, axis=2)
    else:
        step = pixel_m // 10
        share = missing.reshape(2, side // step, step, side // step, step).mean(axis=(2, 4))
    assert found[share == 1].all(), "gaps are not filled from their edges"
    assert not found[share < 0.5].any()
    assert found[share > 0.5].all()


@pytest.mark.parametrize("form", ["nodata", "mask", "NaN"])
@pytest.mark.parametrize(
    ("crs", "side"),
    [("EPSG:32632", 20), ("EPSG:32632", 120), ("EPSG:32633", 5), ("EPSG:3035", 30), ("EPSG:4326", 2e-4)],
)
def test_a_small_grid_in_a_large_image_needs_only_a_part_of_it_and_has_the_same_pixels(
    tmp_path, monkeypatch, form, crs, side
):
    random = np.random.default_rng(3)
    values = random.integers(2000, 6000, (2, 700, 700)).astype("float32" if form == "NaN" else "int16")
    missing = random.random((700, 700)) < 0.1
    missing[300:340, 310:350] = True
    values[:, missing] = np.nan if form == "NaN" else -9999
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_100_000)}
    size = {"count": 2, "height": 700, "width": 700, "dtype": values.dtype}
    nodata = -9999 if form == "nodata" else None
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", nodata=nodata, **size, **place) as file:
        file.write(values)
        if form == "mask":
            file.write_mask(~missing)
    x, y = Transformer.from_crs("EPSG:32632", crs, always_xy=True).transform(603_480, 5_096_620)
    grid = {"crs": crs, "transform": Affine(side, 0, x - 10 * side, 0, -side, y + 10 * side)}
    with rasterio.open(tmp_path / "grid.tif", "w", driver="GTiff", count=1, height=20, width=20, dtype="uint8", **grid):
        pass

    def resample():
        read = []
        with monkeypatch.context() as patch:
            patch.setattr(Layers, "read", lambda self, window, of=Layers.read: read.append(window) or of(self, window))
            rewrite(tmp_path / "a.tif", tmp_path / "b.tif", like=tmp_path / "grid.tif")
        with rasterio.open(tmp_path / "b.tif") as file:
            return file.read(masked=True).filled(-1), sum(window.height * window.width for window in read)

    found, n_read = resample()
    monkeypatch.setattr(rewriting, "part_on", lambda image, grid: Window(0, 0, image.width, image.height))
    of_whole, n_read_of_whole = resample()
    np.testing.assert_array_equal(found, of_whole)
    assert (found > 0).any() and (~(found > 0)).any()
    assert n_read < n_read_of_whole / 2


@pytest.mark.parametrize(("columns", "is_shown"), [(0, True), (16, True), (31.9, True), (32, False), (40, False)])
def test_a_grid_that_only_touches_the_image_shows_nothing_of_it(tmp_path, capsys, columns, is_shown):
    write(tmp_path / "a.tif")
    write(tmp_path / "beside.tif")
    with rasterio.open(tmp_path / "beside.tif", "r+") as file:
        file.transform = file.transform @ Affine.translation(columns, 0)
    done = main([str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--like", str(tmp_path / "beside.tif")])
    assert (done == 0) is is_shown
    assert is_shown or "The new grid shows nothing of the file" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_resampled_file_that_has_no_space_has_no_more_missing_pixels(tmp_path, share, small_files):
    """What is known of the ground is written into a file on the way."""
    missing = np.random.default_rng(0).random((600, 600)) < 0.5
    values = np.where(missing, 0, 3000).astype(np.uint16)
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_100_000)}
    size = {"count": 1, "height": 600, "width": 600, "dtype": "uint16", "nodata": 0}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size, **place) as file:
        file.write(values, 1)
    small_files(int(share * missing.size))
    with pytest.raises(StudyError, match=f"no space left to write {tmp_path}/b.tif"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif", pixel_m=20)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_fourth_band_that_is_taken_for_a_mask_is_said(tmp_path, capsys):
    """GDAL takes each fourth band of 8 bits for an alpha band if its file does not say what it is."""
    values = np.random.default_rng(0).integers(10, 240, (4, 32, 32)).astype(np.uint8)
    size = {"count": 4, "height": 32, "width": 32, "dtype": "uint8", "crs": "EPSG:32632"}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", transform=Affine(10, 0, 6e5, 0, -10, 5e6), **size
    ) as file:
        file.write(values)
    assert main([str(tmp_path / "a.tif"), str(tmp_path / "b.tif")]) == 0
    assert (
        f"such as band 4 of {tmp_path}/a.tif. If it holds data, name all bands with --bands." in capsys.readouterr().out
    )
    assert main([str(tmp_path / "a.tif"), str(tmp_path / "c.tif"), "--bands", "1,2,3,4"]) == 0
    assert "mask" not in capsys.readouterr().out
    with rasterio.open(tmp_path / "b.tif") as three, rasterio.open(tmp_path / "c.tif") as four:
        assert three.count == 3
        np.testing.assert_array_equal(four.read(), values)


@pytest.mark.parametrize("name", ["new/", "new.jp2"])
def test_a_target_that_no_study_would_find_is_an_error(tmp_path, capsys, name):
    write(tmp_path / "a.tif")
    assert main([str(tmp_path / "a.tif"), f"{tmp_path}/{name}"]) == 1
    assert "is not named as a GeoTIFF" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


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


def test_pixels_of_which_there_would_be_too_many_are_an_error(tmp_path):
    write(tmp_path / "a.tif")
    with pytest.raises(StudyError, match="too many pixels"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif", pixel_m=1e-9)


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


NAN, DEGREES = float("nan"), Affine(1e-4, 0, 11.03, 0, -1e-4, 45.13)


@pytest.mark.parametrize(
    ("place", "arguments", "found"),
    [
        ({"transform": Affine(NAN, 0, 6e5, 0, -10, 5e6)}, [], "at x nan"),
        ({"transform": Affine(10, 0, 1e30, 0, -10, 5e6)}, ["--crs", "EPSG:32633"], "at x 1e\\+30"),
        ({"transform": Affine(0, 0, 6e5, 0, 0, 5e6)}, [], "steps of 0 and 0"),
        ({"crs": "EPSG:4978"}, ["--crs", "EPSG:32632"], "Geocentric CRS"),
        ({"crs": "EPSG:4326"}, ["--crs", "EPSG:32632"], "in coordinates in degrees"),
        (
            {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 180.1, 0, -1e-4, 10)},
            ["--crs", "EPSG:32601"],
            "180.1, 10 ",
        ),
        ({}, ["--crs", "EPSG:4978"], "EPSG:32632 is the UTM zone"),
        ({}, ["--pixel-m", "1000000"], "a file of 320 m"),
        ({}, ["--like", "nan.tif"], "nan.tif is at no place on Earth"),
        ({}, ["--like", "far.tif"], "shows nothing of the file .*a.tif"),
        ({}, ["--side-px", "1000000000"], "too many pixels.*(?s:.)*smaller --side-px"),
        ({}, ["--like", "none.tif"], "There is no file none.tif"),
    ],
)
def test_a_place_from_which_nothing_can_be_resampled_is_an_error_with_the_name_of_the_file(
    tmp_path, capsys, monkeypatch, place, arguments, found
):
    monkeypatch.chdir(tmp_path)
    for name, changes in {
        "chips/a.tif": place,
        "nan.tif": {"transform": Affine(NAN, 0, 6e5, 0, -10, 5e6)},
        "far.tif": {"transform": Affine(10, 0, 7e5, 0, -10, 6e6)},
    }.items():
        write(tmp_path / name, count=1)
        with rasterio.open(name, "r+") as file:
            for key, value in changes.items():
                setattr(file, key, value)
    assert main(["chips", "b", "--pixel-m", "10", *arguments]) == 1
    said = capsys.readouterr().err
    assert re.search(found, said)
    assert "a.tif" in said or "--like" in arguments
    assert "what to do" in said
    assert not list((tmp_path / "b").rglob("*"))


@pytest.mark.parametrize(
    ("place", "arguments", "zone"),
    [
        ({"crs": "EPSG:4326", "transform": DEGREES}, [], 32632),
        ({"crs": "EPSG:4326", "transform": Affine(1e-4, 0, -70.5, 0, -1e-4, -33)}, [], 32719),
        ({}, ["--crs", "EPSG:4326"], 32632),
    ],
)
def test_metres_have_no_meaning_in_degrees_and_the_zone_of_the_file_is_named(tmp_path, capsys, place, arguments, zone):
    """A side of 10 degrees would be one pixel without any data."""
    write(tmp_path / "a.tif", count=1)
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        for key, value in place.items():
            setattr(file, key, value)
    asked = [str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--pixel-m", "10", *arguments]
    assert main(asked) == 1
    assert f"--crs EPSG:{zone}, the UTM zone of this file" in capsys.readouterr().err
    assert main([*asked, "--crs", f"EPSG:{zone}"]) == 0
    with rasterio.open(tmp_path / "b.tif") as file:
        assert (file.crs.to_epsg(), file.transform.a) == (zone, 10)
        assert file.read(1)[file.read_masks(1) > 0].mean() > 2000


def test_a_side_is_in_metres_where_the_unit_is_feet(tmp_path):
    """EPSG:2263 has US survey feet, by definition 1200 / 3937 m."""
    write(tmp_path / "a.tif", count=1)
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.crs, file.transform = "EPSG:2263", Affine(100, 0, 984_250, 0, -100, 200_000)
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif", pixel_m=10)
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.transform.a == pytest.approx(10 * 3937 / 1200)


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"crs": "EPSG:4326", "transform": DEGREES},
        {"transform": Affine(10.0057, 0, 624_602.2, 0, -9.9941, 4_877_286.03)},
        {"transform": Affine(8, 6, 6e5, 6, -8, 5e6)},
        None,
    ],
    ids=["utm", "degrees", "almost square", "rotated", "nowhere"],
)
@pytest.mark.parametrize(("side", "nodata"), [(32, None), (33, 7), (20, 7)])
def test_a_cut_keeps_whole_pixels_and_their_places(tmp_path, capsys, place, side, nodata):
    """Resampling would blur them, and so some classes more than others."""
    if place is None:
        values = np.random.default_rng(0).integers(2000, 6000, (3, side, side)).astype(np.uint16)
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", count=3, height=side, width=side, dtype="uint16"
        ) as f:
            f.write(values)
    else:
        values = write(tmp_path / "a.tif", side=side, nodata=nodata, count=3)
        with rasterio.open(tmp_path / "a.tif", "r+") as file:
            for key, value in place.items():
                setattr(file, key, value)
    assert main([str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--side-px", "20"]) == 0
    assert ("half a pixel" in capsys.readouterr().out) == bool(side % 2)
    margin = (side - 20) // 2
    with rasterio.open(tmp_path / "a.tif") as old, rasterio.open(tmp_path / "b.tif") as new:
        window = rasterio.windows.Window(margin, margin, 20, 20)
        assert np.array_equal(new.read(), values[:, margin : margin + 20, margin : margin + 20])
        assert np.array_equal(new.read_masks(), old.read_masks(window=window))
        assert (new.crs, new.nodata, new.dtypes) == (old.crs, old.nodata, old.dtypes)
        expected = old.transform if place is None else old.window_transform(window)
        assert new.transform.almost_equals(expected, 1e-9)


@pytest.mark.parametrize("stated", [None, 0, 65535])
def test_a_nodata_value_that_is_given_is_none_of_the_pixels_also_beside_that_of_the_file(tmp_path, stated):
    values = np.full((3, 32, 32), 1000, dtype=np.uint16)
    values[:, :10], values[1, :, :10] = 0, 65535 if stated == 65535 else 0
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    write_tif(tmp_path / "a.tif", values, nodata=stated, **place)
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif", pixel_m=7, nodata=0)
    with rasterio.open(tmp_path / "b.tif") as new:
        shown = new.read(masked=True)
    assert set(shown.compressed()) == {1000}, "nothing is mixed with missing pixels"
    assert shown.mask[:, 2, 30].all()
    assert shown.mask[:, 30, 2].tolist() == [False, True, False]


@pytest.mark.parametrize("side_px", [None, 20])
def test_control_points_and_polynomials_say_the_same_place_afterwards(tmp_path, side_px):
    points = [
        GroundControlPoint(row, column, 10 + column / 1e3, 45 - row / 1e3) for row, column in ((0, 0), (9, 30), (31, 5))
    ]
    polynomials = RPC(
        height_off=0.0, height_scale=500.0, lat_off=45.0, lat_scale=1.0, long_off=10.0, long_scale=1.0,
        line_off=16.0, line_scale=32.0, samp_off=15.0, samp_scale=32.0,
        line_num_coeff=[0.0, 0.0, 1.0] + [0.0] * 17, line_den_coeff=[1.0] + [0.0] * 19,
        samp_num_coeff=[0.0, 1.0] + [0.0] * 18, samp_den_coeff=[1.0] + [0.0] * 19,
    )  # fmt: skip
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=32, height=30, count=1, dtype="uint8") as file:
        file.write(np.arange(960, dtype=np.uint8).reshape(1, 30, 32))
        file.gcps = (points, CRS.from_epsg(4326))
        file.rpcs = polynomials
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif", side_px=side_px)
    (row, column) = (5, 6) if side_px else (0, 0)
    with rasterio.open(tmp_path / "a.tif") as before, rasterio.open(tmp_path / "b.tif") as after:
        assert np.array_equal(after.read(), before.read()[:, row : row + after.height, column : column + after.width])
        assert after.gcps[1] == before.gcps[1]
        with GCPTransformer(before.gcps[0]) as whole, GCPTransformer(after.gcps[0]) as cut:
            assert cut.xy(3, 4) == pytest.approx(whole.xy(3 + row, 4 + column), abs=1e-9)
        with RPCTransformer(before.rpcs) as whole, RPCTransformer(after.rpcs) as cut:
            assert cut.xy(3, 4) == pytest.approx(whole.xy(3 + row, 4 + column), abs=1e-9)


def test_a_file_that_is_smaller_than_the_cut_is_an_error(tmp_path, capsys):
    write(tmp_path / "a.tif")
    assert main([str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--side-px", "33"]) == 1
    assert re.search("cut to 33 x 33 px.*\n.*32 x 32 px(?s:.)*smaller --side-px", capsys.readouterr().err)
    assert not (tmp_path / "b.tif").exists()


@pytest.mark.parametrize("side_px", [None, 16])
def test_the_centre_of_a_chip_where_its_label_is_stays_its_centre(tmp_path, side_px):
    write(tmp_path / "a.tif", count=1)
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif", crs=rasterio.CRS.from_epsg(3035), pixel_m=12, side_px=side_px)
    with rasterio.open(tmp_path / "a.tif") as old, rasterio.open(tmp_path / "b.tif") as new:
        to_new = Transformer.from_crs(32632, 3035, always_xy=True)
        expected = to_new.transform(*(old.transform @ (old.width / 2, old.height / 2)))
        assert new.transform @ (new.width / 2, new.height / 2) == pytest.approx(expected, abs=1e-3)
        assert (new.width % 2, new.height % 2) == (0, 0), "it can be cut to the size of any training chip"
        assert side_px is None or new.shape == (side_px, side_px)


def test_a_picture_that_lost_its_end_is_damaged(tmp_path):
    """GDAL reads the whole of it without an error, with what is in the memory in place of the rest."""
    write(tmp_path / "a.tif", count=1)
    copy(str(tmp_path / "a.tif"), str(tmp_path / "a.png"), driver="PNG")
    rewrite(tmp_path / "a.png", tmp_path / "b.tif")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(StudyError, match="before its mark of the end"):
        rewrite(tmp_path / "a.png", tmp_path / "c.tif")


def test_a_picture_whose_corners_are_not_on_earth_is_converted(tmp_path):
    write(tmp_path / "a.tif", count=1)
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        # The whole Earth in the sinusoidal projection of MODIS.
        file.crs, file.transform = "ESRI:54008", Affine(1.25e6, 0, -2e7, 0, -6.25e5, 1e7)
    rewrite(tmp_path / "a.tif", tmp_path / "b.tif", crs=rasterio.CRS.from_epsg(4326))
    with rasterio.open(tmp_path / "b.tif") as file:
        assert 2000 < file.read(1)[file.shape[0] // 2, file.shape[1] // 2] < 6000


@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 0.98])
def test_a_file_that_has_no_space_is_never_written_in_part(tmp_path, share, small_files):
    """GDAL leaves out blocks without an error."""
    write(tmp_path / "a.tif", side=600, count=3)
    rewrite(tmp_path / "a.tif", tmp_path / "whole.tif")
    small_files(int(share * (tmp_path / "whole.tif").stat().st_size))
    with pytest.raises(StudyError, match=f"no space left to write {tmp_path}/b.tif"):
        rewrite(tmp_path / "a.tif", tmp_path / "b.tif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "whole.tif"]


def test_links_to_folders_are_followed_as_in_training(tmp_path, capsys):
    write(tmp_path / "elsewhere" / "a.tif", count=1)
    write(tmp_path / "chips" / "b.tif", count=1)
    (tmp_path / "chips" / "forest").symlink_to(tmp_path / "elsewhere")
    asked = [str(tmp_path / "chips"), str(tmp_path / "new")]
    assert main(asked) == 0
    found = [path.relative_to(tmp_path / "new").as_posix() for path in sorted((tmp_path / "new").rglob("*.tif"))]
    assert found == ["b.tif", "forest/a.tif"]
    (tmp_path / "chips" / "c.tif").symlink_to("nowhere")
    assert main(asked) == 1
    assert "c.tif is a link to nowhere, which does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [("a.tif", "chips", "is a folder"), ("chips", "a.tif", "is a file"), ("a.tif", "a.tif/b.tif", "is a file")],
)
def test_a_target_that_cannot_be_written_is_an_error_in_words(tmp_path, capsys, monkeypatch, source, target, said):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.tif", count=1)
    write(tmp_path / "chips" / "a.tif", count=1)
    assert main([source, target]) == 1
    assert re.search(f"The target .* {said}", capsys.readouterr().err)


def test_a_folder_is_not_written_into_itself(tmp_path, capsys):
    """The second call would write what the first one has written."""
    write_tif(tmp_path / "chips" / "a.tif", pixels(1))
    assert main([str(tmp_path / "chips"), str(tmp_path / "chips" / "out"), "--bands", "1"]) == 1
    assert "is in the source" in capsys.readouterr().err
    assert not (tmp_path / "chips" / "out").exists()


def test_chips_of_an_earlier_call_in_the_target_are_named(tmp_path, capsys):
    for name in ("a.tif", "b.tif"):
        write_tif(tmp_path / "chips" / name, pixels(1))
    arguments = [str(tmp_path / "chips"), str(tmp_path / "out"), "--bands", "1"]
    assert main(arguments) == 0
    assert "other GeoTIFF" not in capsys.readouterr().out
    (tmp_path / "chips" / "a.tif").unlink()
    assert main(arguments) == 0
    assert "has 1 other GeoTIFF(s), such as a.tif" in capsys.readouterr().out


def test_a_target_that_cannot_be_looked_through_is_told_before_anything_is_written(tmp_path, capsys):
    write_tif(tmp_path / "chips" / "a.tif", pixels(1))
    write_tif(tmp_path / "out" / "b.tif", pixels(2))
    (tmp_path / "out" / "b.tif.Msk").write_bytes(b"mask")
    assert main([str(tmp_path / "chips"), str(tmp_path / "out"), "--bands", "1"]) == 1
    assert "in other capitals" in capsys.readouterr().err
    assert not (tmp_path / "out" / "a.tif").exists()
