"""Pixels without data that nothing declares: in some bands or one class, at edges; water and clouds pass."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from helpers.chips import BANDS, SIDE, make_spec, pixels, write_tif
from helpers.real_chips import BANDS as REAL_BANDS
from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.chips.cut_off import find_cut_off
from terralucas.data.chips.gaps import (
    find_almost_constant,
    find_zeros,
    measure_flat_edge,
    measure_nothing,
    measure_padding,
    measure_repeated_edge,
)
from terralucas.data.indexing.group_checks import describe_missing
from terralucas.data.indexing.index import index_chips
from terralucas.errors import StudyError


def index(root, **changes):
    spec = make_spec(layout={"labels": "folders"}, point_ids="none", unit="dn", **changes)
    return index_chips(root, spec, min_chips_per_class=1, threads=1, progress=False)[1]


def smallest_of(values):
    return np.fmin.reduce(values.reshape(len(values), -1), axis=1)


def zeros_of(values, zeros, bands):
    return find_zeros(values, smallest_of(values), zeros, bands)


def dn(number):
    return (pixels(number) * 10_000).astype("uint16")


def pad_rows(values):
    values[:, :8] = values[:, 8:9]
    return values


def pad_columns(values):
    values[:, :, -5:] = values[:, :, -6:-5]
    return values


def fill_half(values):
    values[:, :16] = np.array([812, 934, 733, 3011, 2210, 1329]).reshape(6, 1, 1)
    return values


def fill_with_the_brightest(values):
    values = values // 4
    values[:, :16] = np.array([812, 934, 733, 3011, 2210, 1329]).reshape(6, 1, 1)
    return values


def wrap(values):
    values[0, 0, :5] = np.array([-3]).astype("uint16")
    return values


def flatten(values):
    values[3] = 4000
    values[3, 0, 0] = 4001
    return values


def flatten_columns(values):
    values[:, :, -2:] = values.mean(axis=(1, 2), keepdims=True).astype("uint16")
    return values


def flatten_one_band(values):
    values[3, 20:] = 2500
    return values


def cut_off_one_band(values):
    values[5, :12] = 1
    return values


def blank_five_bands(values):
    values[:5, :-1] = 0
    return values


def mirror_rows(values):
    return np.pad(values[:, 5:], ((0, 0), (5, 0), (0, 0)), "reflect")


def mirror_columns(values):
    return np.pad(values[:, :, :28], ((0, 0), (0, 0), (0, 4)), "symmetric")


def continue_at_the_other_edge(values):
    return np.pad(values[:, 3:-3], ((0, 0), (3, 3), (0, 0)), "wrap")


def darken_a_wedge(values):
    """Write values of 1 to 3 DN below a diagonal, as a lossy compression leaves them of missing pixels."""
    rows, columns = np.indices(values.shape[1:])
    wedge = np.random.default_rng(0).integers(1, 4, values.shape).astype(values.dtype)
    return np.where(columns < 12 - rows, wedge, values)


CASES = {
    "a wedge of almost nothing": (darken_a_wedge, "fill", "values of almost 0 in every band in 7.617 % of its pixels"),
    "mirrored rows": (mirror_rows, "fill", "mirrored rows at an edge in 15.62 % of its pixels"),
    "mirrored columns": (mirror_columns, "fill", "mirrored columns at an edge in 12.5 %"),
    "rows of the other edge": (continue_at_the_other_edge, "fill", "rows of one edge at the other in 18.75 %"),
    "edge of rows": (pad_rows, "fill", "equal rows at an edge in 28.12 % of its pixels"),
    "edge of columns": (pad_columns, "fill", "equal columns at an edge in 18.75 %"),
    "one spectrum": (fill_half, "fill", "one value in each band in 50 % of its pixels"),
    "a bright spectrum": (fill_with_the_brightest, "fill", "one value in each band in 50 % of its pixels"),
    "two columns of one spectrum": (
        flatten_columns,
        "fill",
        "one value in each band in the columns at an edge in 6.25 %",
    ),
    "a part of one band": (flatten_one_band, "fill", "one value in band NIR_BROAD in the rows at an edge in 37.5 %"),
    "a part of one band at 1 DN": (
        cut_off_one_band,
        "fill",
        "one value in band SWIR_2 in the rows at an edge in 37.5 %",
    ),
    "-3 without a sign": (
        wrap,
        "impossible_values",
        "65533, which no ground has, in 5 of its pixels; it seems to be -3",
    ),
    "one value almost everywhere": (flatten, "constant", "one value almost everywhere in band NIR_BROAD"),
    "five bands of zeros": (blank_five_bands, "fill", "has the value 0 in band"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_chip_with_pixels_that_are_no_data_is_dropped(tmp_path, case):
    change, kind, words = CASES[case]
    for number in range(6):
        write_tif(tmp_path / "12"[number % 2] / f"{number}x.tif", change(dn(number)) if number == 4 else dn(number))
    (problem,) = index(tmp_path, on_invalid="drop")["dropped"]
    assert (problem["point_id"], problem["kind"]) == ("4x", kind)
    assert words in problem["message"]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("value", [1, 128, 255, 1234])
def test_fill_at_an_edge_of_few_bands_is_found(count, value):
    """Grey ground can have one value in three bands, and does not fill whole columns with it."""
    values = pixels(3)[:count] + np.float32(0.1)
    assert measure_flat_edge(values, BANDS[:count])[1] == 0
    values[:, :, -12:] = value / 10_000
    # A single band may be that of dark water, and bands that are cut off too.
    assert measure_flat_edge(values, BANDS[:count])[1] == (0.375 if value == 1234 or value > 1 < count else 0)
    assert measure_padding(pad_columns(pixels(3)[:count]), BANDS[:count])[1] == 5 / 32 + 1 / 32


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (SIDE, 8, "class 2: in 6 of 6 chips, median 25 % of the pixels; other classes: in 0 of 6 chips"),
        # A corner, which tells the class as well.
        (2, 3, "class 2: in 6 of 6 chips, median 0.5859 % of the pixels; other classes: in 0 of 6 chips"),
    ],
)
def test_a_class_whose_pixels_are_missing_is_said(tmp_path, rows, columns, words):
    for number in range(12):
        values = dn(number)
        if number % 2:
            values[:, :rows, :columns] = 0
        write_tif(tmp_path / "12"[number % 2] / f"{number}x.tif", values, nodata=0)
    (notice,) = index(tmp_path)["notices"]
    assert notice.startswith(f"pixels are missing in most chips of some classes and not of the others ({words}")


@pytest.mark.parametrize("share", [0.1, 0.01])
def test_whole_chips_of_one_class_tell_it_too(share):
    shares = {"a": 0.0, "b": share, "c": share}
    chips = [
        SimpleNamespace(row={"class_code": code, "nodata_fraction": lacking})
        for code, lacking in shares.items()
        for _ in range(6)
    ]
    assert "class b: in 6 of 6 chips" in describe_missing(chips)
    assert "other classes: in 0 of 6 chips" in describe_missing(chips)
    assert describe_missing(chips[6:]) is None


def test_small_missing_parts_in_chips_of_all_classes_are_nothing_to_say(tmp_path):
    for number in range(12):
        values = dn(number)
        if number % 2 or number == 0:
            values[:, :2, :3] = 0
        write_tif(tmp_path / "12"[number % 2] / f"{number}x.tif", values, nodata=0)
    assert index(tmp_path)["notices"] == []


def test_water_clouds_and_larger_pixels_are_no_gaps():
    random = np.random.default_rng(0)
    # The infrared of water, where a correction of the atmosphere leaves nothing: 0, and a little more.
    water = random.normal(0, 0.001, (6, 32, 32)).clip(0) + np.array([0.03, 0.05, 0.06, 0, 0, 0]).reshape(6, 1, 1)
    cloud = random.uniform(0.3, 1.5, (6, 32, 32))
    cloud[:, :16] = 1.5
    coarse = np.repeat(np.repeat(random.uniform(0.02, 0.5, (6, 8, 8)), 4, 1), 4, 2)
    for values in (water, cloud, coarse):
        chip = values.astype(np.float32)
        assert zeros_of(chip, [0.0] * 6, BANDS)[1] == 0
        dark = np.maximum(chip, 1e-4)
        assert find_cut_off(dark, smallest_of(dark), [0.0] * 6, BANDS, 0.01) is None
        assert measure_padding(chip, BANDS)[1] == 0
        assert measure_flat_edge(chip, BANDS)[1] == 0
        assert measure_repeated_edge(chip)[1] == 0
        assert measure_nothing(chip)[1] == 0
    # Shade from which a correction of the atmosphere took too much: its middle is cut off at 1 DN, its edge is not.
    rows, columns = np.indices((32, 32)) - 16
    light = np.clip((np.hypot(rows, columns) - 5) / 20, 0, 1)
    shade = np.maximum(random.uniform(0.1, 0.4, (6, 32, 32)) * light, 1e-4).astype(np.float32)
    assert (shade.max(axis=0) < 3e-4).mean() > 0.05
    assert measure_nothing(shade)[1] == 0
    # Calm water at the edge of a chip, whose infrared bands are cut off at 1 DN.
    lake = random.uniform(0.02, 0.5, (6, 32, 32)).astype(np.float32)
    lake[:, :9] = random.uniform(0.02, 0.08, (6, 9, 32))
    lake[3:, :9] = 1e-4
    assert measure_flat_edge(lake, BANDS)[1] == 0
    assert find_almost_constant(np.maximum(water, 1e-4).astype(np.float32), BANDS) is None


@pytest.mark.parametrize(("others", "found"), [(31, 3), (32, None)])
def test_a_band_is_almost_constant_with_other_values_in_at_most_a_hundredth_of_its_pixels(others, found):
    """The chip has 3,136 pixels; no two of the others lie side by side."""
    random = np.random.default_rng(0)
    chip = random.uniform(0.02, 0.5, (6, 56, 56)).astype(np.float32)
    band = np.full(56 * 56, 0.1, dtype=np.float32)
    band[:: 56 * 56 // others][:others] = 0.2
    assert np.count_nonzero(band != band[1]) == others
    chip[3] = band.reshape(56, 56)
    assert find_almost_constant(chip, BANDS) == found


@pytest.mark.parametrize("bands", [1, 6])
def test_a_spectrum_that_fills_a_tenth_is_found_and_a_value_of_the_first_band_alone_is_not(bands):
    random = np.random.default_rng(0)
    chip = random.uniform(0.02, 0.5, (6, 40, 40)).astype(np.float32)
    chip[:bands, 10:16, :30] = 0.15
    share = 6 * 30 / 40**2 if bands == 6 else 0.0
    assert measure_padding(chip, BANDS)[1] == share


@pytest.mark.parametrize("shape", [(1, 1), (1, 32), (32, 1), (2, 2), (3, 40)])
def test_chips_of_a_few_rows_or_columns_have_results_too(shape):
    chip = np.random.default_rng(0).uniform(0.02, 0.5, (6, *shape)).astype(np.float32)
    for values in (chip, np.full_like(chip, 0.2)):
        assert zeros_of(values, [0.0] * 6, BANDS)[1] == 0
        assert find_cut_off(values, smallest_of(values), [0.0] * 6, BANDS, 0.01) is None
        assert all(0 <= measure(values)[1] <= 1 for measure in (measure_nothing, measure_repeated_edge))
        assert all(0 <= measure(values, BANDS)[1] <= 1 for measure in (measure_padding, measure_flat_edge))
        assert find_almost_constant(values, BANDS) == (0 if values is not chip or shape == (1, 1) else None)


def coarse(values, step):
    return (np.rint(values / step) * step).astype(np.float32)


@pytest.mark.parametrize("step", [0.002, 0.004, 1 / 255])
@pytest.mark.parametrize("shore", [0, 12], ids=["open water", "shore"])
def test_calm_water_in_coarse_numbers_has_one_value_and_is_no_fault(tmp_path, step, shore):
    random = np.random.default_rng(0)
    # In the order of BANDS, with the noise of a calm lake.
    water = np.array([0.028, 0.044, 0.072, 0.012, 0.004, 0.002]).reshape(6, 1, 1) + random.normal(0, 6e-4, (6, 32, 32))
    water[:, :shore] = random.uniform(0.05, 0.4, (6, shore, 32))
    whole, exact = coarse(water, step), water.astype(np.float32)
    hidden = np.full_like(exact, 0.1)
    assert find_almost_constant(exact, BANDS) is None and measure_padding(exact, BANDS)[1] == 0
    for chip in (whole, *([] if step < 0.004 else [coarse(water.clip(step), step)])):
        write_tif(tmp_path / "1/lake.tif", chip)
        write_tif(tmp_path / "2/land.tif", pixels(1))
        spec = make_spec(layout={"labels": "folders"}, point_ids="none", unit="reflectance")
        assert index_chips(tmp_path, spec, min_chips_per_class=1, threads=1, progress=False)[1]["n_valid"] == 2
    # The same spectrum in finer numbers, and one that is no water's.
    hidden[:, 8:] = random.uniform(0.05, 0.4, (6, 24, 32))
    assert measure_padding(coarse(hidden, step), BANDS)[1] == 0.25
    spectrum, finer = np.array([0.028, 0.044, 0.072, 0.012, 0.004, 0.002]), exact.copy()
    finer[:, 20:] = spectrum.reshape(6, 1, 1)
    assert measure_padding(finer, BANDS)[1] == 12 / 32


@pytest.mark.parametrize("step", [0.002, 1 / 255])
@pytest.mark.parametrize(("band", "value"), [(0, 0.12), (0, 0.044), (2, 0.12), (4, 0.02)])
def test_a_band_with_one_value_on_land_too_is_a_fault_in_a_chip_that_is_mostly_water(tmp_path, step, band, value):
    random = np.random.default_rng(0)
    chip = np.array([0.028, 0.044, 0.072, 0.012, 0.008, 0.004]).reshape(6, 1, 1) + random.normal(0, 3e-3, (6, 32, 32))
    chip[:, :12] = np.array([0.045, 0.06, 0.04, 0.3, 0.18, 0.09]).reshape(6, 1, 1) * random.uniform(0.6, 1.4, (12, 32))
    write_tif(tmp_path / "2/land.tif", pixels(1))
    for rows in (32, 31):
        # Everywhere, and almost everywhere.
        chip[band], chip[band, rows:, :5] = value, 0.2
        write_tif(tmp_path / "1/coast.tif", coarse(chip.clip(step), step))
        spec = make_spec(layout={"labels": "folders"}, point_ids="none", unit="reflectance")
        with pytest.raises(StudyError, match=f"one value (everywhere in band|almost everywhere in band) {BANDS[band]}"):
            index_chips(tmp_path, spec, min_chips_per_class=1, threads=1, progress=False)


@needs_real_chips
@pytest.mark.parametrize("step", [0.002, 0.004, 1 / 255])
def test_no_real_chip_in_coarse_numbers_is_padding_or_constant(step):
    spec = make_spec(unit="dn", bands=REAL_BANDS)
    for path in sorted(FOLDER.rglob("*.tif")):
        chip = coarse(read_chip(path, spec), step)
        assert measure_padding(chip, REAL_BANDS)[1] <= 0.01, path.name
        assert find_almost_constant(chip, REAL_BANDS) is None, path.name


def test_zeros_are_those_of_an_offset_that_makes_them_bright():
    """DN + 1,000 in the offset tag: a stored 0 has a reflectance of 0.1."""
    chip = np.random.default_rng(0).uniform(0.15, 0.5, (6, 32, 32)).astype(np.float32)
    assert zeros_of(chip, [0.1] * 6, BANDS)[1] == 0
    chip[4, :8, :8] = 0.1
    assert zeros_of(chip, [0.1] * 6, BANDS) == (BANDS[4], 64 / 32**2)


def test_zeros_of_coarse_numbers_are_no_gap_and_missing_ones_are():
    """Landsat's 8 bits at a low sun: a step is more than 0.005 of reflectance."""
    random = np.random.default_rng(0)
    dark = np.maximum(random.integers(-2, 4, (32, 32)), 0)
    chip = np.concatenate([np.stack([dark] * 3), random.integers(20, 60, (3, 32, 32))]) * np.float32(0.006)
    assert zeros_of(chip, [0.0] * 6, BANDS)[1] == 0
    chip[:3] += np.float32(0.06)
    chip[2, 5:15, 5:15] = 0
    assert zeros_of(chip, [0.0] * 6, BANDS) == (BANDS[2], 100 / 32**2)


def test_padding_is_found_that_repeats_missing_pixels():
    values = pixels(3)
    values[:, 7, 20] = np.nan
    found = measure_repeated_edge(np.pad(values[:, 5:], ((0, 0), (5, 0), (0, 0)), "reflect"))
    assert found == ("mirrored rows at an edge", 5 / 32)


@needs_real_chips
def test_no_real_chip_has_a_gap_also_with_larger_pixels():
    spec = make_spec(unit="dn", bands=REAL_BANDS)
    for path in sorted(FOLDER.rglob("*.tif")):
        chip = read_chip(path, spec)
        coarse = np.repeat(np.repeat(chip[:, ::3, ::3], 3, 1), 3, 2)[:, 1:65, 1:65]
        for values in (chip, coarse):
            assert zeros_of(values, [0.0] * 6, REAL_BANDS)[1] == 0
            assert measure_padding(values, REAL_BANDS)[1] == 0
            assert measure_flat_edge(values, REAL_BANDS)[1] == 0
            assert measure_repeated_edge(values)[1] == 0
            assert measure_nothing(values)[1] == 0
        assert find_almost_constant(chip, REAL_BANDS) is None


@needs_real_chips
@pytest.mark.parametrize("side", [80, 112, 128, 192, 224])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_no_real_chip_has_padding_when_it_is_enlarged(side, mode):
    """EuroSAT's chips repeat their first row and their first column."""
    spec = make_spec(unit="dn", bands=REAL_BANDS)
    for path in sorted(FOLDER.rglob("*_1.tif")):
        chip = torch.from_numpy(read_chip(path, spec))[None]
        larger = functional.interpolate(chip, size=(side, side), mode=mode)[0].numpy()
        of_bands = (partial(measure, bands=REAL_BANDS) for measure in (measure_padding, measure_flat_edge))
        for measure in (measure_repeated_edge, *of_bands):
            assert measure(larger)[1] <= 0.01, (path.name, measure(larger))
