"""New chips and the training chips: an offset or scale of only one of the two, and what must raise no alarm."""

import numpy as np
import pytest

from helpers.chips import make_spec
from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.data.chips.chip_checks import measure_darkest
from terralucas.data.chips.chip_files import read_chip
from terralucas.errors import StudyError
from terralucas.predict.likeness import TrainingPixels, require_likeness
from terralucas.selection.gather import describe_pixels

SPEC = make_spec(unit="dn")


def land(number, seed=0, dark=0.03):
    """Chips whose darkest pixels are at `dark`, and whose mean is 0.1 to 0.3 in every band."""
    random = np.random.default_rng(seed)
    chips = random.uniform(dark, 2 * random.uniform(0.1, 0.3, (number, 6, 1, 1)), (number, 6, 32, 32))
    return list(chips.astype(np.float32))


def describe(chips, labels):
    darkest = np.array([measure_darkest(values) for values in chips])
    return describe_pixels(darkest, np.array([values.mean(axis=(1, 2)) for values in chips]), labels)


def training(offset=0.0):
    return describe([chip + np.float32(offset) for chip in land(60)], np.arange(60) % 3)


def compare(chips, of=None, **changes):
    return require_likeness(chips, of or training(), make_spec(unit="dn", **changes), False, "chips")


def test_the_record_of_the_training_pixels_survives_yaml():
    of = training()
    assert (of.chips, of.bright) == (60, 0)
    # Wilson's interval of 0 of 20 chips at 95 % ends at z² / (n + z²) with z = 1.96.
    assert of.bright_in_a_class == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-4)
    assert of.dark_in_a_class == 1
    again = TrainingPixels.from_record(of.as_record())
    assert (again.chips, again.darkest) == (of.chips, pytest.approx(of.darkest, abs=1e-6))


def test_chips_like_the_training_chips_raise_no_alarm():
    assert compare(land(40, 1)) == []
    for chip in land(5, 2):
        assert compare([chip]) == []


@pytest.mark.parametrize(
    ("of", "chips", "problem", "remedy"),
    [
        (
            training(),
            [chip + 0.1 for chip in land(40, 1)],
            "The chips have an offset that the training chips",
            "subtract",
        ),
        (training(0.1), land(40, 1), "The training chips have an offset that the chips", "add"),
    ],
    ids=["new chips", "training chips"],
)
def test_an_offset_of_only_one_of_the_two_is_an_error(of, chips, problem, remedy):
    with pytest.raises(StudyError, match=problem) as error:
        compare(chips, of)
    assert remedy in error.value.remedy
    assert "1000 DN" in error.value.remedy
    assert "40 chips that were looked at have no pixel below 950 DN" in error.value.found
    allowed = require_likeness(chips, of, SPEC, True, "chips")
    assert len(allowed) == 1, "it is still said"


def test_chips_that_are_refused_for_the_level_of_a_band_show_an_offset_too():
    negative = [chip - 0.1 for chip in land(40, 1)]
    chips = [*negative[:28], *land(10, 2)]
    compare(chips)
    with pytest.raises(StudyError, match="an offset that makes dark pixels negative") as error:
        require_likeness(chips, training(), SPEC, False, "chips", negative[28:])
    assert "in 40 of 50 chips" in error.value.found
    *_, warning = require_likeness(land(20, 2), training(), SPEC, False, "windows of the scene", negative[:2])
    assert warning.startswith("2 of 22 windows of the scene that were looked at have a band in another unit or scale")


def test_few_chips_with_an_offset_are_not_certain_and_only_said():
    (warning,) = compare([chip + 0.1 for chip in land(3, 1)])
    assert "may have an offset" in warning
    assert compare([land(1, 1)[0] + 0.1]) == [], "one bright chip says nothing"


def with_bright_class():
    """Training chips of which 5 of 100 have no dark pixels, all of one class: its interval ends at 0.76."""
    return describe([chip + (0.08 if number < 5 else 0) for number, chip in enumerate(land(100))], np.arange(100) // 10)


def test_a_folder_of_chips_with_and_without_an_offset_is_said():
    chips = land(40, 1)
    (warning,) = compare([*(chip + 0.1 for chip in chips[:20]), *chips[20:]])
    assert warning.startswith("20 of 40 chips")


@pytest.mark.parametrize("count", [12, 20, 24, 32])
def test_an_offset_of_a_part_of_the_chips_is_said_although_a_class_of_the_training_chips_is_bright(count):
    chips = [chip + (0.1 if number < count else 0) for number, chip in enumerate(land(40, 1))]
    (warning,) = compare(chips, with_bright_class())
    assert warning.startswith(f"{count} of 40 chips that were looked at have no pixel below 950 DN in any band; of the")
    assert "of the training chips, 5 of 100 have none" in warning
    assert f"These {count} may have an offset" in warning
    assert "about the offset of 1000 DN" in warning
    assert "or the land is brighter than that of most training chips" in warning
    assert "subtract 1000 DN where the offset is" in warning


def test_an_offset_of_half_a_scene_is_said():
    rows = np.stack(land(81, 1)).reshape(9, 9, 6, 32, 32)
    scene = rows.transpose(2, 0, 3, 1, 4).reshape(6, 288, 288)
    scene[:, :, 144:] += 0.1
    corners = np.linspace(0, 256, 8).astype(int)
    windows = [scene[:, row : row + 32, column : column + 32] for row in corners for column in corners]
    (warning,) = require_likeness(windows, with_bright_class(), SPEC, False, "windows of the scene")
    assert warning.startswith("32 of 64 windows of the scene that were looked at have no pixel below 950 DN")
    assert "about the offset of 1000 DN" in warning


def test_an_offset_that_a_part_of_the_chips_lacks_is_said():
    of = describe([chip + (0.1 if number % 10 else 0) for number, chip in enumerate(land(100))], np.arange(100) // 10)
    assert compare([chip + 0.1 for chip in land(40, 1)], of) == []
    few = describe([chip + (0.1 if number > 8 else 0) for number, chip in enumerate(land(100))], np.arange(100) // 10)
    (warning,) = compare([chip + (0.1 if number % 2 else 0) for number, chip in enumerate(land(40, 1))], few)
    assert "The training chips may have an offset that the other 20 do not have" in warning
    assert "add 1000 DN where the offset is not" in warning


def test_chips_of_a_bright_class_alone_may_be_land_or_an_offset():
    (warning,) = compare([chip + 0.085 for chip in land(28, 1)] + land(12, 2), with_bright_class())
    assert "may have an offset" in warning
    assert "as a single class can be" in warning


def test_dark_chips_alone_raise_no_alarm_where_other_classes_are_bright():
    of = describe([chip + (0.1 if number < 50 else 0) for number, chip in enumerate(land(100))], np.arange(100) // 10)
    assert compare(land(64, 1), of) == []
    assert compare([chip + (0.1 if number < 4 else 0) for number, chip in enumerate(land(64, 1))], of) == []


def test_some_bright_chips_that_differ_by_less_than_the_offset_are_land():
    chips = [chip + (0.07 if number < 15 else 0) for number, chip in enumerate(land(64, 1))]
    assert compare(chips, describe(land(100), np.arange(100) // 10)) == []


def test_clouds_are_no_offset():
    assert compare([chip + 0.4 for chip in land(40, 1)]) == []


def test_an_offset_of_both_is_none():
    assert compare([chip + 0.1 for chip in land(40, 1)], training(0.1)) == []


def test_another_scale_is_an_error_and_single_dark_chips_are_said():
    with pytest.raises(StudyError, match="too dark to have the scale of the training chips") as error:
        compare([chip / 10 for chip in land(40, 1)])
    assert "DN (reflectance x 10,000)" in error.value.expected
    assert "dataset" not in error.value.remedy
    (warning,) = compare([land(1, 1)[0] / 10, *land(5, 2)])
    assert warning.startswith("1 of 6 chips")
    assert compare([chip / 10 for chip in land(4)], checks={"min_chip_brightness": 0}) == []


def test_brighter_than_clouds_is_an_error():
    with pytest.raises(StudyError, match="brighter than clouds"):
        compare([chip * 8 for chip in land(10, 1)])


def vegetation(number, factor=1.0):
    """Chips of about the means of dense vegetation, RED to SWIR_2, times a factor."""
    means = np.array([0.06, 0.07, 0.05, 0.3, 0.18, 0.09]).reshape(6, 1, 1)
    random = np.random.default_rng(4)
    chips = means * random.uniform(0.7, 1.3, (number, 1, 1, 1)) * random.uniform(0.2, 1.8, (number, 6, 32, 32))
    return list((factor * chips).astype(np.float32))


@pytest.mark.parametrize(("factor", "said"), [(0.3, "at most 0.3"), (2.1, "at least 2.")])
def test_chips_of_another_scale_that_is_possible_are_said(factor, said):
    of = describe(vegetation(60), np.arange(60) % 3)
    (warning,) = compare(vegetation(40, factor), of)
    assert warning.startswith(f"The median of 40 chips that were looked at has {said}")
    assert "their values may have another scale, and then all predictions are wrong" in warning
    assert compare(vegetation(40), of) == compare(vegetation(9, factor), of) == []


def test_vegetation_as_bright_as_clouds_is_an_error_and_clouds_are_not():
    of = describe(vegetation(60), np.arange(60) % 3)
    with pytest.raises(StudyError, match="brighter than vegetation can be") as error:
        compare(vegetation(40, 3), of)
    assert "in the near infrared in " in error.value.found
    assert "DN (reflectance x 10,000)" in error.value.expected
    clouds = [np.full((6, 32, 32), 0.8, np.float32) + chip / 100 for chip in vegetation(9)]
    assert compare(clouds, of) == []


def test_calm_water_alone_is_a_chip():
    """Deep water hardly varies: 10 DN in the short-wave infrared."""
    random = np.random.default_rng(1)
    means = np.array([0.05, 0.07, 0.09, 0.02, 0.005, 0.003]).reshape(6, 1, 1)
    water = (means + random.uniform(-0.0005, 0.0005, (6, 32, 32))).astype(np.float32)
    assert compare([water]) == []
    assert compare([water] * 20) == []


REAL_BANDS = ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]


@needs_real_chips
@pytest.mark.parametrize("trained_on", [("Forest", "River", "Residential"), ("Forest", "SeaLake"), None])
def test_real_chips_raise_no_alarm_alone_by_class_or_together_and_with_an_offset_they_do(trained_on):
    spec = make_spec(unit="dn", bands=REAL_BANDS)
    chips = {path: read_chip(path, spec) for path in sorted(FOLDER.rglob("*.tif"))}
    classes = sorted({path.parent.name for path in chips})
    chosen = [path for path in chips if trained_on is None or path.parent.name in trained_on]
    of = describe([chips[path] for path in chosen], np.array([classes.index(path.parent.name) for path in chosen]))
    folders = [[chips[path] for path in chips if path.parent.name == name] for name in classes]
    for group in [*([chip] for chip in chips.values()), *folders, list(chips.values())]:
        assert require_likeness(group, of, spec, False, "chips") == []
    with pytest.raises(StudyError, match="The chips have an offset"):
        require_likeness([chip + np.float32(0.1) for chip in chips.values()], of, spec, False, "chips")
    later = describe([chips[path] + np.float32(0.1) for path in chosen], np.zeros(len(chosen), int))
    with pytest.raises(StudyError, match="The training chips have an offset"):
        require_likeness(list(chips.values()), later, spec, False, "chips")


@needs_real_chips
def test_real_chips_of_which_a_part_has_an_offset_are_said_and_without_it_no_mixture_is():
    spec = make_spec(unit="dn", bands=REAL_BANDS)
    names, chips = zip(
        *((path.parent.name, read_chip(path, spec)) for path in sorted(FOLDER.rglob("*.tif"))), strict=True
    )
    classes = np.unique(names, return_inverse=True)[1]
    random = np.random.default_rng(0)
    for _ in range(10):
        order = random.permutation(len(chips))
        ranks = np.array([sum(classes[order[:place]] == classes[order[place]]) for place in range(len(order))])
        known, new = order[ranks < 5], order[ranks >= 5]
        of = describe([chips[number] for number in known], classes[known])
        for number_of_classes in range(1, 11):
            mixture = random.permutation(10)[:number_of_classes]
            group = [chips[number] for number in new if classes[number] in mixture]
            assert require_likeness(group, of, spec, False, "chips") == []
        for count in (15, 25, 30):
            part = [chips[number] + np.float32(0.1 if place < count else 0) for place, number in enumerate(new)]
            (warning,) = require_likeness(part, of, spec, False, "chips")
            assert "about the offset of 1000 DN" in warning
