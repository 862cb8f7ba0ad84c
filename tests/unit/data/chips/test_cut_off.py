"""Values cut off at 0 or a little above it: found on land of most classes, and in no other dark or coarse pixels."""

import numpy as np
import pytest

from helpers.chips import make_spec, pixels, write_tif
from helpers.real_chips import BANDS, FOLDER, needs_real_chips
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.chips.cut_off import find_cut_off
from terralucas.data.indexing.index import index_chips
from terralucas.errors import StudyError
from terralucas.predict.likeness import TrainingPixels
from terralucas.predict.new_chips import ChipReader, NewChip, check_sample


def find(dn):
    """Look at (bands, height, width) DN, which may be negative."""
    values = (dn / np.float32(10_000)).astype(np.float32)
    smallest = np.fmin.reduce(values.reshape(len(values), -1), axis=1)
    return find_cut_off(values, smallest, [0.0] * len(values), BANDS, 0.01)


def real_chips():
    spec = make_spec(unit="dn", bands=BANDS)
    return {path.stem: np.rint(10_000 * read_chip(path, spec)).astype(int) for path in sorted(FOLDER.rglob("*.tif"))}


def subtract(dn, floor=1):
    """Subtract an offset that a chip does not have, and cut off; 0 mostly means missing data."""
    return np.maximum(dn.astype(int) - 1000, floor)


def with_a_hole(dn):
    dn[:, 0, 0] = 0
    return dn


@needs_real_chips
@pytest.mark.parametrize(
    ("change", "floor"),
    [
        (lambda dn: subtract(dn, 0), 0),
        (subtract, 1),
        (lambda dn: subtract(dn, 10), 10),
        (lambda dn: subtract(dn, -50), -50),
        # A smallest value that few pixels have hides nothing.
        (lambda dn: with_a_hole(subtract(dn)), 1),
        (lambda dn: subtract(dn, 0) // 50 * 50, 0),
        # A bright value that many pixels have hides nothing either.
        (lambda dn: np.where(np.arange(64 * 64).reshape(64, 64) % 40 == 7, 10_000, subtract(dn)), 1),
    ],
    ids=["at 0", "at 1", "at 10", "below 0", "at 1, and one pixel is 0", "at 0 in steps of 50", "at 1, beside a cloud"],
)
def test_values_that_were_cut_off_are_found_in_half_of_the_real_chips(change, floor):
    """Most of the others have one value everywhere in a band, or are bright, or lakes."""
    found = [each for each in map(find, map(change, real_chips().values())) if each is not None]
    assert len(found) > 50
    assert {round(10_000 * each.value) for each in found} == {floor}


def repeat_60_m(dn, darkest):
    """Repeat pixels of 60 m in six rows and columns, as programs do that bring them to 10 m."""
    coarse = dn[0, ::6, ::6].repeat(6, axis=0).repeat(6, axis=1)[:16, :16]
    return np.stack([coarse - coarse.min() + darkest, *dn[1:, :16, :16]])


def subtract_haze(dn, step):
    """Subtract about the darkest values of all real chips in each band, in coarse numbers."""
    return np.rint((dn - np.reshape([600, 400, 200, 300, 50, 20], (6, 1, 1))).clip(0) / step) * step


def end_a_swath(dn):
    """Leave a corner of a band at 1 DN."""
    dn[4, np.add.outer(np.arange(64), np.arange(64)) < 20] = 1
    return dn


def lose_lines(dn):
    dn[4, 10:40:3] = 1
    return dn


@needs_real_chips
@pytest.mark.parametrize(
    "change",
    [
        lambda dn: dn,
        lambda dn: np.maximum(dn - np.rint(np.percentile(dn, 1, axis=(1, 2), keepdims=True)), 1),
        lambda dn: repeat_60_m(dn, 1),
        lambda dn: repeat_60_m(dn, -30),
        lambda dn: subtract_haze(dn, 100),
        lambda dn: subtract_haze(dn, 40),
    ],
    ids=[
        "as they are",
        "the darkest 1 % of each band subtracted",
        "60 m, the darkest at 1",
        "60 m, the darkest below 0",
        "two digits of reflectance",
        "8 bits",
    ],
)
def test_no_other_dark_or_coarse_values_count_as_cut_off(change):
    assert {name: found for name, dn in real_chips().items() if (found := find(change(dn))) is not None} == {}


@needs_real_chips
@pytest.mark.parametrize("change", [end_a_swath, lose_lines])
def test_values_from_an_edge_on_or_in_lines_are_missing(tmp_path, change):
    reader = ChipReader(make_spec(unit="dn", point_ids="none", bands=BANDS), 64, 10)
    for name, dn in real_chips().items():
        chip = NewChip(name, str(write_tif(tmp_path / f"{name}.tif", change(dn).astype("uint16"))))
        problem = reader(chip).problem
        # Water is as dark.
        assert (problem is not None and problem.kind == "fill") or "SeaLake" in name or "River" in name, name


def test_snow_is_dark_in_short_wave_infrared():
    random = np.random.default_rng(0)
    snow = random.normal(6000, 300, (6, 32, 32))
    snow[4:] = np.maximum(random.normal(-100, 60, (2, 32, 32)), 1)
    assert find(snow) is None
    # Of land, this is a fault.
    land = np.concatenate([snow[:4] / 4, snow[3:5] / 4])
    land[5] = snow[5]
    assert find(land).band == BANDS[5]


def dark_in_some_places(number, is_dark):
    """A bright chip; in a part of its pixels, scattered, RED is darker than the offset."""
    dn = (pixels(number) * 10_000).astype("uint16") + 2000
    dn[0][np.random.default_rng(number).permutation(1024).reshape(32, 32) < 64 * is_dark] = 700
    return dn


def test_an_offset_that_was_subtracted_twice_of_one_class_stops_the_study_though_few_chips_show_it(tmp_path):
    """The others of the class, which are as much too dark, would stay if these were dropped."""
    for number in range(20):
        dn = dark_in_some_places(number, is_dark=number in (0, 2, 4, 6))
        values = dn - 1500 if number % 2 else subtract(dn).astype("uint16")
        write_tif(tmp_path / "12"[number % 2] / f"{number}x.tif", values)
    spec = make_spec(layout={"labels": "folders"}, point_ids="none", unit="dn", on_invalid="drop")
    with pytest.raises(StudyError, match=r"1 class.* have another unit, scale or offset") as error:
        index_chips(tmp_path, spec, min_chips_per_class=1, threads=1, progress=False)
    assert error.value.found.startswith("class 1: 4 of 10 chips; 0x (1/0x.tif) has the value 1 in band RED in 6.25 %")


def test_a_band_cut_off_everywhere_counts_as_cut_off(tmp_path):
    for number in range(20):
        dn = (pixels(number) * 10_000).astype("uint16")
        if number in (0, 2, 4, 6):
            dn[0] = 1
        write_tif(tmp_path / "12"[number % 2] / f"{number}x.tif", dn)
    spec = make_spec(layout={"labels": "folders"}, point_ids="none", unit="dn", on_invalid="drop")
    with pytest.raises(StudyError, match="have another unit, scale or offset"):
        index_chips(tmp_path, spec, min_chips_per_class=1, threads=1, progress=False)


def test_new_chips_are_predicted_with_a_warning_if_some_are_cut_off(tmp_path):
    training = TrainingPixels(20, 0, 1.0, 1.0, (0.0, 0.09), (0.1, 0.1, 0.1, 0.3, 0.2, 0.1))
    reader = ChipReader(make_spec(unit="dn", point_ids="none"), 32, 10)
    chips = [
        NewChip(str(number), str(write_tif(tmp_path / f"{number}.tif", subtract(dn).astype("uint16"))))
        for number in range(10)
        for dn in [dark_in_some_places(number, is_dark=number < 3)]
    ]
    found = check_sample(chips, reader, training)
    assert found["problems"] == {"cut_off": 3}
    assert found["warnings"][-1].startswith("3 of 10 chips that were looked at have one value in many pixels of a band")
