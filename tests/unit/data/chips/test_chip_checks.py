"""Chips that are read without an error, but are not what they should be: alone, or beside the others."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from helpers.chips import SIDE, make_spec, pixels, write_tif
from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_checks import check_chip, measure_darkest
from terralucas.data.chips.chip_content import read_content
from terralucas.data.chips.chip_files import decode_chip, read_chip
from terralucas.data.indexing.checked_chip import CheckedChip
from terralucas.data.indexing.chip_comparison import compare_chips
from terralucas.data.indexing.group_checks import check_class_offsets
from terralucas.data.indexing.index import index_chips
from terralucas.errors import StudyError

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

FOLDERS = {"layout": {"labels": "folders"}, "point_ids": "none", "unit": "dn"}
NUMBER = 10


def dn(seed: int) -> np.ndarray:
    return np.round(pixels(seed) * 10_000).astype(np.uint16)


def chip_path(root: Path, number: int = 0) -> Path:
    return root / str(1 + number % 2) / f"{number}.tif"


@pytest.fixture
def root(tmp_path) -> Path:
    """Ten good chips of two classes, 0.tif to 9.tif, in class folders."""
    for number in range(NUMBER):
        write_tif(chip_path(tmp_path, number), dn(number))
    return tmp_path


def index(root: Path, **changes):
    spec = make_spec(**FOLDERS | changes)
    return index_chips(root, spec, min_chips_per_class=1, threads=2, progress=False)


def dropped(root: Path, **changes) -> dict[str, list[str]]:
    """Index with `on_invalid: drop`; return the ids of the dropped chips by the kind of their problem.

    The same chips must stop the study with `on_invalid: error`.
    """
    table, report = index(root, on_invalid="drop", **changes)
    assert report["n_found"] == report["n_valid"] + report["n_dropped"]
    found: dict[str, list[str]] = {}
    for problem in report["dropped"]:
        found.setdefault(problem["kind"], []).append(problem["point_id"])
        assert problem["point_id"] not in set(table.point_id)
    if found:
        with pytest.raises(StudyError, match="cannot be used") as caught:
            index(root, **changes)
        assert all(f": {kind}: " in caught.value.found for kind in found)
    return {kind: sorted(ids) for kind, ids in found.items()}


def message_of(root: Path, **changes) -> str:
    with pytest.raises(StudyError) as caught:
        index(root, **changes)
    return str(caught.value)


# The same chip twice.


def copy_bytes(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def link(source: Path, target: Path) -> None:
    os.link(source, target)


def compress(source: Path, target: Path) -> None:
    with rasterio.open(source) as file:
        write_tif(target, file.read(), compress="deflate", predictor=2)


def write_as_float(source: Path, target: Path) -> None:
    with rasterio.open(source) as file:
        write_tif(target, file.read().astype(np.float32))


COPIES = {"copied": copy_bytes, "hard link": link, "compressed": compress, "other type": write_as_float}


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_in_the_same_class_is_dropped_and_one_is_kept(root, way):
    COPIES[way](chip_path(root, 4), root / "1/4 (1).tif")
    assert dropped(root, checks={"allow_mixed_dtypes": True}) == {"duplicate_content": ["4 (1)"]}
    assert "same pixels as 4 (1/4.tif)" in message_of(root, checks={"allow_mixed_dtypes": True})


@pytest.mark.parametrize("way", COPIES)
def test_copies_in_two_classes_are_all_dropped(root, way):
    COPIES[way](chip_path(root, 4), root / "2/four.tif")
    assert dropped(root, checks={"allow_mixed_dtypes": True}) == {"conflicting_labels": ["4", "four"]}
    message = message_of(root, checks={"allow_mixed_dtypes": True})
    assert "same pixels as four (2/four.tif), which has the label '2' and not '1'" in message


# The seven flips and rotations of a square, as programs for augmentation write them.
TURNS = {
    "fliplr": lambda values: values[:, :, ::-1],
    "flipud": lambda values: values[:, ::-1],
    "rot90": lambda values: np.rot90(values, 1, axes=(1, 2)),
    "rot180": lambda values: values[:, ::-1, ::-1],
    "rot270": lambda values: np.rot90(values, 3, axes=(1, 2)),
    "transpose": lambda values: values.swapaxes(1, 2),
    "transverse": lambda values: values[:, ::-1, ::-1].swapaxes(1, 2),
}


@pytest.mark.parametrize("way", TURNS)
def test_a_flipped_or_rotated_copy_is_the_same_chip(root, way):
    write_tif(root / f"1/4_{way}.tif", TURNS[way](dn(4)))
    assert dropped(root) == {"duplicate_content": [f"4_{way}"]}
    assert f"4_{way} (1/4_{way}.tif): duplicate_content: has the same pixels as 4 (1/4.tif), flipped or" in message_of(
        root
    )
    shutil.move(root / f"1/4_{way}.tif", root / f"2/4_{way}.tif")
    assert dropped(root) == {"conflicting_labels": ["4", f"4_{way}"]}


def test_a_symmetrical_chip_is_no_copy_and_its_copy_is_called_no_flip(root):
    left = dn(20)[:, :, : SIDE // 2]
    symmetrical = np.concatenate([left, left[:, :, ::-1]], axis=2)
    write_tif(root / "1/symmetrical.tif", symmetrical)
    # Otherwise it is one whose half is padding.
    allowed = {"checks": {"max_fill_fraction": 0.5}}
    assert dropped(root, **allowed) == {}
    write_tif(root / "1/symmetrical too.tif", symmetrical)
    assert dropped(root, **allowed) == {"duplicate_content": ["symmetrical too"]}
    assert "same pixels as symmetrical (1/symmetrical.tif); expected" in message_of(root, **allowed)


def test_flipped_copies_with_missing_pixels_are_found(root):
    values = dn(4)
    values[:, :3], values[:, :, 5] = 0, 0
    write_tif(chip_path(root, 4), values, nodata=0)
    write_tif(root / "1/4_flip.tif", values[:, :, ::-1], nodata=0)
    assert dropped(root) == {"duplicate_content": ["4_flip"]}


def test_a_copy_of_every_chip_is_found(root):
    for file in sorted(root.glob("*/*.tif")):
        shutil.copyfile(file, file.with_name(f"{file.stem} (1).tif"))
    assert dropped(root) == {"duplicate_content": [f"{number} (1)" for number in range(NUMBER)]}
    assert index(root, on_invalid="drop")[1]["n_valid"] == NUMBER


def test_the_copy_that_says_where_it_lies_is_kept(root):
    shutil.move(chip_path(root, 4), root / "1/4 (1).tif")
    write_tif(chip_path(root, 4), dn(4), crs=None, transform=None)
    assert dropped(root) == {"duplicate_content": ["4"]}


def test_a_third_copy_with_another_label_spoils_two_with_the_same(root):
    for name in ("1/copy.tif", "2/copy too.tif"):
        shutil.copyfile(chip_path(root, 4), root / name)
    assert dropped(root) == {"conflicting_labels": ["4", "copy", "copy too"]}


def test_chips_that_differ_in_one_pixel_are_copies(root):
    values = dn(4)
    values[0, 0, 0] += 1
    write_tif(root / "1/almost.tif", values)
    assert dropped(root) == {"duplicate_content": ["almost"]}


def test_copies_are_found_in_time_that_grows_with_their_number():
    row = {"height": 32, "width": 32, "band_mean": [0.1] * 6, "file": "f"}
    chips = [
        CheckedChip(
            row | {"point_id": str(n), "label": n == 99_999, "class_code": "a"},
            "uint16",
            (),
            b"same",
            0,
            None,
            0.0,
            0.0,
            (),
        )
        for n in range(100_000)
    ]
    valid, problems, _ = compare_chips(chips, make_spec())
    assert (len(valid), len(problems)) == (0, 100_000)


def test_pixels_that_are_no_squares_are_dropped(root):
    # Their area is that of squares of 10 m.
    transform = rasterio.Affine(2, 0, 4_592_000, 0, -50, 2_254_000)
    write_tif(chip_path(root, 4), dn(4), transform=transform)
    assert dropped(root) == {"pixel_size": ["4"]}
    assert "has pixels of 2 x 50 m on the ground" in message_of(root)


def test_files_of_lucas_chips_whose_names_were_exchanged_are_dropped(root):
    for number, point in enumerate(range(45_922_230, 45_922_250, 2)):
        chip_path(root, number).rename(chip_path(root, number).with_name(f"{point}.tif"))
        other = {4: 45_922_242, 6: 45_922_238}.get(number, point)
        west, north = 4_592_000, 2_200_000 + 1000 * (other % 100)
        transform = rasterio.Affine(10, 0, west - 160, 0, -10, north + 160)
        write_tif(chip_path(root, number).with_name(f"{point}.tif"), dn(number), transform=transform)
    assert dropped(root, point_ids="lucas") == {"bad_coordinates": ["45922238", "45922242"]}
    assert "lies by its georeference at the point of 45922242, whose own file" in message_of(root, point_ids="lucas")


@pytest.mark.parametrize(("rows", "stops"), [(range(1, NUMBER + 1), True), ([1, 2, 0, *range(3, NUMBER)], False)])
def test_a_table_whose_rows_are_shifted_stops_the_study(root, rows, stops):
    """Adjacent chips of 320 m: each row has class and place of the next chip, 160 m outside of this one."""
    west = [4_592_000 + 320 * number for number in range(NUMBER + 1)]
    lines = ["id,file,class,x,y"]
    for number, row in zip(range(NUMBER), rows, strict=True):
        path = chip_path(root, number)
        transform = rasterio.Affine(10, 0, west[number], 0, -10, 2_254_320)
        write_tif(path, dn(number), transform=transform)
        lines.append(f"{number},{path.relative_to(root)},{1 + row % 2},{west[row] + 160},{2_254_160}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    layout = {
        "labels": "table", "table": "labels.csv", "id_column": "id", "file_column": "file", "label_column": "class",
        "x_column": "x", "y_column": "y", "crs": "EPSG:3035",
    }  # fmt: skip
    if not stops:
        assert dropped(root, layout=layout) == {}
        return
    said = message_of(root, layout=layout)
    assert "The coordinates of most chips of dataset 'tiny' lie outside the chips." in said
    assert "10 of 10 places" in said
    assert "if its rows are shifted, the labels are too" in said


# Descriptions of bands.


def describe(path: Path, *descriptions: str) -> None:
    with rasterio.open(path, "r+") as target:
        target.descriptions = descriptions


def test_files_that_describe_their_bands_otherwise_stop_the_study(root):
    for number in range(NUMBER):
        describe(chip_path(root, number), "B2", "B3", "B4", "B8", "B11", "B12")
    message = message_of(root, on_invalid="drop")
    assert "10 of 10 chips" in message
    assert "B2, B3, B4, B8, B11, B12 (BLUE, GREEN, RED, NIR_BROAD, SWIR_1, SWIR_2)" in message
    assert "expected RED, GREEN, BLUE, NIR_BROAD, SWIR_1, SWIR_2, as in dataset.bands" in message
    assert "correct dataset.bands to the order on disk" in message
    bands = ["BLUE", "GREEN", "RED", "NIR_BROAD", "SWIR_1", "SWIR_2"]
    assert index(root, bands=bands)[1]["n_valid"] == NUMBER
    assert index(root, checks={"band_descriptions": False})[1]["n_valid"] == NUMBER


def test_one_file_with_other_bands_is_dropped(root):
    describe(chip_path(root, 3), "blue", "green", "red", "nir", "swir1", "swir2")
    assert dropped(root) == {"band_descriptions": ["3"]}


# Scale and offset.


def test_chips_that_differ_in_their_tags_are_read_alike_and_listed(root, caplog):
    plain = index(root)[0]
    for number in range(1, NUMBER, 2):  # all chips of the second class
        write_tif(chip_path(root, number), dn(number) + 1000)
        with rasterio.open(chip_path(root, number), "r+") as target:
            target.scales, target.offsets = (0.0001,) * 6, (-0.1,) * 6
    with caplog.at_level(logging.WARNING):
        table, report = index(root)
    np.testing.assert_allclose(np.stack(table.band_mean), np.stack(plain.band_mean), rtol=1e-6)
    assert report["scaling"] == [
        {"scale": 1.0, "offset": 0.0, "chips": 5, "class_counts": {"1": 5}},
        {"scale": 0.0001, "offset": -0.1, "chips": 5, "class_counts": {"2": 5}},
    ]
    assert "differ in their scale and offset tags" in caplog.text


# Scales of bands that were packed one by one.
PACKED = (0.0001, 0.000_102, 0.000_104, 0.000_101, 0.000_103, 0.000_105)


def test_tags_that_differ_by_band_are_listed_by_band(root):
    for number in range(NUMBER):
        with rasterio.open(chip_path(root, number), "r+") as target:
            target.scales, target.offsets = PACKED, (-0.01, 0, 0, 0, 0, 0)
    (found,) = index(root, unit="reflectance")[1]["scaling"]
    assert (found["scale"], found["offset"]) == (list(PACKED), [-0.01, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("scales", "offsets", "unit"),
    [
        ((0.0001, 1, 1, 1, 1, 1), (-0.1, 0, 0, 0, 0, 0), "dn"),
        ((1,) * 6, (-1000, 0, 0, 0, 0, 0), "dn"),
        ((0.0001,) * 6, (-0.1, 0, 0, 0, 0, 0), "dn"),
        ((0.0001,) * 6, (-0.1, 0, 0, 0, 0, 0), "reflectance"),
        ((0.0001, 1, 1, 1, 1, 1), (0,) * 6, "reflectance"),
    ],
)
def test_a_tag_on_the_first_band_alone_is_refused(root, scales, offsets, unit):
    """Some programs write it so; 1,000 DN would be taken from this band and left in the others."""
    with rasterio.open(chip_path(root), "r+") as target:
        target.scales, target.offsets = scales, offsets
    for number in range(1, NUMBER):
        with rasterio.open(chip_path(root, number), "r+") as target:
            target.scales = (0.0001,) * 6
    assert dropped(root, unit=unit) == {"scale_tags": ["0"]}
    message = message_of(root, unit=unit)
    assert f"{scales[0]:g} and {offsets[0]:g} on RED" in message
    assert f"{scales[1]:g} and {offsets[1]:g} on GREEN" in message


def test_tags_that_mean_the_same_may_differ(root):
    """In DN, a scale of 1/10,000 with an offset of -0.1 is an offset of -1000 DN."""
    for number in range(NUMBER):
        with rasterio.open(chip_path(root, number), "r+") as target:
            target.scales, target.offsets = (0.0001, 1, 1, 1, 1, 1), (-0.01, -100, -100, -100, -100, -100)
    assert index(root, checks={"allow_class_offsets": True})[1]["n_dropped"] == 0


def test_a_tag_on_values_that_are_scaled_already_is_refused(root):
    write_tif(chip_path(root), pixels(0))
    with rasterio.open(chip_path(root), "r+") as target:
        target.scales = (0.0001,) * 6
    for number in range(1, NUMBER):
        write_tif(chip_path(root, number), pixels(number))
    assert dropped(root, unit="reflectance") == {"value_range": ["0"]}
    assert "look scaled already: remove the tag" in message_of(root, unit="reflectance")


# Almost empty chips.


def with_values(values: np.ndarray, region: tuple, value: float) -> np.ndarray:
    values[region] = value
    return values


ONE_PIXEL = np.ones((SIDE, SIDE), dtype=bool)
ONE_PIXEL[7, 7] = False
EMPTY = {
    "one valid pixel": ((slice(None), ONE_PIXEL), "missing_values", "lacks 99.9 % of the values of band RED"),
    "most of one band": ((4, slice(20)), "missing_values", "lacks 62.5 % of the values of band SWIR_1"),
    "a quarter": ((slice(None), slice(8)), None, ""),
    "one pixel": ((slice(None), 0, 0), None, ""),
}


@pytest.mark.parametrize("case", EMPTY)
def test_chips_with_too_many_missing_pixels(root, case):
    region, kind, words = EMPTY[case]
    write_tif(chip_path(root), with_values(dn(0), region, 65535), nodata=65535)
    assert dropped(root) == ({kind: ["0"]} if kind else {})
    if kind:
        assert words in message_of(root)
    assert dropped(root, checks={"max_nodata_fraction": 1.0, "allow_constant_bands": True}) in ({}, {"constant": ["0"]})


ZEROS = {
    "half of every band": ((slice(None), slice(16)), "fill", "has the value 0 in every band in 50 % of its pixels"),
    "two rows of every band": ((slice(None), slice(2)), "fill", "in 6.25 % of its pixels; expected at most 1 %"),
    "one band": ((4,), "constant", "has one value everywhere in band SWIR_1 (0)"),
    "half of one band": ((4, slice(16)), "fill", "has the value 0 in band SWIR_1 in"),
    "each second row of one band": ((0, slice(None, None, 2)), "fill", "has the value 0 in band RED in"),
    "a quarter of three bands": ((slice(3), slice(8)), "fill", "has the value 0 in band"),
    "four pixels": ((slice(None), 0, slice(4)), None, ""),
}


@pytest.mark.parametrize("case", ZEROS)
def test_chips_with_zeros_that_nothing_declares_as_missing(root, case):
    region, kind, words = ZEROS[case]
    write_tif(chip_path(root), with_values(dn(0), region, 0))
    assert dropped(root) == ({kind: ["0"]} if kind else {})
    if kind:
        assert words in message_of(root)
    allowed = {"max_fill_fraction": 1.0, "allow_constant_bands": True, "band_levels": False}
    assert dropped(root, checks=allowed) == {}


def test_zeros_are_those_that_the_file_stores(root):
    """A pixel of 0 is as empty where an offset tag makes −0.1 of it."""
    for number in range(NUMBER):
        values = dn(number) + 1000
        values[:, : 3 if number == 5 else 0] = 0
        write_tif(chip_path(root, number), values)
        with rasterio.open(chip_path(root, number), "r+") as target:
            target.scales, target.offsets = (0.0001,) * 6, (-0.1,) * 6
    assert dropped(root) == {"fill": ["5"]}


def test_a_value_that_is_not_0_fills_pixels_too(root):
    """What became of 0, the missing pixels of Sentinel-2, where somebody computed 0 x 0.0001 - 0.1."""
    for number in range(NUMBER):
        values = pixels(number)
        values[:, : 12 if number == 5 else 0] = -0.1
        write_tif(chip_path(root, number), values)
    assert dropped(root, unit="reflectance") == {"fill": ["5"]}
    assert "has the value -0.1 in every band in 37.5 % of its pixels" in message_of(root, unit="reflectance")
    assert dropped(root, unit="reflectance", nodata=-0.1) == {}


def test_grey_pixels_and_saturated_clouds_fill_nothing(root):
    values = dn(0)
    values[:, :8] = values[:1, :8]
    values[:, 8:16] = 15_000  # a saturated cloud
    write_tif(chip_path(root), values)
    assert dropped(root) == {}
    (notice,) = index(root)[1]["notices"]
    assert notice.startswith("1 chips have one and the same bright value in every band in more than 1 %")
    assert "25 % in 0 (1/0.tif)" in notice


@pytest.mark.parametrize("value", [-32768, 32767, -9999, -10_000, -3000])
def test_a_value_that_no_ground_has_is_found_in_a_few_pixels(root, value):
    for number in range(NUMBER):
        write_tif(
            chip_path(root, number), with_values(dn(number).astype(np.int16), (2, 0, slice(3 * (number == 5))), value)
        )
    assert dropped(root) == {"impossible_values": ["5"]}
    said = f"5 (2/5.tif): impossible_values: has the value {value}, which no ground has, in 3 of its pixels"
    assert said in message_of(root)
    assert f"set dataset.nodata: {value}" in message_of(root)
    assert dropped(root, nodata=value) == {}


@pytest.mark.parametrize(
    ("dtype", "unit", "negative"), [("int32", "dn", -36), ("float32", "dn", -1161), ("float32", "reflectance", -36)]
)
def test_negative_numbers_without_a_sign_are_found_in_other_types_too(root, dtype, unit, negative):
    """NumPy subtracts in 16 bits without a sign, and what is written then may have another type."""
    scale = 1 if unit == "dn" else 10_000
    for number in range(NUMBER):
        values = with_values(dn(number).astype(float), (2, 0, slice(3 * (number == 5))), 2**16 + negative)
        write_tif(chip_path(root, number), (values / scale).astype(dtype))
    assert dropped(root, unit=unit) == {"impossible_values": ["5"]}
    said = f"which no ground has, in 3 of its pixels; it seems to be {negative} in 16 bits without a sign"
    assert said in message_of(root, unit=unit)


def test_a_huge_nodata_value_means_all_huge_values(root):
    """Programs write -3.4028235e+38 with fewer digits."""
    for number in range(NUMBER):
        values = with_values(pixels(number), (slice(None), 0, slice(9)), np.finfo(np.float32).min)
        write_tif(chip_path(root, number), values, nodata=-3.40282e38)
    assert dropped(root, unit="reflectance") == {}


def test_glint_between_wrapped_numbers_does_not_hide_them(root):
    for number in range(NUMBER):
        values = with_values(dn(number).astype(float), (2, 0, slice(3 * (number == 5))), 65500)
        values[[2, 0], [1, 1], [1, 1]] = 57_999.55 if number == 5 else 900.5
        write_tif(chip_path(root, number), values.astype(np.float32))
    assert dropped(root) == {"impossible_values": ["5"]}
    assert "seems to be -36 in 16 bits" in message_of(root)


@pytest.mark.parametrize("unit", ["dn", "reflectance"])
def test_numbers_of_landsat_without_their_tags_are_named(root, unit):
    """A reflectance of 0 is 7,273 there; to take them for reflectance x 10,000 is no help."""
    for number in range(NUMBER):
        write_tif(chip_path(root, number), np.round((pixels(number) + 0.2) / 0.0000275).astype(np.uint16))
    said = message_of(root, unit=unit)
    assert "they look like the numbers of Landsat's Collection 2" in said
    assert "set dataset.unit: dn" not in said


@pytest.mark.parametrize("value", [65535, 1e20, -3.4028235e38, 9.96921e36, -9999, -1.0, -0.9999])
def test_a_value_that_no_reflectance_can_be(root, value):
    for number in range(NUMBER):
        write_tif(
            chip_path(root, number), with_values(pixels(number), (slice(None), 0, slice(9 * (number == 5))), value)
        )
    assert dropped(root, unit="reflectance") == {"impossible_values": ["5"]}
    assert dropped(root, unit="reflectance", nodata=value) == {}


@pytest.mark.parametrize(
    ("dtype", "value", "tags", "unit"),
    [
        ("float64", -3.4028234663852886e38, None, "reflectance"),
        ("int16", -9999, (1e-4, 0.0), "reflectance"),
        ("int16", -9999, (1.0, -1000.0), "dn"),
        ("int32", -2147483648, None, "dn"),
        ("float32", -3.4028234663852886e38, None, "dn"),
    ],
)
@pytest.mark.parametrize("rows", [1, 12])
def test_the_advised_value_of_missing_data_is_the_stored_one_and_helps(root, dtype, value, tags, unit, rows):
    for number in range(NUMBER):
        values = pixels(number).astype(np.float64)
        if unit == "dn" or dtype.startswith("int"):
            values = np.round(values * 10_000) - (tags[1] if tags and tags[0] == 1 else 0)
        values[:, :rows] = value
        write_tif(chip_path(root, number), values.astype(dtype))
        if tags is not None:
            with rasterio.open(chip_path(root, number), "r+") as file:
                file.scales, file.offsets = [tags[0]] * file.count, [tags[1]] * file.count
    advised = re.search(r"set dataset\.nodata: (\S+)", message_of(root, unit=unit))[1]
    assert np.dtype(dtype).type(advised) == value
    assert dropped(root, unit=unit, nodata=float(advised)) == {}


def test_the_commonest_value_outside_is_advised_and_not_another_one(root):
    for number in range(NUMBER):
        values = with_values(dn(number).astype(np.int16), (slice(None), slice(0, 20)), -2500)
        write_tif(chip_path(root, number), with_values(values, (0, 0, 0), -9999))
    assert "set dataset.nodata: -2500" in message_of(root)


def test_single_pixels_of_deep_shade_are_ground(root):
    write_tif(chip_path(root, 5), with_values(dn(5).astype(np.int16), (2, 0, 0), -3100))
    for number in set(range(NUMBER)) - {5}:
        write_tif(chip_path(root, number), dn(number).astype(np.int16))
    assert dropped(root) == {}


@pytest.mark.parametrize("value", [6.5535, 3.2767, 6.4535])
def test_saturation_is_found_after_a_scale_that_was_applied_before(root, value):
    for number in range(NUMBER):
        values = with_values(pixels(number), (slice(None), 0, slice(9 * (number == 5))), value)
        write_tif(chip_path(root, number), values)
    assert dropped(root, unit="reflectance") == {"impossible_values": ["5"]}


@pytest.mark.parametrize(("value", "is_told"), [(-9999, True), (65536, True), (0.5, True), (65535, False), (0, False)])
def test_a_nodata_value_that_the_type_of_the_chips_cannot_hold_is_told(root, value, is_told):
    """uint16 holds whole numbers from 0 to 65,535."""
    notices = index(root, nodata=value)[1]["notices"]
    assert any(f"dataset.nodata is {value}, which no uint16 value can be" in notice for notice in notices) == is_told
    assert len(notices) == is_told


def test_glint_is_brighter_than_any_ground_but_no_missing_data(root):
    write_tif(chip_path(root), with_values(dn(0), (slice(None), 0, slice(9)), 30_000))
    assert dropped(root) == {}


def test_a_patch_of_one_value_in_every_band_is_missing_data(root):
    write_tif(chip_path(root), with_values(dn(0), (slice(None), slice(11)), 1000))
    assert dropped(root) == {"fill": ["0"]}
    assert "has the value 1000 in every band in 34.38 % of its pixels" in message_of(root)
    assert dropped(root, nodata=1000) == {}


# Other scales and types.


def test_a_picture_of_8_bits_is_no_dn(root):
    write_tif(chip_path(root), (pixels(0) * 255).astype(np.uint8))
    assert dropped(root) == {"dtype": ["0"]}
    assert "holds uint8 values, at most 255; expected DN" in message_of(root)
    assert dropped(root, checks={"allow_mixed_dtypes": True}) == {"dtype": ["0"]}


def test_whole_numbers_are_no_reflectance(root):
    for number in range(NUMBER):
        write_tif(chip_path(root, number), pixels(number))
    write_tif(chip_path(root), np.round(pixels(0) * 2).astype(np.int16))
    assert dropped(root, unit="reflectance") == {"dtype": ["0"]}
    assert "holds int16 whole numbers without a scale tag" in message_of(root, unit="reflectance")


def test_one_chip_of_another_type(root):
    write_tif(chip_path(root), dn(0).astype(np.float32))
    assert dropped(root) == {"dtype": ["0"]}
    assert "holds float32 values; expected uint16, as in most chips" in message_of(root)
    table, report = index(root, checks={"allow_mixed_dtypes": True})
    assert (len(table), report["dtypes"]) == (NUMBER, {"uint16": 9, "float32": 1})


@pytest.mark.parametrize("divisor", [100, 10])
def test_one_chip_of_another_scale(root, divisor):
    write_tif(chip_path(root), dn(0) // divisor)
    assert dropped(root) == {"brightness": ["0"]}
    assert "times the mean of the median chip in its brightest band; expected at least 0.2" in message_of(root)
    assert dropped(root, checks={"min_chip_brightness": 0}) == {}


def test_water_and_shadow_are_no_other_scale(root):
    values = dn(0)
    values[[0, 3, 4, 5]] //= 20  # dark in red and infrared, less so in green and blue
    values[[1, 2]] //= 3
    write_tif(chip_path(root), values)
    assert dropped(root) == {}


# Mean DN of arable land in Sentinel-2 images (lucas_class_spectra.csv), in the order of the bands.
ARABLE = np.array([1169, 1158, 1232, 2556, 2221, 1425])[:, None, None]


@pytest.mark.parametrize("divisor", [10, 100])
def test_a_dataset_of_another_scale_stops_the_study(root, divisor):
    for number in range(NUMBER):
        write_tif(chip_path(root, number), (pixels(number) / 0.26 * ARABLE / divisor).astype(np.uint16))
    message = message_of(root, on_invalid="drop")
    assert "darker than land and water can be" in message
    # 2221 is 0.92 times 2424.884, the mean of this band in TerraMind's pre-training.
    assert divisor > 10 or "in the brightest band SWIR_1, 0.092 times that of" in message
    assert "dataset.checks.min_dataset_brightness" in message
    assert index(root, checks={"min_dataset_brightness": 0})[1]["n_valid"] == NUMBER


# Bands that are copies of another band.


def copy_band(path: Path, source: int, target: int) -> None:
    with rasterio.open(path) as file:
        values = file.read()
    values[target] = values[source]
    write_tif(path, values)


def test_a_chip_with_two_equal_bands_is_dropped(root):
    copy_band(chip_path(root, 4), 4, 5)
    assert dropped(root) == {"equal_bands": ["4"]}
    assert "has equal values in every pixel of the bands SWIR_1 and SWIR_2" in message_of(root)
    assert dropped(root, checks={"allow_equal_bands": True}) == {}


def test_two_bands_that_are_equal_in_most_chips_stop_the_study(root):
    for number in range(6):
        copy_band(chip_path(root, number), 4, 5)
    message = message_of(root, on_invalid="drop")
    assert "The bands SWIR_1 and SWIR_2 of dataset 'tiny' are copies." in message
    assert "in 6 of 10 chips" in message
    assert index(root, checks={"allow_equal_bands": True})[1]["n_valid"] == NUMBER


def test_a_chip_of_one_row_is_dropped_in_words(root):
    write_tif(chip_path(root, 4), dn(4)[:, :1])
    assert dropped(root) == {"size": ["4"]}


def test_a_chip_of_zeros_has_no_other_unit(root):
    write_tif(chip_path(root, 4), np.zeros_like(dn(4)))
    assert dropped(root) == {"constant": ["4"]}


def test_negative_dn_are_no_reflectance_that_was_read_as_dn(tmp_path):
    values = -np.random.default_rng(0).integers(200, 1500, dn(4).shape).astype(np.int16)
    write_tif(tmp_path / "a.tif", values)
    chip = decode_chip(read_content(tmp_path / "a.tif"), make_spec(**FOLDERS))
    check_chip(chip, np.isfinite(chip.values), make_spec(**FOLDERS))
    with pytest.raises(ChipError, match="they look like reflectance"):
        check_chip(replace(chip, values=chip.values / 10_000), np.isfinite(chip.values), make_spec(**FOLDERS))


def test_bands_that_are_equal_but_for_one_pixel_are_no_copies(root):
    values = dn(4)
    values[5] = values[4]
    values[5, 20, 20] += 1
    write_tif(chip_path(root, 4), values)
    assert dropped(root) == {}


def test_equal_bands_with_other_missing_pixels_are_found_and_constant_bands_are_not(root):
    values = dn(4).astype(np.float32)
    values[5] = values[4]
    values[5, :3] = np.nan
    values[[0, 1]] = 700
    write_tif(chip_path(root, 4), values)
    checks = {"allow_mixed_dtypes": True, "allow_constant_bands": True}
    assert dropped(root, checks=checks) == {"equal_bands": ["4"]}
    assert "of the bands SWIR_1 and SWIR_2; expected" in message_of(root, checks=checks)


# An offset in the chips of one class.


def add_offset(root: Path, numbers: Iterable[int], offset: int = 1000) -> None:
    for number in numbers:
        write_tif(chip_path(root, number), dn(number) + np.uint16(offset))


def test_an_offset_in_one_class_stops_the_study(root):
    add_offset(root, range(0, NUMBER, 2))
    message = message_of(root, on_invalid="drop")
    assert "Chips of 1 class(es) of dataset 'tiny' have an offset that the others do not have." in message
    assert "below 950 DN in any band: class 1: 5 of 5; other classes: 0 of 5" in message
    assert "subtract the offset of 1000" in message
    _, report = index(root, checks={"allow_class_offsets": True})
    assert report["bright_classes"] == {"1": {"chips": 5, "without_dark_pixels": 5}}


def test_an_offset_in_half_of_a_class_is_a_notice(root):
    add_offset(root, (0, 2, 4))
    _, report = index(root)
    assert report["bright_classes"] == {"1": {"chips": 5, "without_dark_pixels": 3}}
    (notice,) = report["notices"]
    assert "no dark pixel in any band, and few chips of the others (class 1: 3 of 5)" in notice


@pytest.mark.parametrize("numbers", [range(NUMBER), range(0, 4, 2), ()], ids=["all", "few of a class", "none"])
def test_no_offset_of_a_class(root, numbers):
    add_offset(root, numbers)
    assert index(root)[1]["bright_classes"] == {}


def test_an_offset_with_its_tag_is_none(root):
    for number in range(0, NUMBER, 2):
        write_tif(chip_path(root, number), dn(number) + np.uint16(1000))
        with rasterio.open(chip_path(root, number), "r+") as target:
            target.offsets = [-1000.0] * 6
    assert index(root)[1]["bright_classes"] == {}


# The size of a pixel on the ground.

WITHOUT_PLACE = {"crs": None, "transform": None}


def place_at(numbers: Iterable[int], root: Path, **place) -> None:
    for number in numbers:
        write_tif(chip_path(root, number), dn(number), **place)


def pixels_of(side: float, crs: str = "EPSG:32632", x: float = 500_000, y: float = 5_000_000) -> dict:
    return {"crs": crs, "transform": rasterio.Affine(side, 0, x, 0, -side, y)}


def test_pixels_of_another_size_than_configured_stop_the_study(root):
    place_at(range(NUMBER), root, **pixels_of(30))
    for on_invalid in ("error", "drop"):
        message = message_of(root, on_invalid=on_invalid)
        assert "another size on the ground than dataset.pixel_size_m says" in message
        assert "30 m by the georeference of 10 chips" in message
        assert "set dataset.pixel_size_m: 30" in message
    assert dropped(root, pixel_size_m=30) == {}


def test_one_class_with_larger_pixels_than_the_others(root):
    place_at(range(0, 6, 2), root, **pixels_of(20))
    assert dropped(root) == {"pixel_size": ["0", "2", "4"]}
    assert "0 (1/0.tif): pixel_size: has pixels of 20 m on the ground; expected 10 m (dataset.pix" in message_of(root)


@pytest.mark.parametrize(
    "place",
    [
        # A degree of longitude is shorter than one of latitude; Mercator stretches both by 1.41 at 45 degrees.
        pixels_of(10 / 111_320, "EPSG:4326", 9.0, 45.0),
        pixels_of(10, "EPSG:3857", 1_001_875, 5_621_521),
    ],
    ids=["degrees", "web Mercator"],
)
def test_projections_that_stretch_lengths_are_a_notice(root, place):
    place_at(range(NUMBER), root, **place)
    notice, of_places = index(root)[1]["notices"]
    assert "on the ground by their georeference, and dataset.pixel_size_m is 10" in notice
    assert of_places.startswith("10 chips lie at the place of another chip")
    assert "set dataset.pixel_size_m: 10" in message_of(root, pixel_size_m=30)


def test_chips_without_a_georeference_may_have_any_size(root):
    place_at(range(NUMBER), root, **WITHOUT_PLACE)
    _, report = index(root, pixel_size_m=250)
    assert (report["pixel_sizes"], report["notices"]) == (None, [])
    assert report["places"] == {"from": "files", "chips": 0}


def test_pixels_of_the_configured_size_are_no_notice(root):
    _, report = index(root)
    assert report["notices"] == []
    assert report["pixel_sizes"]["chips"] == NUMBER
    assert report["pixel_sizes"]["median_m"] == pytest.approx(10, rel=1e-3)


# Real Sentinel-2 chips, which describe their bands (blue_B02, ...).

REAL_BANDS = ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]


@pytest.fixture
def real(tmp_path) -> Path:
    for file in sorted(FOLDER.glob("*/*.tif")):
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        shutil.copyfile(file, tmp_path / file.parent.name / file.name)
    return tmp_path


def of_real(root: Path, **changes):
    classes = [{"code": name, "name": name} for name in sorted({file.parent.name for file in root.glob("*/*.tif")})]
    return {"classes": classes, "bands": REAL_BANDS} | changes


@needs_real_chips
def test_real_chips_pass_and_are_no_copies_of_each_other(real):
    assert dropped(real, **of_real(real)) == {}
    assert index(real, **of_real(real))[1]["notices"] == []


@needs_real_chips
def test_real_chips_whose_bands_are_misnamed_as_in_the_original_study(real):
    wrong = ["RED", "GREEN", "BLUE", "NIR_NARROW", "SWIR_1", "SWIR_2"]
    assert "blue_B02, green_B03, red_B04" in message_of(real, **of_real(real, bands=wrong), on_invalid="drop")


def divide(file: Path, divisor: int) -> None:
    with rasterio.open(file) as source:
        values = source.read() // divisor
    write_tif(file, values)


@needs_real_chips
def test_real_chips_of_another_scale(real):
    files = sorted(real.glob("*/*.tif"))
    for file in files[::25]:
        divide(file, 100)
    assert dropped(real, **of_real(real)) == {"brightness": sorted(file.stem for file in files[::25])}


@needs_real_chips
def test_real_chips_that_all_have_another_scale(real):
    for file in sorted(real.glob("*/*.tif")):
        divide(file, 10)
    assert "darker than land and water can be" in message_of(real, **of_real(real))


@needs_real_chips
def test_an_offset_in_any_class_of_real_chips_is_found_and_in_none_without_it(real):
    spec = make_spec(**FOLDERS | of_real(real))
    files = sorted(real.glob("*/*.tif"))
    darkest = {file: measure_darkest(read_chip(file, spec)) for file in files}
    chips = [
        CheckedChip({"class_code": file.parent.name}, "uint16", (), b"", 0, None, 0.0, value, ())
        for file, value in darkest.items()
    ]
    assert check_class_offsets(chips, spec) == {}
    for entry in spec.classes:
        shifted = [
            replace(chip, darkest=chip.darkest + 0.1) if chip.row["class_code"] == entry.code else chip
            for chip in chips
        ]
        with pytest.raises(StudyError, match="have an offset") as caught:
            check_class_offsets(shifted, spec)
        assert f"class {entry.code}: 10 of 10; other classes" in caught.value.found
