"""Copies that differ in a few pixels: found among the chips of a study, and never among real chips."""

import numpy as np
import pytest
import rasterio

from helpers.chips import make_spec, pixels, write_tif
from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.chips.sketches import hash_spectra, sketch_squares
from terralucas.data.indexing.index import index_chips
from terralucas.data.indexing.near_copies import _share, find_near_copies
from terralucas.errors import StudyError


def mask_a_pixel(values):
    values[:, 3, 4] = np.nan
    return values


def change_a_value(values):
    values[0, 5, 5] += 1e-4
    return values


def turn_and_change(values):
    return np.ascontiguousarray(np.rot90(change_a_value(values), axes=(1, 2)))


def negate_zeros(values):
    return np.where(values == 0, -0.0, values).astype(np.float32)


def shift(values):
    return np.roll(values, 1, axis=2)


CHANGES = (mask_a_pixel, change_a_value, turn_and_change, negate_zeros, shift)


def chip(number):
    values = pixels(number)
    values[0, :2, :2] = 0
    return values


def index(root, **changes):
    spec = make_spec(layout={"labels": "folders"}, point_ids="none", **changes)
    return index_chips(root, spec, min_chips_per_class=1, threads=1, progress=False)


def write_chips(root):
    for number in range(8):
        write_tif(root / "12"[number % 2] / f"{number}x.tif", chip(number))


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_with_a_small_change_is_dropped_or_has_two_labels(tmp_path, change):
    write_chips(tmp_path)
    write_tif(tmp_path / "1/0x copy.tif", change(chip(0)))
    report = index(tmp_path, on_invalid="drop")[1]
    assert [(p["point_id"], p["kind"]) for p in report["dropped"]] == [("0x copy", "duplicate_content")]
    (tmp_path / "1/0x copy.tif").rename(tmp_path / "2/0x copy.tif")
    report = index(tmp_path, on_invalid="drop")[1]
    assert report["problem_counts"] == {"conflicting_labels": 2}
    # The contradiction of two equal chips holds for a near copy, which has one of their labels.
    write_tif(tmp_path / "2/0x same.tif", chip(0))
    report = index(tmp_path, on_invalid="drop")[1]
    assert report["problem_counts"] == {"conflicting_labels": 3}
    (tmp_path / "2/0x same.tif").unlink()
    with pytest.raises(StudyError, match="cannot be used") as error:
        index(tmp_path)
    assert "same pixels as 0x copy (2/0x copy.tif)" in error.value.found


@pytest.mark.parametrize("labels", ["11111111", "11111222"], ids=["one label", "two labels"])
def test_of_many_deliveries_of_a_chip_with_other_masks_one_stays_and_of_several_labels_none(tmp_path, labels):
    """Not each two of them share most of their pixels."""
    random = np.random.default_rng(0)
    rows, columns = np.indices((32, 32))
    for number in range(48):
        write_tif(tmp_path / "12"[number % 2] / f"{number}x.tif", chip(number))
    for number in range(5):
        for copy, label in enumerate(labels):
            values, (y, x) = pixels(100 + number), random.integers(3, 29, 2)
            values[:, (rows - y) ** 2 + (columns - x) ** 2 < 9] = np.nan
            write_tif(tmp_path / label / f"{number}-{copy}.tif", values)
    kept = [name for name in index(tmp_path, on_invalid="drop")[0]["point_id"] if "-" in name]
    assert [name[0] for name in kept] == ([*"01234"] if labels == "11111111" else [])


@pytest.mark.parametrize(
    ("crs", "x", "y"), [("EPSG:3035", 4_592_000, 2_254_000), ("EPSG:32760", 500_000, 5_400_000)],
    ids=["Italy", "New Zealand"],
)  # fmt: skip
@pytest.mark.parametrize("direction", [(0, 1), (2, 2), (2, -2)])
def test_crops_that_overlap_by_their_places_are_said_and_kept(tmp_path, crs, x, y, direction):
    """EPSG:3035 shortens lengths to an eighth in one direction of New Zealand."""
    write_chips(tmp_path)
    wide = pixels(9, (6, 36, 36))
    for number in range(2):
        rows, columns = (2 + step * number for step in direction)
        place = rasterio.Affine(10, 0, x + 10 * columns, 0, -10, y - 10 * rows)
        chip = wide[:, rows : 32 + rows, columns : 32 + columns]
        write_tif(tmp_path / f"1/crop-{number}.tif", chip, transform=place, crs=crs)
    report = index(tmp_path, pixel_size_m=10)[1]
    assert report["n_valid"] == 10
    assert report["notices"][-1].startswith("2 chips have most of their pixels in common with another chip")
    assert report["has_near_chips"]
    (tmp_path / "1/crop-1.tif").unlink()
    assert not index(tmp_path, pixel_size_m=10)[1]["has_near_chips"]


def sketch(values):
    return sketch_squares(hash_spectra(values), np.isfinite(values).all(axis=0))


def test_copies_are_found_among_many_chips_that_share_some_of_their_squares():
    """Of each square, only the first 50 chips are counted."""
    random = np.random.default_rng(0)
    shared = random.integers(1, 2**62, 40, dtype=np.uint64)
    sketches = [np.sort(np.append(shared, random.integers(1, 2**62, 88, dtype=np.uint64))) for _ in range(100)]
    assert find_near_copies([*sketches, sketches[99]]) == [(99, 100)]
    of_one = find_near_copies([sketches[0]] * 120)
    assert {number for pair in of_one for number in pair} == set(range(120))


def test_the_share_of_two_sketches_is_that_of_their_smallest_squares():
    random = np.random.default_rng(1)
    for _ in range(200):
        first, second = (np.unique(random.integers(0, 400, size)).astype(np.uint64)[:128] for size in (200, 60))
        union = sorted({*first.tolist(), *second.tolist()})[:128]
        common = {*first.tolist()} & {*second.tolist()} & {*union}
        assert _share(first, second) == len(common) / len(union)


def test_water_that_is_cut_off_is_no_copy(tmp_path):
    # Two values in each band: all squares are alike, and say nothing.
    random = np.random.default_rng(0)
    water = [random.integers(1, 3, (6, 32, 32)) * 1e-4 for _ in range(2)]
    water = [np.where(np.arange(6).reshape(6, 1, 1) < 5, 1e-4, values) for values in water]
    assert find_near_copies([sketch(values) for values in water]) == []


@needs_real_chips
def test_no_real_chip_is_a_near_copy_of_another_in_any_single_band_and_each_changed_copy_is():
    spec = make_spec(unit="dn", bands=["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"])
    chips = [read_chip(path, spec) for path in sorted(FOLDER.rglob("*.tif"))]
    for bands in (slice(None), *([band] for band in range(6))):
        sketches = [sketch(values[bands]) for values in chips]
        assert find_near_copies(sketches) == []
    changed = [sketch(mask_a_pixel(values.copy())) for values in chips]
    whole = [sketch(values) for values in chips]
    assert find_near_copies(whole + changed) == [(number, 100 + number) for number in range(100)]
