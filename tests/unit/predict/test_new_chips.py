"""New chips: which files are found, and how their bands, size and place are read."""

import zipfile

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio

from helpers.chips import BANDS, SIDE, make_spec, pixels, write_tif
from terralucas.errors import StudyError
from terralucas.predict.new_chips import ChipReader, NewChip, check_sample, find_new_chips

SENTINEL = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"]
OF_BANDS = [SENTINEL.index(name) for name in ("B4", "B3", "B2", "B8", "B11", "B12")]


def write_described(path, values, descriptions):
    write_tif(path, values)
    with rasterio.open(path, "r+") as target:
        target.descriptions = descriptions
    return NewChip(path.stem, str(path))


@pytest.fixture
def reader():
    return ChipReader(make_spec(), SIDE)


def test_a_folder_an_archive_a_table_and_a_file_name_the_same_chips(tmp_path):
    for name in ("b/2.tif", "a/1.tif", "b/notes.txt", ".hidden/3.tif"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write_tif(tmp_path / "in" / name, pixels(0)) if name.endswith(".tif") else (tmp_path / "in" / name).touch()
    of_folder = find_new_chips(tmp_path / "in", tmp_path / "x")
    assert [(chip.id, chip.path) for chip in of_folder] == [
        ("a/1", str(tmp_path / "in/a/1.tif")),
        ("b/2", str(tmp_path / "in/b/2.tif")),
    ]
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for chip in of_folder:
            archive.write(chip.path, f"{chip.id}.tif")
    assert [chip.id for chip in find_new_chips(tmp_path / "in.zip", tmp_path / "x")] == ["a/1", "b/2"]
    table = pd.DataFrame({"path": ["in/b/2.tif", "in/a/1.tif"], "id": ["two", "one"]})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    for suffix in ("csv", "parquet"):
        found = find_new_chips(tmp_path / f"t.{suffix}", tmp_path / "x")
        assert found == [NewChip("two", of_folder[1].path), NewChip("one", of_folder[0].path)]
    assert find_new_chips(tmp_path / "in/a/1.tif", tmp_path / "x") == [NewChip("1", of_folder[0].path)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nothing", None, "There are no chips to predict"),
        ("t.csv", "file\na.tif\n", "names no paths"),
        ("t.csv", "path,id\na.tif,1\nb.tif,1\n", "'1' twice"),
        ("t.csv", "path,id\na.tif,1\n,2\n", "without a path"),
        ("t.csv", "", "cannot be read"),
        ("t.parquet", "no parquet", "cannot be read"),
        ("x.zip", "no archive", "x.zip"),
        ("empty/", None, "There are no chips in"),
    ],
)
def test_what_names_no_chips_is_an_error(tmp_path, name, content, words):
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(StudyError, match="(?s)" + words) as error:
        find_new_chips(path, tmp_path / "unpacked")
    assert error.value.remedy


def test_bands_are_found_by_their_descriptions_in_any_order_and_among_others(tmp_path, reader):
    values = pixels(1)
    expected = reader(write_described(tmp_path / "plain.tif", values, [None] * 6)).values
    assert np.array_equal(expected, values)
    turned = write_described(tmp_path / "turned.tif", values[::-1], BANDS[::-1])
    assert np.array_equal(reader(turned).values, values)
    twelve = pixels(2, (12, SIDE, SIDE))
    twelve[OF_BANDS] = values
    assert np.array_equal(reader(write_described(tmp_path / "twelve.tif", twelve, SENTINEL)).values, values)


def test_descriptions_that_the_study_calls_wrong_do_not_count(tmp_path):
    reader = ChipReader(make_spec(checks={"band_descriptions": False}), SIDE)
    values = pixels(1)
    assert np.array_equal(reader(write_described(tmp_path / "a.tif", values, BANDS[::-1])).values, values)


@pytest.mark.parametrize(
    ("values", "descriptions", "kind"),
    [
        (pixels(1, (4, SIDE, SIDE)), ["B4", "B3", "B2", "B8"], "band_count"),
        (pixels(1, (12, SIDE, SIDE)), [None] * 12, "band_count"),
        (pixels(1), ["B2", "B3", "B4", "B5", "B6", "B7"], "band_descriptions"),
        (pixels(1, (6, SIDE - 2, SIDE)), BANDS, "size"),
        (pixels(1, (6, SIDE + 1, SIDE + 1)), BANDS, "size"),
        (np.full((6, SIDE, SIDE), np.nan, np.float32), BANDS, "missing_values"),
    ],
)
def test_a_chip_that_cannot_be_used_comes_back_with_its_problem(tmp_path, reader, values, descriptions, kind):
    read = reader(write_described(tmp_path / "a.tif", values, descriptions))
    assert read.values is None
    assert read.problem.kind == kind


@pytest.mark.parametrize("content", [b"", b"no tiff", None])
def test_a_file_that_is_no_chip_comes_back_with_its_problem(tmp_path, reader, content):
    path = tmp_path / "a.tif"
    if content is not None:
        path.write_bytes(content)
    assert reader(NewChip("a", str(path))).problem.kind == "unreadable"


def test_a_larger_chip_is_cropped_to_its_centre(tmp_path, reader):
    values = pixels(3, (6, SIDE + 4, SIDE + 10))
    read = reader(write_described(tmp_path / "a.tif", values, BANDS))
    assert read.is_cropped
    assert np.array_equal(read.values, values[:, 2:-2, 5:-5])


def test_the_place_is_the_centre_of_the_chip_or_of_its_lucas_id(tmp_path, reader):
    read = reader(write_described(tmp_path / "a.tif", pixels(1), BANDS))
    # helpers.chips writes 32 pixels of 10 m from the corner 4592000, 2254000 of EPSG:3035.
    to_wgs84 = pyproj.Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True).transform
    assert read.place == pytest.approx(to_wgs84(4_592_160, 2_253_840), abs=1e-7)
    write_tif(tmp_path / "45922254.tif", pixels(1), crs=None, transform=None)
    by_id = reader(NewChip("45922254", str(tmp_path / "45922254.tif")))
    assert by_id.place == pytest.approx(to_wgs84(4_592_000, 2_254_000), abs=1e-7), "the id says km 4592, 2254"


@pytest.mark.parametrize("crs", ['LOCAL_CS["a drawing",UNIT["metre",1]]', None])
def test_a_chip_whose_coordinates_are_no_place_on_earth_has_no_place(tmp_path, reader, crs):
    write_tif(tmp_path / "a.tif", pixels(1), crs=crs)
    read = reader(NewChip("a", str(tmp_path / "a.tif")))
    assert read.problem is None
    assert read.place is None


def test_only_the_bands_of_the_study_are_decoded(tmp_path, reader):
    """Bands that the study does not have may be damaged, empty, or of another scale."""
    values, others = pixels(1), np.full((2, SIDE, SIDE), np.nan, np.float32)
    path = tmp_path / "a.tif"
    read = reader(write_described(path, np.concatenate([others, values[::-1]]), ["B10", "QA60", *BANDS[::-1]]))
    assert np.array_equal(read.values, values)
    # A mask of each band, as GDAL writes them beside a file. Of the study's bands, only the file's third has a hole.
    masks = np.full((8, SIDE, SIDE), 255, np.uint8)
    masks[:2] = 0
    masks[2, :2] = 0
    write_tif(tmp_path / "m.tif", masks, crs=None, transform=None)
    with rasterio.open(tmp_path / "m.tif", "r+") as target:
        target.update_tags(**{f"INTERNAL_MASK_FLAGS_{band}": "0" for band in range(1, 9)})
    (tmp_path / "m.tif").rename(tmp_path / "a.tif.msk")
    holes = np.isnan(reader(NewChip("a", str(path))).values).sum(axis=(1, 2))
    assert holes.tolist() == [0, 0, 0, 0, 0, 2 * SIDE], "BANDS[-1] is the third band of the file"


def test_the_scale_of_the_sample_is_checked(tmp_path, reader):
    chips = [write_described(tmp_path / f"{n}.tif", pixels(n), BANDS) for n in range(5)]
    assert check_sample(chips, reader) == {"chips_looked_at": 5, "problems": {}, "cropped": 0}
    dn = [write_described(tmp_path / f"dn{n}.tif", pixels(n) * 10_000, BANDS) for n in range(5)]
    with pytest.raises(StudyError):
        check_sample(dn, reader)


def test_more_bad_chips_than_good_ones_stop_the_prediction(tmp_path, reader):
    good = [write_described(tmp_path / f"{n}.tif", pixels(n), BANDS) for n in range(2)]
    bad = [write_described(tmp_path / f"b{n}.tif", pixels(n, (3, SIDE, SIDE)), [None] * 3) for n in range(2)]
    assert check_sample(good + bad, reader)["problems"] == {"band_count": 2}
    with pytest.raises(StudyError, match="2 of 3 chips that were looked at cannot be used") as error:
        check_sample(good[:1] + bad, reader)
    assert "has 3 band(s)" in error.value.found
