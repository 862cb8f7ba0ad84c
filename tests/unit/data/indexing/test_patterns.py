"""Chips with the same pattern in other values: augmented copies, and other dates of one place."""

import numpy as np
import pytest
from scipy import ndimage

from helpers.chips import make_spec, write_tif
from helpers.real_chips import FOLDER, needs_real_chips, write_real
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.indexing.index import index_chips
from terralucas.data.indexing.patterns import describe_alike, find_alike, measure_pattern

BANDS = ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]


def ground(seed, side=64):
    """Bands of smooth ground, each with its own level."""
    random = np.random.default_rng(seed)
    shape = ndimage.gaussian_filter(random.normal(size=(6, side, side)), (0.5, 4, 4))
    return (0.1 * np.arange(1, 7).reshape(6, 1, 1) + 0.3 * shape).astype(np.float32)


def add_noise(chip):
    return chip + np.random.default_rng(0).normal(0, 0.002, chip.shape)


CHANGES = {
    "brighter": lambda chip: 1.2 * chip,
    "less contrast": lambda chip: 0.8 * chip + 0.01,
    "other levels of bands": lambda chip: chip * np.linspace(0.8, 1.2, 6).reshape(6, 1, 1),
    "gamma": lambda chip: np.abs(chip) ** 0.8,
    "noise": add_noise,
    "blur": lambda chip: ndimage.gaussian_filter(chip, (0, 1, 1)),
    "a pixel away": lambda chip: np.roll(chip, 1, axis=2),
    "flipped and brighter": lambda chip: 1.1 * chip[:, ::-1],
    "turned and brighter": lambda chip: 1.1 * np.rot90(chip, axes=(1, 2)),
    "of another size": lambda chip: chip.repeat(2, axis=1).repeat(2, axis=2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_in_other_values_are_alike_and_other_chips_are_not(change):
    chips = [ground(seed) for seed in range(20)]
    assert find_alike([measure_pattern(chip) for chip in chips]) == []
    copies = [CHANGES[change](chip) for chip in chips]
    found = find_alike([measure_pattern(np.asarray(chip, dtype=np.float32)) for chip in chips + copies])
    assert set(found) <= {(number, number + 20) for number in range(20)}
    assert len(found) >= 18


def test_chips_of_which_nothing_can_be_said_have_no_pattern():
    slope = np.linspace(0.1, 0.2, 64, dtype=np.float32)[None, None] * np.ones((6, 64, 1), dtype=np.float32)
    assert measure_pattern(slope + 0.0001 * ground(0)) is None, "all chips under one light are brighter at one side"
    assert measure_pattern(ground(0)[:2]) is None
    assert measure_pattern(ground(0, side=15)) is None
    assert find_alike([None, None]) == []


def test_gaps_are_no_pattern():
    """Those at the edge of a swath are alike in many chips."""
    values = ground(0)
    values[:, :20] = np.nan
    assert measure_pattern(values) is None


def test_all_copies_of_a_chip_are_counted_with_their_labels_and_not_those_at_its_place():
    chips = [ground(0), 1.1 * ground(0), 1.2 * ground(0), ground(1), 0.9 * ground(1)]
    east = [0.0, 50_000.0, np.nan, 0.0, 320.0]
    rows = [
        {"point_id": str(i), "file": f"{i}.tif", "label": int(i == 2), "easting_m": x, "northing_m": x, "width": 64}
        for i, x in enumerate(east)
    ]
    notice = describe_alike(rows, [measure_pattern(chip) for chip in chips], pixel_size_m=10)
    assert notice.startswith(
        "3 chips show the pattern of another chip in other values, such as 0 (0.tif) and 1 (1.tif)"
    )
    assert "and 3 of them that of a chip with another label" in notice


def index(root, **changes):
    spec = make_spec(layout={"labels": "folders"}, point_ids="none", unit="dn", **changes)
    return index_chips(root, spec, min_chips_per_class=1, threads=1, progress=False)[1]


@needs_real_chips
def test_augmented_copies_of_real_chips_are_said(tmp_path):
    described = write_real(tmp_path, "", np.copy)
    chip = read_chip(FOLDER / "Forest" / "Forest_1.tif", make_spec(unit="dn", bands=BANDS))
    for number in range(1, 6):
        copy = (chip * (1 + 0.04 * number) * 10_000).round().astype("uint16")
        write_tif(tmp_path / "Forest" / f"Forest_1_{number}.tif", copy)
    (notice,) = index(tmp_path, **described)["notices"]
    assert notice.startswith("6 chips show the pattern of another chip in other values, such as Forest_1 ")
    assert "and 0 of them that of a chip with another label" in notice


@needs_real_chips
def test_almost_all_augmented_copies_of_real_chips_are_alike():
    spec = make_spec(unit="dn", bands=BANDS)
    chips = [read_chip(path, spec) for path in sorted(FOLDER.rglob("*.tif"))]
    patterns = [measure_pattern(chip) for chip in chips]
    assert find_alike(patterns) == []
    for change in (lambda chip: 1.2 * chip, lambda chip: ndimage.gaussian_filter(chip, (0, 1, 1)), add_noise):
        found = find_alike(patterns + [measure_pattern(change(chip).astype(np.float32)) for chip in chips])
        assert all(second - first == 100 for first, second in found)
        # Noise drowns the pattern of water.
        assert len(found) >= (80 if change is add_noise else 100)
