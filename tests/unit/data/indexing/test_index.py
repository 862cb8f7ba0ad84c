"""Reading, checking and indexing chips: on tiny GeoTIFFs written here, and on real ones where they are at hand."""

from __future__ import annotations

import itertools
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from pyproj import Transformer
from rasterio.warp import transform

from helpers.chips import BANDS, SIDE, make_spec, pixels, write_tif
from helpers.real_chips import FOLDER, needs_real_chips
from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_files import read_chip
from terralucas.data.index_file import read_index, write_index
from terralucas.data.indexing.index import index_chips
from terralucas.errors import StudyError

# Some chips are written without a place on Earth on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

IDS = {f"4592{2200 + 2 * step}": "12"[step % 2] for step in range(8)}
FIRST = "45922200"
# Eurostat's missing value, latitude and longitude swapped, and good coordinates of the chips of `write_tif`.
_OF_POINT = Transformer.from_crs(3035, 4326, always_xy=True).transform
PLACES = [(88.888888, 88.888888), (43.34, 13.334)] + [
    _OF_POINT(1000 * int(name[:4]), 1000 * int(name[4:])) for name in list(IDS)[2:]
]


def chip_path(root: Path, point_id: str = FIRST) -> Path:
    return root / "chips" / IDS[point_id] / f"{point_id}.tif"


@pytest.fixture
def root(tmp_path) -> Path:
    """Eight good chips of two classes in the LUCAS layout."""
    for seed, name in enumerate(IDS):
        write_tif(chip_path(tmp_path, name), pixels(seed))
    rows = "".join(f"{name},{code}\n" for name, code in IDS.items())
    (tmp_path / "chips/labels.csv").write_text("Point_ID,STR18\n" + rows, encoding="utf-8")
    return tmp_path


def index(root: Path, *, min_chips_per_class: int = 2, threads: int = 2, progress: bool = False, **changes):
    options = {"min_chips_per_class": min_chips_per_class, "threads": threads, "progress": progress}
    return index_chips(root, make_spec(**changes), **options)


# What comes out of good data.


def test_index_of_good_chips(root):
    table, report = index(root)
    assert list(table.point_id) == list(IDS)
    assert list(table.label) == [0, 1] * 4
    assert table.label.dtype == np.int64
    assert list(table.class_code[:2]) == ["1", "2"]
    assert table.class_name[1] == "Grass, 'dry' & öde"
    assert table.file[0] == f"chips/1/{FIRST}.tif"
    assert (table.easting_m[0], table.northing_m[0]) == (4592000.0, 2200000.0)
    assert (table.height[0], table.width[0], table.nodata_fraction[0]) == (SIDE, SIDE, 0.0)
    assert (report["n_found"], report["n_valid"], report["n_dropped"], report["dropped"]) == (8, 8, 0, [])
    assert (report["chip_size_px"], report["class_counts"]) == (SIDE, {"1": 4, "2": 4})


def test_moments_agree_with_numpy_and_merge_to_those_of_all_pixels(root):
    holes = pixels(0)
    holes[2, :5] = np.nan
    holes[:, 9, 9] = np.inf
    write_tif(chip_path(root), holes)
    table, _ = index(root)
    stack = np.stack([read_chip(root / file, make_spec()) for file in table.file]).astype(np.float64)
    for row, chip in zip(table.itertuples(), stack, strict=True):
        for band in range(6):
            valid = chip[band][np.isfinite(chip[band])]
            assert row.valid_pixels[band] == valid.size
            assert row.band_mean[band] == pytest.approx(valid.mean(), rel=1e-12)
            assert row.band_m2[band] == pytest.approx(valid.var() * valid.size, rel=1e-10)
    assert table.nodata_fraction[0] == pytest.approx((5 * SIDE + 6) / holes.size)

    counts, means, squares = (np.stack(table[name]) for name in ("valid_pixels", "band_mean", "band_m2"))
    mean = (counts * means).sum(axis=0) / counts.sum(axis=0)
    variance = (squares + counts * (means - mean) ** 2).sum(axis=0) / counts.sum(axis=0)
    np.testing.assert_allclose(mean, np.nanmean(stack, axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(variance, np.nanvar(stack, axis=(0, 2, 3)), rtol=1e-10)


def test_result_does_not_depend_on_threads_and_progress(root, capfd):
    one, report_one = index(root, threads=1)
    many, report_many = index(root, threads=4, progress=True)
    pd.testing.assert_frame_equal(one, many)
    assert report_one == report_many
    captured = capfd.readouterr()
    assert "Checking chips: 100%" in captured.err
    assert captured.out == ""


def test_fingerprint_follows_pixels_and_labels_but_not_times(root):
    before = index(root)[1]["data_fingerprint"]
    os.utime(chip_path(root), (1, 1))
    assert index(root)[1]["data_fingerprint"] == before
    changed = pixels(0)
    changed[0, 0, 0] += 0.01
    write_tif(chip_path(root), changed)
    assert index(root)[1]["data_fingerprint"] != before
    write_tif(chip_path(root), pixels(0))
    assert index(root)[1]["data_fingerprint"] == before
    swapped = [{"code": 2, "name": "Grass"}, {"code": 1, "name": "Arable lands"}]
    assert index(root, classes=swapped)[1]["data_fingerprint"] != before


def test_index_survives_writing_and_reading(root, tmp_path):
    table, report = index(root)
    parquet, summary = tmp_path / "out/chips.parquet", tmp_path / "out/report.json"
    write_index(table, report, parquet, summary)
    pd.testing.assert_frame_equal(read_index(parquet), table)
    assert json.loads(summary.read_text(encoding="utf-8")) == report
    assert sorted(path.name for path in parquet.parent.iterdir()) == ["chips.parquet", "report.json"]


def test_index_of_another_make_is_refused(tmp_path):
    pd.DataFrame({"point_id": ["a"]}).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(StudyError, match="is not what the study wrote") as error:
        read_index(tmp_path / "other.parquet")
    assert error.value.found.startswith("no column label, class_code")
    with pytest.raises(StudyError, match="is damaged, or is not what the study wrote"):
        read_index(tmp_path / "broken.parquet")


def test_chips_without_a_place_on_earth_are_indexed(root):
    write_tif(chip_path(root), pixels(0), crs=None, transform=None)
    assert index(root)[1]["n_valid"] == 8


def test_dn_are_scaled_to_reflectance(root):
    dn = np.round(pixels(0) * 10_000).astype(np.uint16)
    values = read_chip(write_tif(root / "dn.tif", dn), make_spec(unit="dn"))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, dn / 10_000, rtol=1e-6)


def test_every_kind_of_missing_value_becomes_nan(root):
    values = pixels(0).astype(np.float64)
    values[0, 0, :6] = [np.nan, np.inf, -np.inf, -9999, -1, 1e300]
    path = write_tif(root / "holes.tif", values, nodata=-9999)
    read = read_chip(path, make_spec(nodata=-1))
    assert np.isnan(read[0, 0, :6]).all()
    assert np.isnan(read).sum() == 6
    np.testing.assert_allclose(read[1:], values[1:], rtol=1e-6)


def test_nodata_of_integers_and_masks_inside_the_file(root):
    dn = np.full((6, SIDE, SIDE), 1200, dtype=np.uint16)
    dn[3, 4, 5] = 0
    mask = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    mask[7, 8] = 0
    read = read_chip(write_tif(root / "zero.tif", dn, nodata=0), make_spec(unit="dn", nodata=-9999))
    assert list(zip(*np.nonzero(np.isnan(read)), strict=True)) == [(3, 4, 5)]
    read = read_chip(write_tif(root / "masked.tif", dn, mask=mask), make_spec(unit="dn"))
    assert np.isnan(read[:, 7, 8]).all()
    assert np.isnan(read).sum() == 6


def test_clouds_and_dark_water_are_no_reason_to_refuse(root):
    values = pixels(0)
    values[:, :8] = 1.6
    values[3:, 20:] = -0.05
    values[0, 0, 0] = 7.0
    write_tif(chip_path(root), values)
    assert index(root)[1]["n_valid"] == 8


def test_expected_size_is_the_one_most_chips_have(root):
    for seed, name in enumerate(list(IDS)[:6]):
        write_tif(chip_path(root, name), pixels(seed, (6, 48, 48)))
    _, report = index(root, on_invalid="drop", min_chips_per_class=1)
    assert report["chip_size_px"] == 48
    assert report["problem_counts"] == {"size": 2}


# One bad input each: the message names the chip, what was found, and what was expected.


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip(path: Path) -> None:
    write_tif(path, np.round(pixels(0), 1), compress="deflate")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = b"\xff" * 64
    path.write_bytes(data)


def filled(value: float, dtype: str = "float32", region: tuple = (...,)):
    values = pixels(0).astype(dtype)
    values[region] = value
    return tif(values)


def tif(values: np.ndarray, **profile):
    return lambda path: write_tif(path, values, **profile)


BAD_CHIPS = {
    "empty file": (partial(Path.write_bytes, data=b""), ["unreadable", "empty (0 bytes)", "GeoTIFF"]),
    "text": (partial(Path.write_bytes, data=b"<html>quota exceeded"), ["unreadable", "a web page"]),
    "a PNG": (tif(np.ones((3, 32, 32), "uint8"), driver="PNG", crs=None), ["unreadable", "is a PNG picture"]),
    "cut short": (truncate, ["unreadable", "cannot be decoded", "files may be truncated"]),
    "garbled": (flip, ["unreadable", "cannot be decoded"]),
    "a band too few": (tif(pixels(0, (5, 32, 32))), ["band_count", "5 band(s)", "expected 6 (RED, GREEN, BLUE"]),
    "complex numbers": (tif(pixels(0).astype("complex64")), ["dtype", "complex64", "real numbers"]),
    "a scene": (tif(np.zeros((6, 16, 5000), "uint8")), ["size", "16 x 5000 px", "at most 1024"]),
    "not square": (tif(pixels(0, (6, 32, 48))), ["size", "32 x 48 px", "square of 32 px"]),
    "of another size": (tif(pixels(0, (6, 48, 48))), ["size", "48 x 48 px", "expected 32 x 32 px"]),
    "nothing but NaN": (filled(np.nan), ["missing_values", "no valid value in any band"]),
    "nothing but nodata": (filled(-1.0), ["missing_values", "no valid value in any band"]),
    "a band of NaN": (filled(np.nan, region=(4,)), ["missing_values", "no valid value in band SWIR_1"]),
    "DN as reflectance": (tif((pixels(0) * 10_000).astype("uint16")), ["value_range", "100% of", "dataset.unit: dn"]),
    "8-bit values": (tif((pixels(0) * 255).astype("uint8")), ["value_range", "outside -0.2..2", "percent or 8-bit"]),
    "undeclared nodata": (filled(-9999, region=(0, slice(9))), ["value_range", "5% of", "dataset.nodata: -9999"]),
    "float32 nodata": (filled(-3.4028235e38, region=(0, slice(9))), ["value_range", "nodata: -3.40282347e+38"]),
    "a few wild values": (filled(400, region=(0, slice(9))), ["value_range", "5% of", "may be damaged"]),
    "one value": (filled(0.0), ["constant", "the value 0 everywhere"]),
}


@pytest.mark.parametrize("case", BAD_CHIPS)
def test_bad_chip_is_named_and_explained(root, case):
    spoil, essentials = BAD_CHIPS[case]
    spoil(chip_path(root))
    with pytest.raises(StudyError) as caught:
        index(root, nodata=-1)
    message = str(caught.value)
    assert "1 of 8 chips of dataset 'tiny' cannot be used" in message
    assert f"{FIRST} (chips/1/{FIRST}.tif)" in message
    assert "on_invalid: drop" in caught.value.remedy
    for words in essentials:
        assert words in message

    table, report = index(root, on_invalid="drop", nodata=-1)
    assert FIRST not in set(table.point_id)
    assert (report["n_found"], report["n_valid"], report["n_dropped"]) == (8, 7, 1)
    assert report["problem_counts"] == {essentials[0]: 1}
    assert report["dropped"][0]["point_id"] == FIRST


def test_files_of_one_id_count_as_several_chips(tmp_path):
    """Folders train/<class>/<n>.tif and test/<class>/<n>.tif have two files of one name."""
    for part, numbers in (("train", range(1, 8)), ("test", range(1, 4))):
        for label, number in itertools.product((1, 2), numbers):
            write_tif(tmp_path / part / str(label) / f"{label}_{number}.tif", pixels(100 * label + number + len(part)))
    with pytest.raises(StudyError, match=r"12 of 20 chips of .* more than half"):
        index(tmp_path, layout={"labels": "folders"}, point_ids="none", on_invalid="drop")
    for path in (tmp_path / "test").glob("*/*_3.tif"):
        path.unlink()
    for path in (tmp_path / "train").glob("*/*_2.tif"):
        path.unlink()
    _, report = index(tmp_path, layout={"labels": "folders"}, point_ids="none", on_invalid="drop")
    assert (report["n_found"], report["n_valid"], report["n_dropped"]) == (16, 12, 4)
    assert report["problem_counts"] == {"duplicate_file": 4}


@pytest.mark.parametrize("lost", [1, 3])
def test_rows_without_an_id_and_their_files_count_once(root, lost):
    table = root / "chips/labels.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    for row in range(1, 1 + lost):
        lines[row] = "," + lines[row].split(",")[1]
    table.write_text("\n".join(lines), encoding="utf-8")
    _, report = index(root, on_invalid="drop")
    assert (report["n_found"], report["n_valid"], report["n_dropped"]) == (8, 8 - lost, lost)


def test_too_bright_dn(root):
    for seed, name in enumerate(IDS):
        write_tif(chip_path(root, name), (pixels(seed) * 10_000).astype(np.uint16))
    assert index(root, unit="dn")[1]["n_valid"] == 8
    filled(65535, "uint16", region=(slice(2),))(chip_path(root))
    with pytest.raises(StudyError, match=r"dataset\.nodata: 65535"):
        index(root, unit="dn")


@pytest.mark.parametrize(
    ("changes", "essentials"),
    [
        ({"unit": "dn"}, ["values of 0.4999", "set dataset.unit: reflectance"]),
        ({"chip_size_px": 224}, ["32 x 32 px", "expected 224 x 224 px"]),
        ({"bands": BANDS[:3]}, ["has 6 band(s)", "expected 3 (RED, GREEN, BLUE)"]),
        ({"classes": [{"code": 5, "name": "Shrubs"}]}, ["8 x unknown_label", "class codes 5"]),
    ],
)
def test_what_is_wrong_with_every_chip_stops_the_study_even_with_drop(root, changes, essentials):
    with pytest.raises(StudyError, match=r"8 of 8 chips .* more than half") as caught:
        index(root, on_invalid="drop", **changes)
    assert "on_invalid" not in caught.value.remedy
    for words in essentials:
        assert words in str(caught.value)


def test_chips_of_classes_that_the_study_does_not_have_may_be_most(tmp_path):
    for number in range(40):
        write_tif(tmp_path / f"{number % 10}" / f"{number}x.tif", pixels(number))
    classes = [{"code": code, "name": f"Class {code}"} for code in range(3)]
    options = {"layout": {"labels": "folders"}, "point_ids": "none", "classes": classes}
    _, report = index(tmp_path, on_invalid="drop", **options)
    assert (report["n_valid"], report["problem_counts"]) == (12, {"unknown_label": 28})
    # A slip in the name of a class is found, because no chip of this class is left.
    with pytest.raises(StudyError, match="too few chips of 1 class") as caught:
        index(tmp_path, on_invalid="drop", **options | {"classes": [*classes, {"code": "none", "name": "Nine"}]})
    assert "28 x unknown_label" in caught.value.found
    # Other problems of most of the study's own chips stop it as before.
    for path in [*tmp_path.glob("0/*.tif"), *tmp_path.glob("1/*.tif")]:
        write_tif(path, pixels(0, (6, 16, 16)))
    with pytest.raises(StudyError, match=r"36 of 40 chips .* more than half"):
        index(tmp_path, on_invalid="drop", chip_size_px=32, **options)


def test_sides_that_are_no_multiple_of_the_patch_stop_the_study(root):
    for seed, name in enumerate(IDS):
        write_tif(chip_path(root, name), pixels(seed, (6, 40, 40)))
    with pytest.raises(StudyError, match=r"8 of 8 chips .* more than half") as caught:
        index(root, on_invalid="drop")
    assert "is 40 x 40 px" in str(caught.value)
    assert "multiples of 16 px" in str(caught.value)


def test_message_counts_by_kind_and_shows_some_of_each_kind(root):
    for step in range(30):
        write_tif(root / f"chips/1/unlisted {step}.tif", pixels(step, (6, 1, 1)))
    truncate(chip_path(root))
    with pytest.raises(StudyError) as caught:
        index(root)
    lines = caught.value.found.splitlines()
    assert lines[0] == "30 x file_without_label, 1 x unreadable"
    assert len(lines) <= 22
    assert any(FIRST in line for line in lines)
    assert lines[-1].strip() == "... and 20 more"


def test_problems_of_files_and_labels_are_dropped_too(root):
    chip_path(root).unlink()
    write_tif(root / "chips/2/45999999.tif", pixels(9))
    table, report = index(root, on_invalid="drop")
    assert len(table) == 7
    assert report["problem_counts"] == {"label_without_file": 1, "file_without_label": 1}
    # One chip, whose file has a wrong name.
    assert (report["n_found"], report["n_dropped"]) == (8, 1)


def test_a_chip_without_label_and_a_row_without_file_are_two(root):
    """Each of these rows is that of one chip."""
    rows = [f"{name},{code if place > 2 else ''}" for place, (name, code) in enumerate(IDS.items())]
    (root / "chips/labels.csv").write_text("\n".join(["Point_ID,STR18", *rows]), encoding="utf-8")
    for name in list(IDS)[3:5]:
        chip_path(root, name).unlink()
    with pytest.raises(StudyError, match="5 of 8 chips") as caught:
        index(root)
    assert caught.value.found.splitlines()[0] == "3 x file_without_label, 2 x label_without_file"


def test_a_table_may_have_rows_of_many_more_points(root):
    """As that of a country beside the chips of a region."""
    with (root / "chips/labels.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"\n{46_000_000 + 2 * number},1" for number in range(50))
    frame, report = index(root, on_invalid="drop")
    assert (len(frame), report["n_found"], report["problem_counts"]) == (8, 58, {"label_without_file": 50})
    with pytest.raises(StudyError, match="50 of 58 chips"):
        index(root)


def test_chips_with_wrong_names_count_once(root):
    for file in sorted((root / "chips").rglob("*.tif"))[1::3]:
        file.rename(file.with_name(f"x{file.name}"))
    _, report = index(root, on_invalid="drop")
    assert report["problem_counts"] == {"label_without_file": 3, "file_without_label": 3}
    assert (report["n_found"], report["n_dropped"]) == (8, 3)
    with pytest.raises(StudyError, match="3 of 8 chips"):
        index(root)


def test_class_left_with_too_few_chips(root):
    truncate(chip_path(root))
    truncate(chip_path(root, "45922204"))
    with pytest.raises(StudyError, match="too few chips of 1 class") as caught:
        index(root, on_invalid="drop", min_chips_per_class=3)
    first, example = caught.value.found.splitlines()
    assert first == "1 Arable lands: 2, after 2 chips were dropped: 2 x unreadable"
    assert example.strip().startswith("45922200 (chips/1/45922200.tif): unreadable: cannot be decoded")
    assert "at least 3" in caught.value.expected
    # Without the second half, the chips of the class would be the next error: their label is no class.
    assert "take the class out of dataset.classes and set dataset.on_invalid: drop" in caught.value.remedy
    assert "folds" not in caught.value.remedy, "any number of folds needs three chips"
    with pytest.raises(StudyError, match="too few chips of 2 class") as caught:
        index(root, on_invalid="drop", min_chips_per_class=5)
    assert "folds" not in caught.value.remedy


def test_a_class_whose_files_are_no_chips_is_told_with_them(root):
    for path in root.glob("chips/1/*.tif"):
        path.rename(path.with_suffix(".jp2"))
    with pytest.raises(StudyError, match="too few chips") as caught:
        index(root, on_invalid="drop")
    assert caught.value.found.endswith("; left out 4 x .jp2: only .tif and .tiff are read as chips")


@pytest.mark.parametrize("minimum", [4, 5])
def test_the_number_of_folds_that_a_class_allows_is_advised(root, minimum):
    """Two folds need four chips of a class, and three folds three."""
    truncate(chip_path(root))
    with pytest.raises(StudyError, match="too few chips") as caught:
        index(root, on_invalid="drop", min_chips_per_class=minimum)
    assert "set split.folds to 3" in caught.value.remedy


def test_class_without_any_chip(root):
    classes = [{"code": 1, "name": "Arable"}, {"code": 2, "name": "Grass"}, {"code": 9, "name": "Coastal waters"}]
    with pytest.raises(StudyError) as caught:
        index(root, classes=classes, min_chips_per_class=0)
    assert caught.value.found == "9 Coastal waters: 0"


def test_read_chip_names_the_file(root):
    truncate(chip_path(root))
    with pytest.raises(ChipError, match=f"{FIRST}.tif cannot be decoded") as caught:
        read_chip(chip_path(root), make_spec())
    assert caught.value.kind == "unreadable"
    with pytest.raises(ChipError, match=r"nowhere.tif cannot be read \(No such file"):
        read_chip(root / "nowhere.tif", make_spec())


# Real Sentinel-2 chips.

LISTED = {"labels": "table", "table": "labels.csv", "label_column": "class", "file_column": "file"}


def index_real(**changes):
    names = sorted({path.parent.name for path in FOLDER.glob("*/*.tif")})
    spec = {
        "layout": LISTED | {"x_column": "lon", "y_column": "lat"},
        "classes": [{"code": name, "name": name} for name in names],
        "bands": ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"],
        "unit": "dn",
        "point_ids": "none",
    }
    return index(FOLDER, min_chips_per_class=10, **spec | changes)


@needs_real_chips
def test_real_chips_are_all_valid_and_placed():
    table, report = index_real()
    assert (report["n_valid"], report["n_dropped"], report["chip_size_px"]) == (100, 0, 64)
    assert set(report["class_counts"].values()) == {10}
    means = np.stack(table.band_mean)
    assert ((means > 0.001) & (means < 0.6)).all()
    # Every file is georeferenced: its own centre tells whether longitude and latitude were taken the right way round.
    for row in table.itertuples():
        with rasterio.open(FOLDER / row.file) as source:
            x, y = source.xy(31.5, 31.5)
            (easting,), (northing,) = transform(source.crs, "EPSG:3035", [x], [y])
        assert np.hypot(row.easting_m - easting, row.northing_m - northing) < 200


@needs_real_chips
def test_real_chips_with_folders_as_labels():
    """Without columns of coordinates, the georeference of the files says where the chips are."""
    table, report = index_real(layout={"labels": "folders"})
    assert len(table) == 100
    assert report["places"] == {"from": "files", "chips": 100}
    columns = ["easting_m", "northing_m"]
    placed = index_real()[0].set_index("file")[columns].loc[table.file]
    assert np.hypot(*(table[columns].to_numpy() - placed.to_numpy()).T).max() < 200


@needs_real_chips
def test_real_dn_declared_as_reflectance():
    with pytest.raises(StudyError, match="100 of 100") as caught:
        index_real(unit="reflectance")
    assert "set dataset.unit: dn" in caught.value.found


def test_chips_that_say_that_they_are_simulated_are_counted(root):
    assert index(root)[1]["n_simulated"] == 0
    for name in list(IDS)[:2]:
        (path,) = root.glob(f"chips/*/{name}.tif")
        with rasterio.open(path, "r+") as chip:
            chip.update_tags(TERRALUCAS_SIMULATED="yes")
    assert index(root)[1]["n_simulated"] == 2


def test_coordinates_outside_a_chip_drop_it_and_are_reported(root):
    """Without LUCAS ids, the chips' own georeference tells which coordinates are wrong."""
    rows = [f"{name},{code},{x},{y}" for (name, code), (x, y) in zip(IDS.items(), PLACES, strict=True)]
    (root / "chips/labels.csv").write_text("Point_ID,STR18,lon,lat\n" + "\n".join(rows), encoding="utf-8")
    layout = {"labels": "table", "table": "labels.csv", "id_column": "Point_ID", "label_column": "STR18"}
    layout |= {"x_column": "lon", "y_column": "lat"}
    table, report = index(root, layout=layout, point_ids="none", on_invalid="drop")
    assert list(table.point_id) == list(IDS)[2:]
    assert report["problem_counts"] == {"bad_coordinates": 2}
    messages = {problem["point_id"]: problem["message"] for problem in report["dropped"]}
    assert "no value" in messages[FIRST]
    assert "km outside the chip" in messages[list(IDS)[1]]


def test_a_table_that_contradicts_the_class_folders_of_the_files_it_names_counts_and_is_said(tmp_path):
    rows = ["file,class"]
    for number in range(4):
        write_tif(tmp_path / f"{1 + number % 2}/{number}x.tif", pixels(number))
        rows.append(f"{1 + number % 2}/{number}x.tif,{2 - number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    layout = {"labels": "table", "table": "labels.csv", "id_column": "file", "file_column": "file"}
    table, report = index(tmp_path, layout=layout | {"label_column": "class"}, point_ids="none")
    assert list(table.class_code) == ["2", "1", "2", "1"]
    (notice,) = report["notices"]
    assert notice.startswith("4 of 4 chips are in a folder with the name of another class than the labels table gives")


def test_a_georeference_at_0_0_is_none(tmp_path):
    for number in range(4):
        place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 0, 0, -10, 0)}
        write_tif(tmp_path / f"{1 + number % 2}/{number}x.tif", pixels(number), **place)
    table, report = index(tmp_path, layout={"labels": "folders"}, point_ids="none")
    assert report["places"] == {"from": "files", "chips": 0}
    assert table.easting_m.isna().all()
