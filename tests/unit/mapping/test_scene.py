"""Scenes: which bands are found where, what is no scene, and that pixels are read as those of chips are."""

import os
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.shutil import copy

from helpers.chips import BANDS, make_spec, write_with_alpha
from helpers.scenes import noise, write_scene
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip, read_chip
from terralucas.data.rewrite.rewrite import rewrite
from terralucas.errors import StudyError
from terralucas.mapping.scene import Scene, SceneReader, find_scene

SENTINEL = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"]
OF_BANDS = [SENTINEL.index(name) for name in ("B4", "B3", "B2", "B8", "B11", "B12")]
NAMES = ["T32TQM_20200701_B04_10m", "B03", "B02", "B08", "x_B11_20m", "B12"]


def read(paths, spec=None, place=(5, 7, 40, 36)):
    spec = spec or make_spec()
    scene = find_scene([paths] if isinstance(paths, Path) else paths, spec, 10)
    with SceneReader(scene, spec) as reader:
        return reader.read(*place).values


@pytest.fixture
def values():
    return noise(60, 50)


def test_bands_are_found_by_their_descriptions_in_any_order_and_among_others(tmp_path, values):
    expected = values[:, 5:45, 7:43]
    assert np.array_equal(read(write_scene(tmp_path / "plain.tif", values)), expected)
    turned = write_scene(tmp_path / "turned.tif", values[::-1], BANDS[::-1])
    assert np.array_equal(read(turned), expected)
    twelve = np.concatenate([noise(60, 50, 2), noise(60, 50, 3)])
    twelve[OF_BANDS] = values
    assert np.array_equal(read(write_scene(tmp_path / "twelve.tif", twelve, SENTINEL)), expected)


def test_band_files_are_found_by_their_names_or_descriptions(tmp_path, values):
    files = [write_scene(tmp_path / f"{name}.tif", values[band : band + 1]) for band, name in enumerate(NAMES)]
    expected = values[:, 5:45, 7:43]
    assert np.array_equal(read(files[::-1]), expected)
    described = [
        write_scene(tmp_path / f"part{number}.tif", values[bands], [BANDS[band] for band in bands])
        for number, bands in enumerate(([5, 1, 0], [2, 3, 4]))
    ]
    assert np.array_equal(read(described), expected)


def test_band_files_whose_names_say_nothing_are_in_the_declared_order_and_others_are_an_error(tmp_path, values):
    files = [
        write_scene(tmp_path / f"layer-{letter}.tif", values[band : band + 1]) for band, letter in enumerate("fedcba")
    ]
    assert np.array_equal(read(files), values[:, 5:45, 7:43])
    wrong = [write_scene(tmp_path / f"{name}.tif", values[:1]) for name in ("B02", "B03", "B04", "B08", "B11", "B05")]
    with pytest.raises(StudyError, match="describes its bands as B02, B03"):
        read(wrong)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_names_of_band_files_are_no_positions_in_whatever_order_they_are_given(tmp_path, values, order):
    """`ls` lists the bands of Landsat 5 in this order: the first of them is blue."""
    spec = make_spec(bands=["RED", "GREEN", "BLUE"], pixel_size_m=30)
    files = [
        write_scene(tmp_path / f"LT05_193029_sr_band{band + 1}.tif", values[band : band + 1], pixel=30.0)
        for band in order
    ]
    scene = find_scene(files, spec, 30)
    assert [Path(path).stem[-1] for path, _ in scene.bands] == ["3", "2", "1"]
    assert scene.is_named
    unknown = [write_scene(tmp_path / f"q_b{band + 1}.tif", values[band : band + 1]) for band in order]
    with pytest.raises(StudyError, match="expected RED, GREEN, BLUE"):
        find_scene(unknown, make_spec(bands=["RED", "GREEN", "BLUE"]), 10)


def test_a_scene_that_is_a_link_has_the_mask_and_metadata_beside_the_link(tmp_path, values):
    """As in stores of content (git-annex, DVC), where each file is a link of its own into a folder of checksums."""
    (tmp_path / "store").mkdir()
    hidden = np.zeros((60, 50), dtype=bool)
    hidden[:30] = True
    write_scene(tmp_path / "scene.tif", values)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tmp_path / "scene.tif", "r+") as target:
        target.write_mask(~hidden)
    expected = read(tmp_path / "scene.tif")
    assert np.isnan(expected).any()
    (tmp_path / "alone.tif").symlink_to(tmp_path / "scene.tif")
    with pytest.raises(StudyError, match="is a link, and would be read without its mask"):
        read(tmp_path / "alone.tif")
    for number, name in enumerate(("scene.tif", "scene.tif.msk")):
        (tmp_path / name).rename(tmp_path / "store" / f"{number}")
        (tmp_path / name).symlink_to(tmp_path / "store" / f"{number}")
    assert np.array_equal(read(tmp_path / "scene.tif"), expected, equal_nan=True)


def _without_tags(path):
    """Write a GeoTIFF that is no mask of GDAL."""
    with rasterio.open(path, "w", "GTiff", 50, 50, 1, dtype="uint8") as written:
        written.write(np.zeros((1, 50, 50), dtype=np.uint8))


def _mask_of(side, bands, flags):
    """Return a function that writes a mask of GDAL with these flags, by the number of the band from 1."""

    def write(path):
        with rasterio.open(path, "w", "GTiff", side, side, bands, dtype="uint8") as written:
            written.write(np.eye(side, dtype=np.uint8)[None].repeat(bands, axis=0))
            written.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": str(flag) for band, flag in flags.items()})

    return write


_EACH = range(1, 7)
_NO_FILES = {
    "a pointer of Git LFS": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
    "an empty file": lambda path: path.touch(),
    "a web page": lambda path: path.write_text("<html><title>Sign in</title></html>"),
    "zeros": lambda path: path.write_bytes(bytes(500)),
    "a link that leads nowhere": lambda path: path.symlink_to("nowhere"),
    "a folder": lambda path: path.mkdir(),
}
_WITH_ATTRIBUTE = '<PAMDataset><PAMRasterBand band="1" Offset="-1000"/></PAMDataset>'
_METADATA = '<PAMDataset><PAMRasterBand band="1"><Offset>-1000</Offset></PAMRasterBand></PAMDataset>'


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        *(
            pytest.param(suffix, make, id=f"{name} as {suffix}")
            for suffix in (".msk", ".aux.xml")
            for name, make in _NO_FILES.items()
        ),
        pytest.param(".msk", _without_tags, id="no mask of GDAL"),
        pytest.param(".msk", _mask_of(100, 1, dict.fromkeys(_EACH, 2)), id="larger"),
        pytest.param(".msk", _mask_of(20, 1, dict.fromkeys(_EACH, 2)), id="smaller"),
        pytest.param(".msk", _mask_of(50, 1, {1: 2}), id="of one band"),
        pytest.param(".msk", _mask_of(50, 1, dict.fromkeys(_EACH, 0)), id="one mask for six bands"),
        pytest.param(".msk", _mask_of(50, 3, dict.fromkeys(_EACH, 0)), id="three masks for six bands"),
        pytest.param(".aux.xml", lambda path: path.write_text(_METADATA[:70]), id="cut off"),
        pytest.param(".aux.xml", lambda path: path.write_text(f'<?xml version="1.0"?>{_METADATA}'), id="declaration"),
        pytest.param(".aux.xml", lambda path: path.write_bytes(_METADATA.encode("utf-16")), id="UTF-16"),
        pytest.param(
            ".aux.xml", lambda path: path.write_text(_METADATA.replace("Offset", "offset")), id="small letters"
        ),
        pytest.param(".aux.xml", lambda path: path.write_text(_WITH_ATTRIBUTE), id="attribute"),
    ],
)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_lies_beside_an_image_and_cannot_be_read_is_refused_alike(tmp_path, values, suffix, make):
    """GDAL leaves it out without a word, so that a map would have been computed from other pixels than a chip."""
    image = write_scene(tmp_path / "a.tif", values[:, :50, :50])
    read_chip(image, make_spec(chip_size_px=50))
    find_scene([image], make_spec(), 10)
    make(tmp_path / f"a.tif{suffix}")
    with pytest.raises(StudyError, match=re.escape(suffix)):
        read_chip(image, make_spec(chip_size_px=50))
    with pytest.raises(StudyError, match=re.escape(suffix)):
        find_scene([image], make_spec(), 10)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_mask_in_the_file_that_cannot_be_read_is_refused_alike(tmp_path, values):
    """Its list of tags says a compression that GDAL does not know; it reads the file without the mask."""
    image = write_scene(tmp_path / "a.tif", values[:, :50, :50])
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(image, "r+") as target:
        target.write_mask(np.eye(50, dtype=bool))
    data = bytearray(image.read_bytes())
    # The tag 254 (what kind of image it is) with the value 4, a mask; after it the tag 259, compression.
    mask = data.index(struct.pack("<HHII", 254, 4, 1, 4))
    compression = data.index(struct.pack("<HHI", 259, 3, 1), mask)
    data[compression + 8 : compression + 10] = (34661).to_bytes(2, "little")
    image.write_bytes(data)
    with pytest.raises(StudyError, match="has a mask in it that GDAL does not read"):
        read_chip(image, make_spec(chip_size_px=50))
    with pytest.raises(StudyError, match=r"The mask of .* cannot be read"):
        find_scene([image], make_spec(), 10)


@pytest.mark.parametrize("write", [_mask_of(50, 1, dict.fromkeys(_EACH, 2)), _mask_of(50, 6, dict.fromkeys(_EACH, 0))])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_mask_beside_an_image_is_read_alike(tmp_path, values, write):
    image = write_scene(tmp_path / "a.tif", values[:, :50, :50])
    write(tmp_path / "a.tif.msk")
    scene = find_scene([image], make_spec(), 10)
    with SceneReader(scene, make_spec()) as reader:
        found = reader.read(0, 0, 50, 50).values
    assert np.array_equal(np.isnan(found[3]), np.eye(50) == 0)
    assert np.array_equal(read_chip(image, make_spec(chip_size_px=50)), found, equal_nan=True)


@pytest.mark.parametrize("is_one_file", [True, False])
def test_a_scene_with_tags_on_its_first_band_alone_is_refused(tmp_path, values, is_one_file):
    if is_one_file:
        files = [write_scene(tmp_path / "a.tif", values)]
    else:
        files = [write_scene(tmp_path / f"{name}.tif", values[band : band + 1]) for band, name in enumerate(NAMES)]
    find_scene(files, make_spec(), 10)
    with rasterio.open(files[0], "r+") as target:
        target.scales, target.offsets = (0.5, *target.scales[1:]), (-0.1, *target.offsets[1:])
    with pytest.raises(StudyError, match=r"tags of scale and offset 0\.5 and -0\.1 on RED, 1 and 0 on GREEN"):
        find_scene(files, make_spec(unit="reflectance"), 10)


def test_descriptions_in_latin_1_name_bands(tmp_path, values):
    """As older programs on Windows write them; rasterio refuses them."""
    image = write_scene(tmp_path / "a.tif", values[:, :50, :50], [f"{band} été" for band in BANDS])
    image.write_bytes(image.read_bytes().replace("été".encode(), "été  ".encode("latin-1")))
    with rasterio.open(image) as opened, pytest.raises(UnicodeDecodeError):
        opened.descriptions  # noqa: B018 - the property fails
    scene = find_scene([image], make_spec(bands=BANDS[::-1]), 10)
    assert [band for _, band in scene.bands] == [6, 5, 4, 3, 2, 1]
    assert scene.is_named
    for _ in range(2):
        chip = decode_chip(read_content(image), make_spec(chip_size_px=50))
        assert [each.strip() for each in chip.descriptions] == [f"{band} été" for band in BANDS]
        assert find_scene([image], make_spec(), 10).is_named
        # As QGIS does, which copies the descriptions into the file beside the image.
        with rasterio.open(image) as opened:
            opened.statistics(1)
        assert (tmp_path / "a.tif.aux.xml").exists()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_coordinate_reference_system_with_a_name_in_latin_1_is_told(tmp_path, values):
    image = write_scene(tmp_path / "a.tif", values[:, :50, :50])
    system = rasterio.crs.CRS.from_proj4("+proj=tmerc +lon_0=-73.25 +k=0.9999 +x_0=304800 +ellps=GRS80 +units=m")
    wkt = system.to_wkt().replace('PROJCS["unknown"', 'PROJCS["MTM Québec"')
    assert "Québec" in wkt
    with rasterio.open(image, "r+") as target:
        target.crs = rasterio.crs.CRS.from_wkt(wkt)
    data = image.read_bytes()
    assert "Québec".encode() in data
    image.write_bytes(data.replace("Québec".encode(), "Québec ".encode("latin-1")))
    with pytest.raises(StudyError, match=r"has text that is not UTF-8 .*MTM Québec") as caught:
        decode_chip(read_content(image), make_spec(chip_size_px=50))
    assert "EPSG code" in caught.value.remedy
    with pytest.raises(StudyError, match=r"(?s)has text that is not UTF-8.*MTM Québec.*EPSG code"):
        find_scene([image], make_spec(), 10)


@pytest.mark.parametrize("suffix", [".tif", ".vrt", ".jp2"])
def test_a_pointer_of_git_lfs_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    with pytest.raises(StudyError, match="Git LFS pointer, which stands for a file of 12345 bytes") as caught:
        find_scene([path], make_spec(), 10)
    assert "git lfs pull" in caught.value.remedy


@pytest.mark.parametrize("is_in_vrt", [False, True])
def test_a_scene_with_two_masks_is_refused(tmp_path, values, is_in_vrt):
    """Chips are read with both, and GDAL looks at one of them alone."""
    hidden = np.zeros((60, 50), dtype=bool)
    hidden[:30] = True
    scene = write_scene(tmp_path / "scene.tif", values)
    for internal, mask in ((False, hidden), (True, hidden[::-1])):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(scene, "r+") as target:
            target.write_mask(~mask)
        if not internal:
            (tmp_path / "scene.tif.msk").rename(tmp_path / "kept")
    if is_in_vrt:
        copy(str(scene), str(tmp_path / "scene.vrt"), driver="VRT")
        scene = tmp_path / "scene.vrt"
    assert np.isnan(read(scene)).any()
    (tmp_path / "kept").rename(tmp_path / "scene.tif.msk")
    with pytest.raises(StudyError, match=r"scene\.tif has a mask in it and another one beside it"):
        read(scene)


@pytest.mark.parametrize("described", ["Band 1", "b1", "band_1"])
def test_a_description_that_counts_the_bands_of_its_own_file_says_nothing_of_the_others(tmp_path, values, described):
    """As programs write it into band files."""
    files = [
        write_scene(tmp_path / f"{name}.tif", values[band : band + 1], [described]) for band, name in enumerate(NAMES)
    ]
    assert np.array_equal(read(files[::-1]), values[:, 5:45, 7:43])
    scene = find_scene(files, make_spec(), 10)
    assert scene.is_named
    two = [write_scene(tmp_path / f"two{n}.tif", values[n : n + 3], ["Band 1", "Band 2", "Band 3"]) for n in (0, 3)]
    assert np.array_equal(read(two), values[:, 5:45, 7:43])
    assert not find_scene(two, make_spec(), 10).is_named


@pytest.mark.parametrize("is_used", ["names", "descriptions"])
def test_names_and_descriptions_of_band_files_that_contradict_each_other_are_refused(tmp_path, values, is_used):
    """Names count where descriptions do not name all bands; here one of the others names another band."""
    names, described = list(NAMES), [""] * len(NAMES)
    if is_used == "names":
        described[0] = BANDS[1]
    else:
        described = list(BANDS)
        names = [f"layer-{number}" for number in range(len(NAMES))]
        names[0] = NAMES[1]
    files = [
        write_scene(tmp_path / f"{name}.tif", values[band : band + 1], [described[band]] if described[band] else None)
        for band, name in enumerate(names)
    ]
    with pytest.raises(StudyError, match="correct the descriptions of its bands or the names of its files"):
        read(files)


def test_a_scene_that_lost_its_end_is_refused_also_behind_a_vrt(tmp_path, values):
    path = write_scene(tmp_path / "a.tif", values)
    with rasterio.open(path, "r+") as file:
        file.offsets = [-0.1] * file.count
    copy(path, tmp_path / "a.vrt", driver="VRT")
    path.write_bytes(path.read_bytes()[:-1])
    for each in (path, tmp_path / "a.vrt"):
        with pytest.raises(StudyError, match=r"a\.tif is damaged"):
            read(each)


def test_a_vrt_is_a_scene(tmp_path, values):
    copy(write_scene(tmp_path / "a.tif", values), tmp_path / "a.vrt", driver="VRT")
    assert np.array_equal(read(tmp_path / "a.vrt"), values[:, 5:45, 7:43])


def test_a_scene_survives_json(tmp_path, values):
    import json
    from dataclasses import asdict

    scene = find_scene([write_scene(tmp_path / "a.tif", values)], make_spec(), 10)
    again = Scene.from_json(json.loads(json.dumps(asdict(scene))))
    assert again == scene


def test_an_alpha_band_among_others_is_a_mask(tmp_path, values):
    hidden = np.zeros((60, 50), dtype=bool)
    hidden[20:, 10:30] = True
    path = write_scene(tmp_path / "plain.tif", values)
    with rasterio.open(path) as file:
        place = {"crs": file.crs, "transform": file.transform}
    write_with_alpha(tmp_path / "a.tif", values, hidden, BANDS, 6, **place)
    expected = np.where(hidden, np.nan, values)[:, 5:45, 7:43]
    assert np.array_equal(read(tmp_path / "a.tif"), expected, equal_nan=True)


def test_band_files_with_an_alpha_band_each_are_known_by_their_names(tmp_path, values):
    """As gdalwarp -dstalpha makes them of band files without descriptions; the masks differ."""
    path = write_scene(tmp_path / "plain.tif", values)
    with rasterio.open(path) as file:
        place = {"crs": file.crs, "transform": file.transform}
    expected, files = values.copy(), []
    for band, name in enumerate(NAMES):
        hidden = np.zeros((60, 50), dtype=bool)
        hidden[20 + band :, 10:30] = True
        files.append(tmp_path / f"{name}.tif")
        write_with_alpha(files[-1], values[band : band + 1], hidden, [None], 1, alpha_name=None, **place)
        expected[band, hidden] = np.nan
    assert np.array_equal(read(files[::-1]), expected[:, 5:45, 7:43], equal_nan=True)


def test_a_band_of_the_study_is_no_mask_though_gdal_takes_it_for_an_alpha_band(tmp_path):
    stored = np.random.default_rng(5).integers(0, 3, (6, 60, 50)).astype(np.uint8)
    four, two = (
        write_scene(tmp_path / f"{name}.tif", stored[bands], [BANDS[band] for band in bands])
        for name, bands in (("four", [0, 1, 2, 3]), ("two", [4, 5]))
    )
    with rasterio.open(four) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
    found = read([four, two], make_spec(unit="dn"))
    assert np.array_equal(found, stored[:, 5:45, 7:43] / np.float32(10_000))


@pytest.mark.parametrize("unit", ["reflectance", "dn"])
def test_unit_tags_nodata_and_masks_are_read_as_those_of_chips(tmp_path, unit):
    stored = np.random.default_rng(4).integers(1, 6000, (6, 64, 64)).astype(np.uint16)
    stored[:, :9, :9] = 7
    stored[2, 20:22] = 65535
    path = write_scene(tmp_path / "a.tif", stored, BANDS, nodata=65535)
    mask = np.full((64, 64), 255, np.uint8)
    mask[40:, 50:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
        target.scales, target.offsets = [0.0001] * 6, [-0.1] * 6
        target.write_mask(mask)
    spec = make_spec(unit=unit, nodata=7)
    expected = read_chip(path, spec)
    assert 0 < np.isnan(expected).sum() < expected.size / 2
    assert np.array_equal(read(path, spec, (0, 0, 64, 64)), expected, equal_nan=True)
    assert np.array_equal(read(path, spec, (3, 11, 50, 50)), expected[:, 3:53, 11:61], equal_nan=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-4, 0, 10, 0, -1e-4, 45)},
            r"no coordinates in metres.*degrees \(EPSG:4326\).*project the scene",
        ),
        ({"crs": None}, "no georeference.*rio edit-info --crs"),
        ({"crs": "EPSG:4978"}, r"Geocentric CRS \(EPSG:4978\).*rio edit-info --crs"),
        ({"crs": 'LOCAL_CS["site",UNIT["metre",1]]'}, r"Engineering CRS \(LOCAL_CS.*rio edit-info --crs"),
        ({"pixel": 20.0}, "another size on the ground.*20.0. x 20.0"),
        # Web Mercator stretches lengths by 1 / cos(latitude): 2 at 60° north, so that 10 m are 5 m on the ground.
        ({"crs": "EPSG:3857", "transform": rasterio.Affine(10, 0, 1e6, 0, -10, 8_399_738)}, "another size.*5.0"),
        ({"transform": rasterio.Affine(10, 1, 6e5, 1, -10, 5e6)}, "no squares with north up"),
        # Rotated by 90 degrees.
        ({"transform": rasterio.Affine(0, 10, 6e5, -10, 0, 5e6)}, "no squares with north up.*0, 10, 600000, -10, 0"),
        ({"transform": rasterio.Affine(10, 0, 6e5, 0, 10, 5e6)}, "no squares with north up"),
        ({"transform": rasterio.Affine(10, 0, 6e5, 0, -10.2, 5e6)}, "no squares with north up"),
    ],
)
def test_a_scene_in_the_wrong_place_or_size_is_an_error_with_a_remedy(tmp_path, values, options, words):
    path = write_scene(tmp_path / "a.tif", values, **options)
    with pytest.raises(StudyError, match="(?s)" + words) as error:
        read(path)
    command = r"terralucas\.data\.rewrite scene\.tif utm\.tif --crs EPSG:(\w+) --pixel-m 10"
    # Without a place, no zone can be named; the place in Web Mercator and in degrees is also around 9° east.
    zone = "326xx" if "crs" in options and "transform" not in options else "32632"
    assert re.search(command, error.value.remedy)[1] == zone


def test_metres_that_are_tagged_as_degrees_are_no_place_to_project(tmp_path, values):
    with pytest.raises(StudyError, match="at no place on Earth"):
        read(write_scene(tmp_path / "a.tif", values, crs="EPSG:4326"))


def test_a_projection_of_the_continent_has_the_right_size(tmp_path, values):
    place = {"crs": "EPSG:3035", "transform": rasterio.Affine(10, 0, 4_600_000, 0, -10, 2_200_000)}
    assert read(write_scene(tmp_path / "a.tif", values, **place)).shape == (6, 40, 36)


def test_feet_are_no_metres(tmp_path, values):
    """EPSG:2263 has US survey feet of 0.3048006 m, by definition 1200 / 3937 m."""
    side = 10 / (1200 / 3937)
    place = {"crs": "EPSG:2263", "transform": rasterio.Affine(side, 0, 984_250, 0, -side, 200_000)}
    scene = find_scene([write_scene(tmp_path / "a.tif", values, **place)], make_spec(), 10)
    assert scene.pixel_m == pytest.approx(10, abs=1e-9)


@pytest.mark.parametrize(
    ("count", "descriptions", "words"),
    [
        (4, None, "has 4 band"),
        (12, None, "has 12 band"),
        (6, ["B2", "B3", "B4", "B5", "B6", "B7"], "describes its bands as"),
    ],
)
def test_bands_that_are_missing_or_wrong_are_an_error(tmp_path, count, descriptions, words):
    path = write_scene(tmp_path / "a.tif", np.concatenate([noise(60, 50), noise(60, 50, 1)])[:count], descriptions)
    with pytest.raises(StudyError, match=words) as error:
        read(path)
    assert error.value.remedy


def test_files_that_are_not_one_scene_are_an_error(tmp_path, values):
    first = write_scene(tmp_path / "B04.tif", values[:1])
    second = write_scene(tmp_path / "B11.tif", values[:1, ::2, ::2].copy(), pixel=20.0)
    with pytest.raises(StudyError, match="are not one scene") as error:
        read([first, second])
    assert "60 x 50 px of 10" in error.value.found
    assert "30 x 25 px of 20" in error.value.found


def test_files_whose_pixels_differ_a_little_in_size_are_not_one_scene(tmp_path, values):
    """0.005 m of each pixel are 0.03 pixels at the far corner here, and five in a tile of Sentinel-2."""
    files = [write_scene(tmp_path / f"{band}.tif", values[number : number + 1]) for number, band in enumerate(BANDS)]
    read(files)
    with rasterio.open(files[2], "r+") as target:
        target.transform = target.transform @ rasterio.Affine.scale(1 + 1e-7)
    read(files)
    with rasterio.open(files[2], "r+") as target:
        target.transform = target.transform @ rasterio.Affine.scale(1.0005)
    with pytest.raises(StudyError, match="are not one scene"):
        read(files)


def test_pieces_of_a_scene_are_to_be_mapped_by_themselves(tmp_path, values):
    pieces = [write_scene(tmp_path / f"{number}.tif", values) for number in range(2)]
    with rasterio.open(pieces[1], "r+") as target:
        target.transform = target.transform @ rasterio.Affine.translation(50, 0)
    with pytest.raises(StudyError, match="are not one scene") as error:
        read(pieces)
    assert error.value.remedy.startswith("map each file by itself, if these are pieces of a scene")


def test_an_envi_file_that_lost_its_end_is_damaged(tmp_path, values):
    copy(write_scene(tmp_path / "a.tif", values), tmp_path / "a.img", driver="ENVI")
    read(tmp_path / "a.img")
    os.truncate(tmp_path / "a.img", int(0.7 * (tmp_path / "a.img").stat().st_size))
    with pytest.raises(StudyError, match=r"a\.img is damaged") as error:
        read(tmp_path / "a.img")
    assert "72,000 bytes, by its header" in error.value.expected
    with pytest.raises(StudyError, match=r"a\.img is damaged"):
        rewrite(tmp_path / "a.img", tmp_path / "b.tif")


def test_tiles_of_jpeg_2000_that_cannot_be_decoded_are_an_error_also_in_a_window_of_several(tmp_path):
    """In several threads, GDAL returned what was in memory."""
    path = write_scene(tmp_path / "a.tif", np.rint(noise(512, 512) * 10_000).astype(np.uint16))
    options = {"REVERSIBLE": "YES", "QUALITY": "100", "BLOCKXSIZE": "128", "BLOCKYSIZE": "128"}
    copy(path, tmp_path / "a.jp2", driver="JP2OpenJPEG", **options)
    spec = make_spec(unit="dn", checks={"band_descriptions": False})
    scene = find_scene([tmp_path / "a.jp2"], spec, 10.0)
    os.truncate(tmp_path / "a.jp2", int(0.6 * (tmp_path / "a.jp2").stat().st_size))
    with SceneReader(scene, spec) as reader:
        for row in range(384, 512, 32):
            with pytest.raises(StudyError, match="cannot be"):
                reader.read(row, 0, 32, 512)
    with pytest.raises(StudyError, match="cannot be written again"):
        rewrite(tmp_path / "a.jp2", tmp_path / "b.tif", pixel_m=20)


def test_a_rotation_that_is_rounding_is_none(tmp_path, values):
    path = write_scene(tmp_path / "a.tif", values)
    with rasterio.open(path, "r+") as target:
        place = target.transform
        target.transform = rasterio.Affine(place.a, 1e-9, place.c, 1e-9, place.e, place.f)
    read(path)


@pytest.mark.parametrize("content", [None, b"", b"no raster"])
def test_what_is_no_raster_is_an_error(tmp_path, content):
    path = tmp_path / "a.tif"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=r"no scene at|cannot be read") as error:
        read(path)
    assert error.value.remedy


def test_a_file_that_was_cut_off_is_an_error_where_it_is_read(tmp_path, values):
    path = write_scene(tmp_path / "a.tif", values)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(StudyError, match="cannot be read"):
        read(path, place=(20, 0, 40, 50))


def with_mask_beside(path):
    """Write a scene with a mask in a file beside it."""
    stored = np.random.default_rng(4).integers(2000, 6000, (6, 64, 64)).astype(np.uint16)
    mask = np.full((64, 64), 255, np.uint8)
    mask[40:, 50:] = 0
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),
        rasterio.open(write_scene(path, stored, BANDS), "r+") as target,
    ):
        target.write_mask(mask)
    return path


@pytest.fixture(params=[False, True], ids=["GeoTIFF", "VRT"])
def tagged(tmp_path, request):
    """A scene with a mask and an offset beside it, and what GDAL alone reads of it."""
    path = with_mask_beside(tmp_path / "a.tif")
    band = "<Offset>-1000</Offset><Scale>1</Scale>"
    bands = "".join(f'<PAMRasterBand band="{number}">{band}</PAMRasterBand>' for number in range(1, 7))
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    if request.param:
        copy(path, tmp_path / "a.vrt", driver="VRT")
        path = tmp_path / "a.vrt"
    with rasterio.open(path) as source:
        raw, masks, scale, offset = source.read(), source.read_masks(), source.scales[0], source.offsets[0]
    return path, np.where(masks == 0, np.nan, (raw * scale + offset) / 10_000)


def test_options_of_gdal_in_the_shell_do_not_hide_what_lies_beside_a_scene(tagged, gdal_in_the_shell):
    path, expected = tagged
    assert np.isnan(expected).mean() > 0.08
    values = read(path, make_spec(unit="dn"), (0, 0, 64, 64))
    assert np.allclose(values, expected, equal_nan=True, atol=1e-6)


def test_options_of_gdal_in_the_shell_do_not_hide_a_mask_from_the_thread_that_reads(tmp_path, gdal_in_the_shell):
    path, spec = with_mask_beside(tmp_path / "a.tif"), make_spec(unit="dn")
    with SceneReader(find_scene([path], spec, 10), spec) as reader, ThreadPoolExecutor(1) as pool:
        values = pool.submit(reader.read, 0, 0, 64, 64).result().values
    assert np.isnan(values[0]).sum() == 24 * 14
