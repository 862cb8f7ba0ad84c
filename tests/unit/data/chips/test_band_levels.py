"""One band in another unit or scale than the others: found where land shows it, and never where it is right."""

import itertools

import numpy as np
import pytest

from helpers.chips import BANDS, make_spec, write_tif
from helpers.land import BANDS as ALL_BANDS
from helpers.land import KINDS, draw_land
from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.data.chips.band_levels import find_impossible_level
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.indexing.index import index_chips
from terralucas.errors import StudyError
from terralucas.predict.likeness import TrainingPixels, require_likeness
from terralucas.predict.new_chips import ChipReader, NewChip, check_sample

NIR = BANDS.index("NIR_BROAD")
LAND = {name: draw_land(kind, 10, BANDS) for name, kind in (("1", "fields"), ("2", "town"))}
REAL_BANDS = ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]
# The factors of a unit or scale that one band has and the others have not.
FACTORS = {"0..1": 1e-4, "percent": 1e-2, "a tenth": 0.1, "negative": -0.3}


def scaled(values, factor, band=NIR):
    other = values.copy()
    other[band] *= np.float32(factor)
    return other


def index(root, **changes):
    spec = make_spec(layout={"labels": "folders"}, point_ids="none", unit="dn", **changes)
    return index_chips(root, spec, min_chips_per_class=1, threads=1, progress=False)


def write_land(root, factors):
    for name, chips in LAND.items():
        for number, values in enumerate(chips):
            write_tif(root / name / f"{name}-{number}x.tif", (scaled(values, factors.get(name, 1)) * 10_000))
    return root


@pytest.mark.parametrize("factor", FACTORS.values(), ids=FACTORS)
@pytest.mark.parametrize("where", ["2", "12"], ids=["one class", "all chips"])
def test_a_band_in_another_unit_stops_the_study(tmp_path, factor, where):
    write_land(tmp_path, dict.fromkeys(where, factor))
    if (where, factor) == ("12", 0.1):
        # All chips look as if NIR_BROAD was another band, too.
        with pytest.raises(StudyError, match="have another order") as error:
            index(tmp_path)
        assert "whether a band has another unit or scale than the others" in error.value.remedy
        checks = {"band_order": False}
    else:
        checks = {}
    with pytest.raises(StudyError, match=f"{10 * len(where)} of 20 chips .* cannot be used") as error:
        index(tmp_path, checks=checks)
    assert f"{10 * len(where)} x band_levels" in error.value.found
    assert "in band NIR_BROAD" in error.value.found
    assert "dataset.checks.band_levels: false" in error.value.remedy
    match = "have another unit, scale or offset" if where == "2" else "20 of 20 chips .* more than half"
    with pytest.raises(StudyError, match=match) as error:
        index(tmp_path, on_invalid="drop", checks=checks)
    assert ("class 2: 10 of 10 chips" if where == "2" else "20 x band_levels") in error.value.found


def test_bands_that_are_right_or_allowed_pass(tmp_path):
    assert index(write_land(tmp_path / "right", {}))[1]["n_valid"] == 20
    allowed = index(write_land(tmp_path / "tenth", {"2": 0.1}), checks={"band_levels": False})
    assert allowed[1]["n_valid"] == 20


def test_a_single_chip_is_dropped(tmp_path):
    write_land(tmp_path, {})
    write_tif(tmp_path / "2/odd.tif", scaled(draw_land("fields", 1, BANDS, seed=9)[0], 0.1) * 10_000)
    _, report = index(tmp_path, on_invalid="drop")
    assert report["problem_counts"] == {"band_levels": 1}
    assert report["dropped"][0]["point_id"] == "odd"


def test_no_land_of_twelve_bands_is_refused():
    chips = [chip for kind in KINDS for chip in draw_land(kind, 20)]
    assert [find_impossible_level(chip, ALL_BANDS, "dn") for chip in chips] == [None] * len(chips)


def test_dense_crops_whose_atmosphere_was_corrected_are_no_fault():
    crops = np.array([0.012, 0.06, 0.0125, 0.48, 0.19, 0.075]).reshape(6, 1, 1) * np.ones((1, 32, 32))
    assert find_impossible_level(crops.astype(np.float32), REAL_BANDS, "dn") is None
    assert "in band GREEN" in find_impossible_level(scaled(crops, 2, 1), REAL_BANDS, "dn")


@pytest.mark.parametrize("swir", [0.0, 0.0001, -0.008])
def test_water_whose_infrared_is_cut_off_or_a_little_negative_is_no_fault(swir):
    # Clear water: a few per cent in blue and green, almost nothing in the infrared.
    level = np.array([0.02, 0.04, 0.05, 0.008, swir, swir]).reshape(6, 1, 1)
    noise = np.random.default_rng(0).normal(0, 0.002, (6, 32, 32))
    assert find_impossible_level((level + noise * (level > 0.001)).astype(np.float32), BANDS, "dn") is None


def test_bands_are_compared_on_the_ground_that_all_of_them_have():
    """Some corrections leave the water out of one band: its median is of land, and those of the others of water."""
    # In the order of REAL_BANDS.
    water = np.array([0.06, 0.05, 0.03, 0.012, 0.01, 0.008], dtype=np.float32)
    land = np.array([0.05, 0.08, 0.06, 0.35, 0.25, 0.12], dtype=np.float32)
    is_water = np.arange(32 * 32).reshape(32, 32) % 32 < 17
    values = np.where(is_water, water[:, None, None], land[:, None, None])
    values *= np.random.default_rng(0).uniform(0.95, 1.05, values.shape).astype(np.float32)
    values[REAL_BANDS.index("SWIR_1"), is_water] = np.nan
    assert find_impossible_level(values, REAL_BANDS, "dn") is None
    # Another unit is still found there.
    values[REAL_BANDS.index("SWIR_1")] /= 10_000
    assert "in band SWIR_1" in find_impossible_level(values, REAL_BANDS, "dn")
    # Also where no pixel has all bands.
    values[REAL_BANDS.index("RED"), ~is_water] = np.nan
    assert "in band SWIR_1" in find_impossible_level(values, REAL_BANDS, "dn")


def test_a_class_whose_offset_was_subtracted_twice_stops_the_study(tmp_path):
    for name, chips in LAND.items():
        for number, values in enumerate(chips):
            shifted = np.maximum(values, 0.06) - (0.1 if name == "2" else 0)
            write_tif(tmp_path / name / f"{name}-{number}x.tif", np.float32(shifted * 10_000 + values * 10))
    with pytest.raises(StudyError, match="offset that makes dark pixels negative") as error:
        index(tmp_path, checks={"band_levels": False})
    assert "class 2: 10 of 10 chips" in error.value.found
    allowed = {"band_levels": False, "allow_class_offsets": True}
    assert index(tmp_path, checks=allowed)[1]["n_valid"] == 20


def test_new_chips_with_a_band_in_another_unit_are_left_out_or_stop_the_prediction(tmp_path):
    training = TrainingPixels(20, 0, 1.0, 1.0, (0.0, 0.09), (0.1, 0.1, 0.1, 0.3, 0.2, 0.1))
    reader = ChipReader(make_spec(unit="dn", point_ids="none"), 32, 10)
    good, wrong = (
        [
            NewChip(f"{number}", str(write_tif(tmp_path / f"{factor}-{number}.tif", scaled(chip, factor) * 10_000)))
            for number, chip in enumerate(LAND["1"])
        ]
        for factor in (1, 0.1)
    )
    found = check_sample(good + wrong[:3], reader, training)
    assert found["problems"] == {"band_levels": 3}
    assert found["warnings"][-1].startswith("3 of 13 chips that were looked at have a band in another unit or scale")
    with pytest.raises(StudyError, match="10 of 10 chips that were looked at cannot be used") as error:
        check_sample(wrong, reader, training)
    assert "in band NIR_BROAD" in error.value.found


def test_new_chips_whose_offset_was_subtracted_twice_are_refused():
    training = TrainingPixels(20, 0, 1.0, 1.0, (0.01, 0.09), (0.1, 0.1, 0.1, 0.3, 0.2, 0.1))
    chips = [chip - np.float32(0.1) for chip in LAND["1"]]
    with pytest.raises(StudyError, match="offset that makes dark pixels negative"):
        require_likeness(chips, training, make_spec(), False, "chips")
    (warning,) = require_likeness(chips, training, make_spec(), True, "chips")
    assert warning.startswith("Pixels far below 0 in 10 of 10 chips")


@needs_real_chips
def test_no_real_chip_is_refused_with_any_of_its_bands_and_most_show_a_tenth_in_any_band():
    spec = make_spec(unit="dn", bands=REAL_BANDS)
    chips = [read_chip(path, spec) for path in sorted(FOLDER.rglob("*.tif"))]
    for number in range(2, 7):
        for chosen in itertools.combinations(range(6), number):
            bands = [REAL_BANDS[i] for i in chosen]
            assert not any(find_impossible_level(chip[list(chosen)], bands, "dn") for chip in chips)
    for band in range(6):
        assert sum(find_impossible_level(scaled(chip, 0.1, band), REAL_BANDS, "dn") is not None for chip in chips) > 70
