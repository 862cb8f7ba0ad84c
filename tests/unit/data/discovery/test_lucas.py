"""The facts of the LUCAS survey."""

from __future__ import annotations

import numpy as np
import pytest

from terralucas.data.discovery.lucas import (
    ITALY_BANDS,
    ITALY_CLASSES,
    format_point_id,
    italy_class_counts,
    italy_grid_points,
    parse_point_id,
)
from terralucas.errors import StudyError


def test_a_point_id_is_a_place_in_metres():
    assert parse_point_id("45922254") == (4_592_000.0, 2_254_000.0)
    assert parse_point_id(" 40502324\n") == (4_050_000.0, 2_324_000.0)


@pytest.mark.parametrize(
    "text",
    ["", "chip_1", "4592225", "459222540", "45922254.0", "-4592225", "45932254", "45922255", "00002254", "45929998"],
)
def test_what_is_no_point_id_has_no_place(text):
    assert parse_point_id(text) is None


def test_digits_of_other_scripts_are_no_point_id():
    assert parse_point_id("٤٥٩٢٢٢٥٤") is None


def test_formatting_inverts_parsing():
    assert format_point_id(4592, 2254) == "45922254"
    assert parse_point_id(format_point_id(4050, 954)) == (4_050_000.0, 954_000.0)


def test_classes_and_bands_of_the_study():
    assert [entry.code for entry in ITALY_CLASSES] == list(range(1, 11))
    assert sum(entry.count for entry in ITALY_CLASSES) == 1994
    assert {entry.code: entry.name for entry in ITALY_CLASSES}[4] == "Wooded areas"
    assert ITALY_BANDS == ("RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2")


def test_class_counts_of_the_whole_study_are_the_study_s():
    assert italy_class_counts(1994) == {entry.code: entry.count for entry in ITALY_CLASSES}


@pytest.mark.parametrize("chips", [10, 11, 37, 60, 200, 600, 5000])
def test_class_counts_add_up_and_keep_every_class(chips):
    counts = italy_class_counts(chips)
    assert sum(counts.values()) == chips
    assert min(counts.values()) >= 1
    exact = np.array([entry.count for entry in ITALY_CLASSES]) * chips / 1994
    given = np.array([counts[entry.code] for entry in ITALY_CLASSES])
    # The largest classes may give a few chips to classes too rare to have one.
    assert np.all(given >= np.floor(exact) - np.sum(exact < 1))
    assert np.all(given <= np.floor(exact) + 1)


def test_fewer_chips_than_classes_is_an_error_that_says_how_many():
    with pytest.raises(StudyError, match="at least 10"):
        italy_class_counts(9)


def test_grid_of_italy():
    points = italy_grid_points()
    assert np.issubdtype(points.dtype, np.integer)
    assert np.all(points % 2 == 0)
    assert len(np.unique(points, axis=0)) == len(points)
    # Italy has 302,073 km2 (Istat) in cells of 4 km2; the outline is coarse.
    assert len(points) * 4 == pytest.approx(302_073, rel=0.06)


@pytest.mark.parametrize(
    ("place", "inside"),
    [
        ((4536, 2080), True),  # inland Latium, east of Rome
        ((4270, 2480), True),  # the Po plain
        ((4610, 1620), True),  # Sicily
        ((4240, 1900), True),  # Sardinia
        ((4420, 1900), False),  # the Tyrrhenian Sea
        ((4330, 2680), False),  # Austria
        ((4000, 2400), False),  # France
    ],
)
def test_grid_covers_italy_and_its_islands_only(place, inside):
    assert (tuple(place) in set(map(tuple, italy_grid_points().tolist()))) is inside
