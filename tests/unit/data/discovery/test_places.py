"""Places of chips: coordinate columns against LUCAS ids, and against the georeference of the chips themselves."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import rasterio
from pyproj import Geod, Transformer
from rasterio.crs import CRS

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip
from terralucas.data.dataset import ClassSpec, DatasetSpec, LayoutSpec
from terralucas.data.discovery.places import check_georeference, find_exchanged, find_ground, locate
from terralucas.data.indexing.pixel_sizes import check_pixel_size, describe_pixel_sizes, is_pixel_size, size_text
from terralucas.data.rasters.georeference import Centre
from terralucas.errors import StudyError
from terralucas.predict.pixel_size import measure_ground
from terralucas.predict.remedies import for_new_files

POINT = "45922254"
PLACE = (4_592_000.0, 2_254_000.0)
# The point in WGS 84, rounded to hundreds of metres.
LON, LAT = "13.334", "43.340"


def make_spec(crs: str = "EPSG:4326", point_ids: str = "lucas") -> DatasetSpec:
    layout = LayoutSpec("table", "t.csv", "id", "cls", x_column="x", y_column="y", crs=crs)
    return DatasetSpec("d", layout, (ClassSpec("1", "one"),), ("RED",), point_ids=point_ids)


def refused(point_id: str, x: str, y: str, spec: DatasetSpec) -> str:
    with pytest.raises(ChipError) as caught:
        locate(point_id, x, y, spec)
    assert caught.value.kind == "bad_coordinates"
    assert repr(x) in caught.value.problem
    return caught.value.problem


def test_columns_that_agree_with_the_id_are_used():
    place = locate(POINT, LON, LAT, make_spec())
    assert 0 < math.dist(place, PLACE) < 5000
    assert locate(POINT, "4593000", "2253000", make_spec("EPSG:3035")) == pytest.approx((4593000, 2253000), abs=0.01)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("88.888888", "88.888888"),  # Eurostat's GPS_LONG and GPS_LAT where the point was not reached
        (LON, "88.888888"),
        ("88.88888", LAT),
        (LON, "88.89"),
        (LON, "88.9"),
        ("0", "0.0"),
        ("", ""),
        ("NA", "NA"),
        ("nan", LAT),
        ("-9999", "-9999"),
        ("999", "999.0"),
        ("8888", "8888"),
    ],
)
def test_sentinels_are_missing_values(x, y):
    assert locate(POINT, x, y, make_spec()) == PLACE
    message = refused("mine", x, y, make_spec(point_ids="none"))
    assert "no value" in message
    assert "leave out x_column and y_column" in message


@pytest.mark.parametrize(
    ("x", "y", "crs", "cause"),
    [
        (LAT, LON, "EPSG:4326", "x and y are swapped"),
        ("4592000", "2254000", "EPSG:4326", "they agree in EPSG:3035"),  # metres among degrees
        (LON, LAT, "EPSG:3035", "they agree in EPSG:4326"),  # degrees among metres
        (LON, LAT, "EPSG:32633", "they agree in EPSG:4326"),
        ("4592000", "2254000", "EPSG:32633", "they agree in EPSG:3035"),  # a wrong crs
        ("2254000", "4592000", "EPSG:3035", "x and y are swapped"),
    ],
)
def test_columns_that_contradict_the_id_are_refused_with_the_likely_cause(x, y, crs, cause):
    assert cause in refused(POINT, x, y, make_spec(crs))


@pytest.mark.parametrize(
    ("epsg", "place"),
    # ED50 in Italy, Indian 1975 in Thailand, Arc 1960 in Kenya; and WGS 84.
    [(23032, (11.0, 45.0)), (24047, (100.0, 15.0)), (21037, (37.0, -1.0)), (32632, (9.0, 45.0))],
)
def test_the_datum_of_coordinates_counts(epsg, place):
    """PROJ takes datums for equal to ETRS89 whose difference from it is not known, which is wrong by up to 600 m."""
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(*place)
    expected = Transformer.from_crs(4326, 3035, always_xy=True).transform(*place)
    ground = find_ground(Centre(CRS.from_epsg(epsg), x, y, (10.0, 0.0), (0.0, -10.0)))
    assert math.dist(ground.place, expected) < 10
    assert math.dist(locate("a", str(x), str(y), make_spec(f"EPSG:{epsg}", "none")), expected) < 10


def test_the_datum_of_a_file_with_its_own_difference_from_wgs_84_counts():
    """As GeoTIFFs and PROJ's strings may write it: TOWGS84."""
    text = "+proj=utm +zone=47 +a=6377276.345 +rf=300.8017 +towgs84=210,814,289,0,0,0,0 +units=m"
    x, y = Transformer.from_crs(4326, text, always_xy=True).transform(100.0, 15.0)
    ground = find_ground(Centre(CRS.from_user_input(text), x, y, (10.0, 0.0), (0.0, -10.0)))
    expected = Transformer.from_crs(4326, 3035, always_xy=True).transform(100.0, 15.0)
    assert math.dist(ground.place, expected) < 10


def test_another_point_is_refused_with_its_distance():
    assert "km from the point of its LUCAS id; expected at most 5 km" in refused(POINT, "12.0", LAT, make_spec())


def test_columns_do_not_excuse_an_id_that_is_no_lucas_id():
    with pytest.raises(ChipError) as caught:
        locate("chip-7", LON, LAT, make_spec())
    assert caught.value.kind == "not_a_lucas_id"


def test_degrees_and_metres_are_told_apart_without_an_id():
    spec = make_spec(point_ids="none")
    assert "these seem to be metres" in refused("a", "4592000", "2254000", spec)
    assert "these seem to be degrees" in refused("a", LON, LAT, make_spec("EPSG:32633", point_ids="none"))


def test_longitudes_from_0_to_360_are_the_same_places():
    spec = make_spec(point_ids="none")
    assert locate("a", "347.5", LAT, spec) == pytest.approx(locate("a", "-12.5", LAT, spec), abs=0.01)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ("13,334", "43,340", "with a point and not a comma before decimals"),
        ("13.334", "43,340", "with a point and not a comma before decimals"),
        ("13°20'02\"E", "43°20'24\"N", "as decimal numbers"),
        (LAT, "113.334", "x and y are swapped"),
    ],
)
def test_texts_that_are_no_degrees_are_refused_with_the_likely_cause(x, y, said):
    assert said in refused("a", x, y, make_spec(point_ids="none"))


# The point in UTM 33N, by pyproj 3.7: 364,990 m east, 4,800,026 m north.
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32632"])
def test_a_place_far_outside_the_area_of_its_crs_is_refused_without_an_id(crs):
    spec = make_spec(crs, point_ids="none")
    assert all(map(math.isfinite, locate("a", "364990", "4800026", spec)))
    said = refused("a", "4800026", "364990", spec)
    assert f"expected a place near the area that {crs} is for" in said
    assert said.endswith("0 to 84 °N): x and y seem to be swapped")


def test_a_crs_that_says_nothing_about_its_area_is_used_everywhere():
    crs = "+proj=utm +zone=33 +datum=WGS84 +units=m"
    assert all(map(math.isfinite, locate("a", "4800026", "364990", make_spec(crs, point_ids="none"))))


def write_chip(folder, crs, transform):
    path = folder / "chip.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 64, "width": 64, "dtype": "float32"}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as target:
        target.write(np.ones((1, 64, 64), dtype=np.float32))
    return path


def read_ground(path):
    return find_ground(decode_chip(read_content(path), make_spec()).centre)


@pytest.mark.parametrize("crs", ["EPSG:3035", "EPSG:4326"])
def test_place_must_be_inside_the_chip(tmp_path, crs):
    if crs == "EPSG:3035":
        transform = rasterio.Affine(10, 0, PLACE[0] - 320, 0, -10, PLACE[1] + 320)
    else:
        transform = rasterio.Affine(1e-4, 0, float(LON) - 0.0032, 0, -1e-4, float(LAT) + 0.0032)
    chip, spec = read_ground(write_chip(tmp_path, crs, transform)), make_spec(point_ids="none")
    centre = PLACE if crs == "EPSG:3035" else locate("a", LON, LAT, spec)
    check_georeference(chip, centre, spec)
    check_georeference(chip, (centre[0] + 1200, centre[1]), spec)
    for x, y in ((LAT, LON), ("1", "1")):
        with pytest.raises(ChipError, match="km outside the chip") as caught:
            check_georeference(chip, locate("a", x, y, spec), spec)
        assert caught.value.kind == "bad_coordinates"
    # With LUCAS ids, the chip may be as far away as a surveyor may have been.
    check_georeference(chip, (centre[0] + 5_000, centre[1]), make_spec())
    with pytest.raises(ChipError, match="km outside the chip"):
        check_georeference(chip, (centre[0] + 6_000, centre[1]), make_spec())


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_chip_without_a_place_says_nothing_about_coordinates(tmp_path):
    ground = read_ground(write_chip(tmp_path, None, None))
    check_georeference(ground, (1.0, 1.0), make_spec(point_ids="none"))
    assert ground is None


@pytest.mark.parametrize(
    ("crs", "x", "y"), [("EPSG:32632", 432_000.0, 4_798_000.0), ("EPSG:32760", 500_000.0, 5_400_000.0)],
    ids=["Italy", "New Zealand"],
)  # fmt: skip
@pytest.mark.parametrize("azimuth", range(0, 360, 30))
def test_a_point_outside_the_chip_is_as_far_away_as_on_the_ground(tmp_path, crs, x, y, azimuth):
    """EPSG:3035 stretches lengths by 7.6 in New Zealand."""
    chip, spec = (
        read_ground(write_chip(tmp_path, crs, rasterio.Affine(10, 0, x - 320, 0, -10, y + 320))),
        make_spec(point_ids="none"),
    )
    assert chip.side_m == pytest.approx(640, rel=2e-3)
    to_degrees, to_laea = (Transformer.from_crs(*each, always_xy=True) for each in ((crs, 4326), (4326, 3035)))
    for metres in (900.0, 1_900.0, 4_000.0):
        longitude, latitude, _ = Geod(ellps="WGS84").fwd(*to_degrees.transform(x, y), azimuth, metres)
        place = to_laea.transform(longitude, latitude)
        if metres < 1_000:
            check_georeference(chip, place, spec)
        else:
            with pytest.raises(ChipError) as caught:
                check_georeference(chip, place, spec)
            outside = float(re.search(r"([\d.]+) km outside", caught.value.problem)[1]) * 1000
            assert metres - 510 < outside < metres - 230


GRIDS = [
    ("EPSG:32632", 432_000.0, 4_798_000.0, 10.0),
    ("EPSG:3857", 1_484_000.0, 5_366_000.0, 10.0),
    ("EPSG:4326", 13.3, 43.3, 1e-4),
    ("EPSG:4326", -171.5, -44.0, 1e-4),
    ("EPSG:32760", 500_000.0, 5_000_000.0, 20.0),
    ("EPSG:2264", 1_500_000.0, 600_000.0, 32.8),
]


@pytest.mark.parametrize(("crs", "x", "y", "side"), GRIDS)
def test_place_and_pixel_size_of_a_georeference(crs, x, y, side):
    """PROJ's geodesics measure the area of a pixel on the ellipsoid, and pyproj transforms the place."""
    ground = find_ground(Centre(CRS.from_user_input(crs), x, y, (side, 0.0), (0.0, -side)))
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    corners = to_degrees.transform([x, x + side, x + side, x], [y, y, y - side, y - side])
    area_m2, _ = Geod(ellps="WGS84").polygon_area_perimeter(*corners)
    assert ground.pixel_m == pytest.approx(math.sqrt(abs(area_m2)), rel=1e-3)
    to_metres = Transformer.from_crs(crs, "EPSG:3035", always_xy=True)
    assert ground.place == pytest.approx(to_metres.transform(x, y), abs=2.0)


def test_nominal_size_is_in_the_units_of_the_coordinates():
    feet = find_ground(Centre(CRS.from_epsg(2264), 1_500_000.0, 600_000.0, (32.8084, 0.0), (0.0, -32.8084)))
    degrees = find_ground(Centre(CRS.from_epsg(4326), 13.3, 43.3, (10 / 111_320, 0.0), (0.0, -10 / 111_320)))
    assert (feet.nominal_m, degrees.nominal_m) == pytest.approx((10.0, 10.0), rel=1e-3)


DRAWING = 'LOCAL_CS["drawing",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'


@pytest.mark.parametrize(
    "centre",
    [
        None,
        Centre(CRS.from_wkt(DRAWING), 5.0, 5.0, (1.0, 0.0), (0.0, -1.0)),
    ],
    ids=["none", "drawing"],
)
def test_a_georeference_that_is_no_place_says_nothing(centre):
    assert find_ground(centre) is None
    assert centre is None or measure_ground(centre) is None


@pytest.mark.parametrize(
    ("epsg", "x", "y", "step"),
    [
        (4326, 500_000.0, 5_000_000.0, 10.0),
        (32632, 1e12, 1e12, 10.0),
        (32632, math.nan, 5e6, 10.0),
        (32632, 6e5, 5e6, math.nan),
        (32632, 6e5, 5e6, 0.0),
    ],
    ids=["metres as degrees", "outside the Earth", "no number", "pixels of no size", "pixels without an area"],
)
def test_a_georeference_that_is_not_on_earth_is_refused(epsg, x, y, step):
    """Silently, the chip would have no place; and new chips like it would be refused by a size that is no number."""
    centre = Centre(CRS.from_epsg(epsg), x, y, (step, 0.0), (0.0, -step))
    with pytest.raises(ChipError, match=r"by its georeference.*expected a place on Earth") as raised:
        find_ground(centre)
    assert raised.value.kind == "bad_coordinates"
    assert "correct a georeference that is no place on Earth, or remove it" in raised.value.remedy
    assert measure_ground(centre) is None
    assert "correct the georeference of the file" in for_new_files(raised.value).remedy


def test_files_whose_names_were_exchanged_are_found():
    # The digits of a LUCAS id are easting and northing of its point in kilometres (EPSG:3035).
    right = {"45922254": (4_592_100.0, 2_254_000.0), "45942254": (4_594_000.0, 2_253_950.0)}
    assert find_exchanged(right) == {}
    exchanged = dict(zip(right, reversed(right.values()), strict=True))
    assert find_exchanged(exchanged) == {"45922254": "45942254", "45942254": "45922254"}
    beside = {"45922254": right["45922254"], "45942254": right["45922254"]}
    assert find_exchanged(beside) == {}, "a surveyor may have stood at another point, whose own chip is right"


def test_pixels_that_are_no_squares_are_told_from_squares_of_degrees():
    def ground_of(epsg, x, y, width, height):
        return find_ground(Centre(CRS.from_epsg(epsg), x, y, (width, 0.0), (0.0, -height)))

    oblong = ground_of(3035, *PLACE, 6.0, 150.0)
    assert oblong.elongation == pytest.approx(25)
    assert size_text(oblong) == "6 x 150 m"
    # Their area is that of squares of 30 m.
    assert oblong.pixel_m == pytest.approx(30)
    assert not is_pixel_size(oblong.pixel_m, oblong.nominal_m, 30.0, oblong.elongation)
    # Squares of degrees at 60° north are half as wide as high on the ground, and programs export such pixels.
    degrees = ground_of(4326, 10.0, 60.0, 9e-5, 9e-5)
    assert degrees.elongation == pytest.approx(1)
    assert is_pixel_size(degrees.pixel_m, degrees.nominal_m, 10.0, degrees.elongation)
    # Squares of 10 m on the ground in Tasmania, whose degrees are none.
    height = 10 / 111_320
    square = ground_of(4326, 147.0, -42.0, height / math.cos(math.radians(42)), height)
    assert square.elongation == pytest.approx(1, abs=0.01), "EPSG:3035 shears them to 1.35"


def test_a_number_with_an_underscore_is_no_coordinate():
    assert "'1_3.334'" in refused("a", "1_3.334", LAT, make_spec(point_ids="none"))


@pytest.mark.parametrize(
    ("width", "height", "advice"),
    [
        (30.0, 30.0, "set dataset.pixel_size_m: 30, or correct"),
        (20_000.0, 20_000.0, "correct the georeference"),
        (9e-5, 9e-5, "correct the georeference"),
        (10.0, 20.0, "resample the chips to squares"),
    ],
)
def test_advice_on_the_size_of_pixels_can_be_followed(width, height, advice):
    """The configuration allows sizes up to 10,000 m, and no size makes squares of oblong pixels."""
    ground = find_ground(Centre(CRS.from_epsg(3035), *PLACE, (width, 0.0), (0.0, -height)))
    with pytest.raises(StudyError) as raised:
        check_pixel_size(describe_pixel_sizes([ground]), 10.0)
    assert raised.value.remedy.startswith(advice)
