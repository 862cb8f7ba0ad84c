"""What gives the chips of a class away without any land cover: another order of bands, unit or scale."""

import math

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from helpers.chips import BANDS, make_spec, write_tif
from helpers.land import draw_land
from helpers.real_chips import BANDS as REAL_BANDS
from helpers.real_chips import needs_real_chips, write_real
from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_checks import check_chip
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip
from terralucas.data.indexing.group_checks import describe_same_places
from terralucas.data.indexing.index import index_chips
from terralucas.data.rasters.said_of_bands import find_wrong_colours, read_descriptions
from terralucas.errors import StudyError

ORDER = dict(zip(BANDS, range(len(BANDS)), strict=True))


def index(root, **changes):
    spec = make_spec(**{"layout": {"labels": "folders"}, "point_ids": "none", "unit": "dn"} | changes)
    return index_chips(root, spec, min_chips_per_class=1, threads=1, progress=False)


def write_land(root, number, change, *, changed=None):
    """Write chips of a town (class 1) and of fields (class 2), of which `change` alters the first `changed` ones."""
    for name, kind in (("1", "town"), ("2", "fields")):
        for i, chip in enumerate(draw_land(kind, number, BANDS)):
            is_changed = name == "2" and (changed is None or i < changed)
            write_tif(root / name / f"{name}-{i}x.tif", (change(chip) if is_changed else chip) * 10_000)
    return root


def exchange(first, second):
    """Return a function that exchanges two bands of a chip."""
    order = list(range(len(BANDS)))
    order[ORDER[first]], order[ORDER[second]] = ORDER[second], ORDER[first]
    return lambda chip: chip[order]


# The order of bands.


@pytest.mark.parametrize("pair", [("RED", "BLUE"), ("RED", "NIR_BROAD"), ("GREEN", "NIR_BROAD"), ("SWIR_1", "SWIR_2")])
def test_another_order_of_bands_in_one_class_stops_the_study(tmp_path, pair):
    """Of all chips together, most show the right order."""
    write_land(tmp_path, 12, exchange(*pair))
    with pytest.raises(StudyError, match=r"1 class.* have another order than RED, GREEN, BLUE") as error:
        index(tmp_path, on_invalid="drop")
    assert error.value.found.startswith("class 2: ")
    assert "(class 2)" in error.value.remedy
    assert index(tmp_path, checks={"band_order": False, "band_levels": False})[1]["n_valid"] == 24


def test_an_order_of_one_class_that_may_be_wrong_is_said(tmp_path):
    write_land(tmp_path, 12, exchange("GREEN", "RED"))
    (notice,) = index(tmp_path)[1]["notices"]
    assert notice.startswith("the bands of some classes may not be RED, GREEN, BLUE")
    assert "(class 2: " in notice
    assert "class 1" not in notice


def test_the_right_order_of_all_classes_is_not_doubted(tmp_path):
    assert index(write_land(tmp_path, 12, np.copy))[1]["notices"] == []


def test_few_chips_of_a_class_decide_no_order(tmp_path):
    assert index(write_land(tmp_path, 9, exchange("RED", "BLUE")))[1]["n_valid"] == 18


@needs_real_chips
@pytest.mark.parametrize("code", ["AnnualCrop", "Forest", "Industrial", "Residential"])
def test_red_and_blue_of_one_class_of_real_chips(tmp_path, code):
    described = write_real(tmp_path, code, lambda chip: chip[[2, 1, 0, 3, 4, 5]])
    with pytest.raises(StudyError, match="have another order than BLUE, GREEN, RED") as error:
        index(tmp_path, **described)
    assert error.value.found.startswith(f"class {code}: ")
    assert "[RED, GREEN, BLUE, NIR_NARROW, SWIR_1, SWIR_2]" in error.value.remedy


# Unit and scale.


def tenfold(chip):
    """Return a chip whose DN are reflectance × 100,000."""
    return chip * np.float32(10)


def test_a_unit_of_one_class_that_some_of_its_chips_show_stops_the_study(tmp_path):
    """Chips of 10 that are dropped would leave the others, which have the same fault."""
    write_land(tmp_path, 10, tenfold, changed=4)
    with pytest.raises(StudyError, match=r"1 class.* have another unit, scale or offset") as error:
        index(tmp_path, on_invalid="drop", checks={"band_levels": False})
    assert error.value.found.startswith("class 2: 4 of 10 chips; 2-0x (2/2-0x.tif) has ")
    assert "DN" in error.value.found
    assert "remove the faulty ones" in error.value.remedy


@pytest.mark.parametrize(("number", "changed"), [(10, 2), (20, 4)])
def test_a_unit_of_few_chips_of_a_class_is_dropped(tmp_path, number, changed):
    write_land(tmp_path, number, tenfold, changed=changed)
    assert index(tmp_path, on_invalid="drop", checks={"band_levels": False})[1]["n_dropped"] == changed


def write_colours(path, values, kinds, **options):
    """Write a chip whose bands are to be shown in these colours, without descriptions."""
    write_tif(path, values, **options)
    with rasterio.open(path, "r+") as target:
        target.colorinterp = [*kinds, *[ColorInterp.gray] * (len(values) - len(kinds))]


RGB_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def test_colours_that_contradict_the_bands_are_said(tmp_path):
    """RED, GREEN, BLUE are the first bands; a program that copies the profile of another file copies its colours."""
    write_land(tmp_path, 6, lambda chip: chip)
    for number in range(2):
        chip = draw_land("town", 6, BANDS)[number] * 10_000
        write_colours(tmp_path / "1" / f"1-{number}x.tif", chip, RGB_COLOURS)
    assert index(tmp_path)[1]["notices"] == []
    for number in range(2):
        chip = draw_land("town", 6, BANDS)[number] * 10_000
        write_colours(tmp_path / "1" / f"1-{number}x.tif", chip, RGB_COLOURS[::-1])
    (notice,) = index(tmp_path)[1]["notices"]
    assert notice.startswith(
        "2 of 12 chips may have their bands in another order (class 1: 2): 1-0x (1/1-0x.tif) shows"
    )
    assert "blue, green, red" in notice


@pytest.mark.parametrize(("dtype", "is_said"), [("uint8", False), ("uint16", True)])
def test_colours_that_gdal_gives_to_every_file_say_nothing(tmp_path, dtype, is_said):
    write_colours(tmp_path / "a.tif", np.ones((3, 8, 8), dtype=dtype), RGB_COLOURS)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.colorinterp[:3] == RGB_COLOURS
        assert (find_wrong_colours(source, (0, 1, 2), ("BLUE", "GREEN", "RED")) is not None) == is_said
        assert find_wrong_colours(source, (2, 1, 0), ("BLUE", "GREEN", "RED")) is None


def test_wavelengths_of_bands_are_read_where_they_have_no_description(tmp_path):
    write_tif(tmp_path / "a.tif", np.ones((3, 8, 8), dtype="uint16"))
    with rasterio.open(tmp_path / "a.tif", "r+") as target:
        target.set_band_description(1, "own words")
        for band, wavelength in ((1, 0.49), (2, 0.56), (3, 0.665)):
            target.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=wavelength)
    with rasterio.open(tmp_path / "a.tif") as source:
        assert read_descriptions(source) == ("own words", "0.56 um", "0.665 um")
    spec = make_spec(bands=("RED", "GREEN", "BLUE"), chip_size_px=8)
    with pytest.raises(ChipError, match=r"describes its bands as own words, 0\.56 um, 0\.665 um"):
        chip = decode_chip(read_content(tmp_path / "a.tif"), spec)
        check_chip(chip, np.isfinite(chip.values), spec)


@pytest.mark.parametrize(("of_one", "of_other"), [(4, 0), (4, 1), (4, 2), (2, 0)])
def test_a_class_that_loses_far_more_chips_than_the_others_is_said(tmp_path, of_one, of_other):
    write_land(tmp_path, 10, lambda chip: chip)
    for name, count in (("2", of_one), ("1", of_other)):
        for number in range(count):
            (tmp_path / name / f"{name}-{number}x.tif").write_bytes(b"")
    notices = index(tmp_path, on_invalid="drop")[1]["notices"]
    if (of_one, of_other) in ((4, 0), (4, 1)):
        (notice,) = notices
        assert notice.startswith(
            "far more chips of some classes than of the others are dropped (class 2: 4 of 10 chips):"
        )
    else:
        assert notices == []


def test_faults_that_all_classes_have_alike_are_dropped(tmp_path):
    for name, kind in (("1", "fields"), ("2", "town")):
        for i, chip in enumerate(draw_land(kind, 10, BANDS)):
            write_tif(tmp_path / name / f"{name}-{i}x.tif", (tenfold(chip) if i < 3 else chip) * 10_000)
    assert index(tmp_path, on_invalid="drop", checks={"band_levels": False})[1]["n_dropped"] == 6


def test_another_scale_of_one_class_stops_the_study(tmp_path):
    """The other class has the same land, so that the factor is the same in all bands."""
    for name, factor in (("1", 1), ("2", 0.3)):
        for i, chip in enumerate(draw_land("fields", 10, BANDS, seed=int(name))):
            write_tif(tmp_path / name / f"{name}-{i}x.tif", chip * np.float32(10_000 * factor))
    with pytest.raises(StudyError, match="have another scale than those of the others") as error:
        index(tmp_path, on_invalid="drop")
    assert "class 2: 0.2" in error.value.found
    notices = index(tmp_path, checks={"allow_class_offsets": True})[1]["notices"]
    assert any("class 2: 0.2" in notice for notice in notices)


@pytest.mark.parametrize("bands", [BANDS[:3], BANDS[3:]], ids=["visible", "infrared"])
def test_land_can_be_dark_alike_in_visible_or_in_infrared_bands_alone(tmp_path, bands):
    for name, factor in (("1", 1), ("2", 0.3)):
        for i, chip in enumerate(draw_land("fields", 10, bands, seed=int(name))):
            write_tif(tmp_path / name / f"{name}-{i}x.tif", chip * np.float32(10_000 * factor))
    notices = index(tmp_path, bands=list(bands), checks={"band_order": False})[1]["notices"]
    assert any("class 2: 0.2" in notice for notice in notices)


@needs_real_chips
@pytest.mark.parametrize(("code", "is_certain"), [("Highway", True), ("Residential", True), ("SeaLake", False)])
def test_a_class_of_real_chips_at_a_third_is_found_and_the_others_are_not(tmp_path, code, is_certain):
    described = write_real(tmp_path, code, lambda chip: chip // 3)
    if is_certain:
        with pytest.raises(StudyError, match="have another scale") as error:
            index(tmp_path, **described)
        found = error.value.found
    else:
        (found,) = index(tmp_path, **described)[1]["notices"]
    assert f"class {code}: " in found
    assert found.count("class ") == 1


# The offset of Sentinel-2's baseline 04.00.


@pytest.mark.parametrize(("shifted", "is_said"), [(4, True), (3, False)])
def test_an_offset_in_many_chips_of_every_class_is_said(tmp_path, shifted, is_said):
    for name, kind in (("1", "fields"), ("2", "bare")):
        for i, chip in enumerate(draw_land(kind, 10, BANDS)):
            write_tif(tmp_path / name / f"{name}-{i}x.tif", (chip + 0.1 * (i < shifted)) * 10_000)
    notices = index(tmp_path)[1]["notices"]
    assert len(notices) == is_said
    assert all(notice.startswith("8 of 20 chips have no pixel below 950 DN in any band") for notice in notices)


def test_numbers_of_landsat_that_were_not_scaled_are_said(tmp_path):
    """Of the visible bands alone; with the infrared, other checks refuse them."""
    bands = BANDS[:3]
    for name, kind in (("1", "fields"), ("2", "forest")):
        for i, chip in enumerate(draw_land(kind, 10, bands)):
            write_tif(tmp_path / name / f"{name}-{i}x.tif", ((chip + 0.2) / 0.0000275).astype("uint16"))
    (notice, *others) = index(tmp_path, bands=list(bands))[1]["notices"]
    assert all("offset that Sentinel-2" not in other for other in others)
    notices = [notice, *others]
    assert any("as with the numbers of Landsat's Collection 2" in each for each in notices), notices


# Places.


def test_chips_at_one_place_are_said_with_their_labels(tmp_path):
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 600_000, 0, -10, 5_000_000)}
    for number, (name, kind) in enumerate((("1", "fields"), ("1", "fields"), ("2", "town"), ("2", "town"))):
        (chip,) = draw_land(kind, 1, BANDS, seed=number)
        away = rasterio.Affine.translation(0 if number < 3 else 640, 0)
        write_tif(
            tmp_path / name / f"{name}-{number}x.tif", chip * 10_000, **place | {"transform": away * place["transform"]}
        )
    (notice,) = index(tmp_path, pixel_size_m=10)[1]["notices"]
    assert notice.startswith(
        "3 chips lie at the place of another chip, such as 1-0x (1/1-0x.tif) and 1-1x (1/1-1x.tif)"
    )
    assert "3 of them at that of a chip with another label" in notice


@pytest.mark.parametrize("step", [0.02, 2.0])
def test_places_beside_each_other_are_one_place_wherever_they_are(step):
    """The edges of cells of half a pixel lie anywhere between them; 64 pairs are 300 m apart."""
    rows = [
        {"easting_m": 300.0 * pair + 0.13 * pair + step * second, "northing_m": -0.31 * pair + step * second}
        | {"label": second, "point_id": f"{pair}-{second}", "file": f"{pair}-{second}.tif"}
        for pair in range(64)
        for second in (0, 1)
    ]
    far = {"easting_m": 1e6, "northing_m": 0.0, "label": 0, "point_id": "far", "file": "far.tif"}
    unknown = far | {"easting_m": math.nan}
    notice = describe_same_places([far, *rows, unknown, unknown], make_spec(pixel_size_m=10))
    assert notice.startswith("128 chips lie at the place of another chip, such as 0-0 (0-0.tif) and 0-1 (0-1.tif)")
    assert describe_same_places([far, unknown, unknown], make_spec(pixel_size_m=10)) is None
    assert describe_same_places([], make_spec(pixel_size_m=10)) is None


@pytest.mark.parametrize("bands", [["NIR_NARROW", "SWIR_1", "SWIR_2"], ["SWIR_1", "SWIR_2"]])
@needs_real_chips
def test_lakes_are_no_other_scale_in_infrared_bands_alone(tmp_path, bands):
    chosen = [REAL_BANDS.index(band) for band in bands]
    described = write_real(tmp_path, "", np.copy) | {"bands": bands}
    for file in tmp_path.glob("*/*.tif"):
        with rasterio.open(file) as source:
            values, place = source.read()[chosen], {"crs": source.crs, "transform": source.transform}
        write_tif(file, values, **place)
    assert index(tmp_path, **described)[1]["n_valid"] == 100
