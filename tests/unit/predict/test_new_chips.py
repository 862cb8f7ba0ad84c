"""New chips: which files are found, and how their bands, size and place are read."""

import inspect
import json
import os
import re
import shutil
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import rasterio
from rasterio import Affine
from rasterio.enums import ColorInterp

from helpers.chips import BANDS, SIDE, make_spec, pixels, write_tif, write_with_alpha
from helpers.scenes import TRAINING, make_selected
from terralucas.data.chip_problems import ChipError
from terralucas.data.chips import chip_checks as chip_checks_module
from terralucas.data.chips import chip_content as chip_content_module
from terralucas.data.chips import chip_files as chip_files_module
from terralucas.data.chips import reflectance as reflectance_module
from terralucas.data.discovery.chip_tables import read_chip_table
from terralucas.data.rasters.image_files import with_sidecars
from terralucas.data.rewrite.__main__ import main as rewrite
from terralucas.errors import StudyError
from terralucas.predict import bands as bands_module
from terralucas.predict import new_chips as new_chips_module
from terralucas.predict.new_chips import ChipReader, NewChip, check_sample, find_new_chips
from terralucas.predict.options import PredictOptions
from terralucas.predict.plan import make_plan
from terralucas.predict.remedies import for_new_files
from terralucas.study.new_chip_files import files_of_new_chips, plan_name, remove_other_plans

PIXEL_M = 30
# The upper left corner of chips of this size.
PLACE_30_M = {"crs": "EPSG:3035", "transform": rasterio.Affine(30, 0, 4_592_000, 0, -30, 2_254_000)}
# A place with the pixels of helpers.scenes.make_selected.
PLACE = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 600_000, 0, -10, 5_000_000)}
SENTINEL = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"]
OF_BANDS = [SENTINEL.index(name) for name in ("B4", "B3", "B2", "B8", "B11", "B12")]


def write_described(path, values, descriptions):
    write_tif(path, values, **PLACE_30_M)
    with rasterio.open(path, "r+") as target:
        target.descriptions = descriptions
    return NewChip(path.stem, str(path))


def test_names_that_are_not_known_are_said(reader, tmp_path):
    """Pixels cannot tell the order of few chips. A word that all bands have, and positions, say nothing of it."""
    for number, (names, said) in enumerate(
        [
            (["rauður", "grænn", "blár", "nir", "swir1", "swir2"], "(rauður, grænn, blár)"),
            ([f"Band {place}" for place in range(1, 7)], None),
            (["reflectance"] * 6, None),
            ([f"lyr.{place}" for place in range(1, 7)], None),
            ([str(place) for place in range(6)], None),
            (["X4", "X3", "X2", "X8", "X11", "X12"], "(X4, X3, X2, X8, X11, X12)"),
            ([None] * 6, None),
        ]
    ):
        chip = write_described(tmp_path / f"{number}.tif", pixels(number), names)
        found = [text for text in check_sample([chip], reader, TRAINING)["warnings"] if "names in their files" in text]
        assert len(found) == (said is not None)
        assert all(said in text for text in found)


@pytest.fixture
def reader():
    return ChipReader(make_spec(), SIDE, PIXEL_M)


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
    table.set_index("id").to_parquet(tmp_path / "t.parquet")
    assert find_new_chips(tmp_path / "t.parquet", tmp_path / "x") == found, "the ids of an index count"
    for ids in ([1, 2], [2, 1], [7, 3], [40, 50]):
        # Of those with equal steps, pandas writes no column.
        table.assign(id=ids[: len(table)]).set_index("id").to_parquet(tmp_path / "t.parquet")
        named = [chip.id for chip in find_new_chips(tmp_path / "t.parquet", tmp_path / "x")]
        assert named == list(map(str, ids[: len(table)]))
    table.map(str.encode).to_parquet(tmp_path / "t.parquet")
    assert find_new_chips(tmp_path / "t.parquet", tmp_path / "x") == found, "bytes are texts in UTF-8"
    rows = [pa.array([cell.encode() for cell in table[name]]) for name in ("path", "id")]
    of_one_length, in_dictionary = pa.binary(3), pa.dictionary(pa.int32(), pa.large_binary())
    for columns in ([rows[0], rows[1].cast(pa.large_binary())], [each.cast(in_dictionary) for each in rows]):
        pq.write_table(pa.table(columns, ["path", "id"]), tmp_path / "t.parquet")
        assert find_new_chips(tmp_path / "t.parquet", tmp_path / "x") == found
    ids = pa.array([b"two", b"one"], of_one_length)
    pq.write_table(pa.table([rows[0], ids], ["path", "id"]), tmp_path / "t.parquet")
    assert find_new_chips(tmp_path / "t.parquet", tmp_path / "x") == found
    pq.write_table(pa.table([rows[0], ids, ids], ["path", "id", "id"]), tmp_path / "t.parquet")
    with pytest.raises(StudyError, match="2 columns of the name id"):
        find_new_chips(tmp_path / "t.parquet", tmp_path / "x")
    table.map(lambda text: text.encode() + b"\xe9").to_parquet(tmp_path / "t.parquet")
    with pytest.raises(StudyError, match="cannot be read"):
        find_new_chips(tmp_path / "t.parquet", tmp_path / "x")
    assert find_new_chips(tmp_path / "in/a/1.tif", tmp_path / "x") == [NewChip("1", of_folder[0].path)]


def test_a_table_with_paths_of_windows_says_what_stands_between_folders(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path\nchips\\a.tif\n", encoding="utf-8")
    with pytest.raises(StudyError, match="None of the 1 chips in the table") as error:
        find_new_chips(table, tmp_path / "x")
    assert "write / between folders" in error.value.remedy


def test_a_table_whose_paths_are_wrong_says_that_they_are_relative_to_the_table(tmp_path):
    write_tif(tmp_path / "chips/a.tif", pixels(0))
    table = tmp_path / "tables" / "t.csv"
    table.parent.mkdir()
    table.write_text("path\nchips/a.tif\n", encoding="utf-8")
    with pytest.raises(StudyError, match="None of the 1 chips in the table") as error:
        find_new_chips(table, tmp_path / "x")
    assert error.value.found == f"no file {table.parent / 'chips/a.tif'}"
    assert error.value.expected == f"whole paths, or paths relative to the folder of the table, {table.parent}"
    table.write_text("path\n../chips/a.tif\ngone.tif\n", encoding="utf-8")
    assert len(find_new_chips(table, tmp_path / "x")) == 2, "one that is away is told with its id"


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_table_without_commas_is_told(tmp_path, mark, name):
    (tmp_path / "t.csv").write_text(f"id{mark}path\none{mark}a.tif\n", encoding="utf-8")
    with pytest.raises(StudyError, match="are not separated by commas") as error:
        find_new_chips(tmp_path / "t.csv", tmp_path / "x")
    assert error.value.found.startswith(f"{name} in the header")


def test_another_archive_of_the_same_name_is_unpacked_again(tmp_path):
    for number in (1, 2):
        write_tif(tmp_path / f"{number}.tif", pixels(number))
        with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
            archive.write(tmp_path / f"{number}.tif", f"chip {number}.tif")
        (chip,) = find_new_chips(tmp_path / "new.zip", tmp_path / "x")
        assert chip.id == f"chip {number}"
        assert find_new_chips(tmp_path / "new.zip", tmp_path / "x") == [chip], "the same archive is not unpacked again"
    assert len(list((tmp_path / "x").iterdir())) == 1, "what the first archive had is deleted"


def test_what_a_killed_unpacking_left_is_not_taken_for_the_archive(tmp_path, monkeypatch):
    write_tif(tmp_path / "a.tif", pixels(1))
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        archive.write(tmp_path / "a.tif", "a.tif")

    def stop(archive, target):
        target.mkdir(parents=True)
        write_tif(target / "half.tif", pixels(2))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(new_chips_module, "unpack", stop)
        find_new_chips(tmp_path / "new.zip", tmp_path / "x")
    assert [chip.id for chip in find_new_chips(tmp_path / "new.zip", tmp_path / "x")] == ["a"]


@pytest.mark.parametrize("other", ["a.TIF", "a.tiff"])
def test_two_files_of_one_id_are_an_error(tmp_path, other):
    for name in ("a.tif", other):
        write_tif(tmp_path / "in" / name, pixels(1))
    with pytest.raises(StudyError, match="have the id a") as error:
        find_new_chips(tmp_path / "in", tmp_path / "x")
    assert other in error.value.found


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nothing", None, "There are no chips to predict"),
        ("t.csv", "file\na.tif\n", "names no paths"),
        ("t.csv", "Path\na.tif\n", "names no paths"),
        ("t.csv", "ID,path\n7,a.tif\n", "has a column 'ID', which is not read as a column id"),
        ("t.csv", "MZ_NR,file\n7,a.tif\n", "a program for Windows"),
        ("t.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n", "a Git LFS pointer"),
        ("t.csv", "path,Id\na.tif,7\n", "has a column 'Id'"),
        ("t.csv", "id,path\n", "has no rows"),
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


def test_an_archive_in_an_archive_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", b"")
    with pytest.raises(StudyError, match=r"There are no chips in .*outer\.zip\.") as error:
        find_new_chips(tmp_path / "outer.zip", tmp_path / "x")
    assert error.value.found == "inner.zip (1 x .zip)"
    assert error.value.remedy.startswith("unpack the archive, and name the folder or archive inside")


def test_bands_are_found_by_their_descriptions_in_any_order_and_among_others(tmp_path, reader):
    values = pixels(1)
    expected = reader(write_described(tmp_path / "plain.tif", values, [None] * 6)).values
    assert np.array_equal(expected, values)
    turned = write_described(tmp_path / "turned.tif", values[::-1], BANDS[::-1])
    assert np.array_equal(reader(turned).values, values)
    twelve = pixels(2, (12, SIDE, SIDE))
    twelve[OF_BANDS] = values
    assert np.array_equal(reader(write_described(tmp_path / "twelve.tif", twelve, SENTINEL)).values, values)


def test_numbers_that_count_the_bands_of_a_file_name_none_and_pixels_confirm_those_that_may(tmp_path, reader):
    ten = pixels(2, (10, SIDE, SIDE))
    for layers in (["Band {}"] * 10, ["b{}"] * 10, ["Band {}"] * 9 + ["SCL"]):
        described = [layer.format(number) for number, layer in enumerate(layers, 1)]
        assert reader(write_described(tmp_path / "a.tif", ten, described)).problem.kind == "band_count"
    # The bands of the study have other numbers than their positions in the file, so that these names are certain.
    named = [name for name in SENTINEL if name != "B1"]
    assert reader(write_described(tmp_path / "a.tif", pixels(2, (11, SIDE, SIDE)), named)).is_named
    blue = replace(reader, spec=make_spec(bands=("BLUE", "GREEN", "RED")))
    assert not blue(write_described(tmp_path / "a.tif", ten[:8], SENTINEL[:8])).is_named


def test_colours_that_contradict_the_study_are_said_and_wavelengths_find_bands(tmp_path, reader):
    values = pixels(1)
    chip = write_described(tmp_path / "a.tif", values, [None] * 6)
    with rasterio.open(chip.path, "r+") as target:
        target.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, *[ColorInterp.gray] * 3]
    assert "shows its bands as blue, green, red" in reader(chip).wrong_colours
    with rasterio.open(chip.path, "r+") as target:
        for band, wavelength in enumerate((2.19, 1.61, 0.842, 0.49, 0.56, 0.665), 1):
            target.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=wavelength)
    read = reader(chip)
    assert read.is_named
    assert read.wrong_colours is None
    assert np.array_equal(read.values, values[::-1])


@pytest.mark.parametrize("place", [0, 6])
def test_an_alpha_band_among_others_is_a_mask(tmp_path, reader, place):
    """As gdalwarp -dstalpha adds one; what lies under it is left of before."""
    values, hidden = pixels(1), np.zeros((SIDE, SIDE), dtype=bool)
    hidden[2:, :7] = True
    write_with_alpha(tmp_path / "a.tif", values, hidden, BANDS, place, **PLACE_30_M)
    expected = np.where(hidden, np.nan, values)
    assert np.array_equal(reader(NewChip("a", str(tmp_path / "a.tif"))).values, expected, equal_nan=True)


def test_descriptions_that_the_study_calls_wrong_do_not_count(tmp_path):
    reader = ChipReader(make_spec(checks={"band_descriptions": False}), SIDE, PIXEL_M)
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


@pytest.mark.parametrize("content", [b"", b"no tiff"])
def test_a_file_that_is_no_chip_comes_back_with_its_problem(tmp_path, reader, content):
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert reader(NewChip("a", str(path))).problem.kind == "unreadable"


def test_a_path_where_nothing_is_comes_back_with_advice_on_the_path(tmp_path, reader):
    problem = reader(NewChip("a", str(tmp_path / "a.tif"))).problem
    assert problem.kind == "not_a_file"
    assert problem.remedy.startswith("correct the path")


def test_a_larger_chip_is_cropped_to_its_centre(tmp_path, reader):
    values = pixels(3, (6, SIDE + 4, SIDE + 10))
    read = reader(write_described(tmp_path / "a.tif", values, BANDS))
    assert read.is_cropped
    assert np.array_equal(read.values, values[:, 2:-2, 5:-5])


HOLES = {"zeros": 0.0, "no ground": 9.0}


@pytest.mark.parametrize("hole", HOLES)
def test_only_the_middle_of_a_larger_chip_is_checked(tmp_path, reader, hole):
    """Its margin decides nothing, and is no excuse: of a large file, a small middle without data is a small share."""
    side = 9 * SIDE
    middle = slice(4 * SIDE, 5 * SIDE)
    for name in ("middle", "margin"):
        values = pixels(3, (6, side, side))
        values[:, middle if name == "middle" else slice(0, SIDE), middle] = HOLES[hole]
        if name == "middle":
            values[:, middle, 4 * SIDE] = pixels(4, (6, SIDE))
        read = reader(write_described(tmp_path / f"{name}.tif", values, BANDS))
        cut = reader(write_described(tmp_path / "cut.tif", values[:, middle, middle], BANDS))
        assert (read.problem is None) == (name == "margin")
        assert str(read.problem) == str(cut.problem)
        if name == "margin":
            assert np.array_equal(read.values, cut.values)


def test_masks_of_a_larger_chip_are_cropped_too(tmp_path, reader):
    values = pixels(3, (6, 3 * SIDE, 3 * SIDE))
    inside = np.full((1, 3 * SIDE, 3 * SIDE), 255, np.uint8)
    inside[0, SIDE, 2 * SIDE - 1] = 0
    inside[0, 0] = 0
    chip = write_described(tmp_path / "a.tif", values, BANDS)
    write_tif(tmp_path / "m.tif", inside, crs=None, transform=None)
    with rasterio.open(tmp_path / "m.tif", "r+") as target:
        target.update_tags(**{f"INTERNAL_MASK_FLAGS_{band + 1}": "2" for band in range(6)})
    (tmp_path / "m.tif").rename(tmp_path / "a.tif.msk")
    expected = values[:, SIDE:-SIDE, SIDE:-SIDE].copy()
    expected[:, 0, -1] = np.nan
    assert np.array_equal(reader(chip).values, expected, equal_nan=True)


def test_a_mask_that_metadata_beside_the_chip_name_counts(tmp_path, reader):
    """GDAL shows the colours of bands that `.aux.xml` names; a band that is alpha there is a mask."""
    values, alpha = pixels(1), np.ones((1, SIDE, SIDE), np.float32)
    alpha[0, :2] = 0
    chip = write_described(tmp_path / "a.tif", np.concatenate([values, alpha]), [*BANDS, None])
    band = '<PAMRasterBand band="7"><ColorInterp>Alpha</ColorInterp></PAMRasterBand>'
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    with rasterio.open(tmp_path / "a.tif") as source:
        assert source.colorinterp[6] == ColorInterp.alpha
    values[:, :2] = np.nan
    assert np.array_equal(reader(chip).values, values, equal_nan=True)


def test_a_chip_and_a_table_that_are_links_have_the_files_beside_the_link(tmp_path, reader):
    """As in stores of content (git-annex, DVC), where each file is a link of its own into a folder of checksums."""
    values, hidden = pixels(1), np.zeros((SIDE, SIDE), dtype=bool)
    hidden[:9] = True
    write_tif(tmp_path / "a.tif", values, **PLACE_30_M)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tmp_path / "a.tif", "r+") as target:
        target.write_mask(~hidden)
    (tmp_path / "t.csv").write_text("path\na.tif\n")
    (tmp_path / "store").mkdir()
    for number, name in enumerate(("a.tif", "a.tif.msk", "t.csv")):
        (tmp_path / name).rename(tmp_path / "store" / f"{number}")
        (tmp_path / name).symlink_to(tmp_path / "store" / f"{number}")
    expected = np.where(hidden, np.nan, values)
    for source in ("a.tif", "t.csv"):
        (chip,) = find_new_chips(tmp_path / source, tmp_path / "x")
        assert np.array_equal(reader(chip).values, expected, equal_nan=True), source


def test_a_link_without_the_mask_or_metadata_of_its_file_is_refused(tmp_path, reader):
    """As of `ln -s archive/*.tif .`: GDAL would read the chip as if it had none."""
    (tmp_path / "archive").mkdir()
    file, link = write_tif(tmp_path / "archive" / "a.tif", pixels(1), **PLACE_30_M), tmp_path / "b.tif"
    link.symlink_to(file)
    read = reader(NewChip("b", str(link)))
    assert read.problem is None
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(file, "r+") as target:
        target.write_mask(np.zeros((SIDE, SIDE), dtype=bool))
    assert reader(NewChip("b", str(link))).problem.kind == "lost_by_link"
    (tmp_path / "b.tif.msk").symlink_to(f"{file}.msk")
    assert reader(NewChip("b", str(link))).problem.kind != "lost_by_link"
    Path(f"{file}.aux.xml").write_text("<PAMDataset><PAMRasterBand band='1'/></PAMDataset>")
    assert reader(NewChip("b", str(link))).problem.kind != "lost_by_link"
    offset = "<PAMDataset><PAMRasterBand band='1'><Offset>-1000</Offset></PAMRasterBand></PAMDataset>"
    Path(f"{file}.aux.xml").write_text(offset)
    problem = reader(NewChip("b", str(link))).problem
    assert f"beside which a link to {file}.aux.xml is missing" in problem.problem


def test_a_table_that_is_a_link_says_so_where_its_chips_are_beside_the_table(tmp_path):
    (tmp_path / "set").mkdir()
    write_tif(tmp_path / "set" / "a.tif", pixels(1))
    (tmp_path / "set" / "t.csv").write_text("path\na.tif\n")
    (tmp_path / "t.csv").symlink_to(tmp_path / "set" / "t.csv")
    with pytest.raises(StudyError, match="None of the 1 chips") as error:
        find_new_chips(tmp_path / "t.csv", tmp_path / "x")
    assert f"the table is a link to {tmp_path / 'set' / 't.csv'}" in error.value.found
    assert "name the table itself" in error.value.remedy


def test_the_place_is_the_centre_of_the_chip_or_of_its_lucas_id(tmp_path, reader):
    read = reader(write_described(tmp_path / "a.tif", pixels(1), BANDS))
    # 32 pixels of 30 m from the corner 4592000, 2254000 of EPSG:3035.
    to_wgs84 = pyproj.Transformer.from_crs("EPSG:3035", "EPSG:4326", always_xy=True).transform
    assert read.place == pytest.approx(to_wgs84(4_592_480, 2_253_520), abs=1e-7)
    write_tif(tmp_path / "45922254.tif", pixels(1), crs=None, transform=None)
    by_id = reader(NewChip("45922254", str(tmp_path / "45922254.tif")))
    assert by_id.place == pytest.approx(to_wgs84(4_592_000, 2_254_000), abs=1e-7), "the id says km 4592, 2254"


def test_places_are_written_from_180_degrees_west_also_where_the_chip_counts_from_0_to_360(tmp_path, reader):
    """GeoJSON (RFC 7946) and WGS 84 count so."""
    degrees = 30 / 111_320
    write_tif(tmp_path / "a.tif", pixels(1), crs="EPSG:4326", transform=Affine(degrees, 0, 357.5, 0, -degrees, 1))
    read = reader(NewChip("a", str(tmp_path / "a.tif")))
    assert read.place == pytest.approx((-2.5 + SIDE / 2 * degrees, 1 - SIDE / 2 * degrees), abs=1e-9)


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
    assert check_sample(chips, reader, TRAINING) == {
        "chips_looked_at": 5,
        "problems": {},
        "cropped": 0,
        "warnings": [],
    }
    dn = [write_described(tmp_path / f"dn{n}.tif", pixels(n) * 10_000, BANDS) for n in range(5)]
    with pytest.raises(StudyError):
        check_sample(dn, reader, TRAINING)


def test_more_bad_chips_than_good_ones_stop_the_prediction(tmp_path, reader):
    good = [write_described(tmp_path / f"{n}.tif", pixels(n), BANDS) for n in range(2)]
    bad = [write_described(tmp_path / f"b{n}.tif", pixels(n, (3, SIDE, SIDE)), [None] * 3) for n in range(2)]
    assert check_sample(good + bad, reader, TRAINING)["problems"] == {"band_count": 2}
    with pytest.raises(StudyError, match="2 of 3 chips that were looked at cannot be used") as error:
        check_sample(good[:1] + bad, reader, TRAINING)
    assert "has 3 band(s)" in error.value.found


@pytest.mark.parametrize(
    ("crs", "affine", "is_right"),
    [
        ("EPSG:32632", (30, 600_000, 5_000_000), True),
        ("EPSG:32632", (10, 600_000, 5_000_000), False),
        ("EPSG:32632", (60, 600_000, 5_000_000), False),
        # 30 m along a meridian are about 30 / 111,320 degrees.
        ("EPSG:4326", (30 / 111_320, 12, 45), True),
        ("EPSG:4326", (10 / 111_320, 12, 45), False),
        # Web Mercator stretches lengths by 1 / cos(latitude), 2 at 60° north.
        ("EPSG:3857", (60, 1e6, 8_399_738), True),
        # At 45° north, 30 m are 21 m on the ground.
        ("EPSG:3857", (30, 1e6, 5_621_521), True),
        ("EPSG:3857", (20, 1e6, 8_399_738), False),
    ],
)
def test_pixels_of_another_size_on_the_ground_are_a_problem(tmp_path, reader, crs, affine, is_right):
    side, left, top = affine
    write_tif(tmp_path / "a.tif", pixels(1), crs=crs, transform=rasterio.Affine(side, 0, left, 0, -side, top))
    read = reader(NewChip("a", str(tmp_path / "a.tif")))
    if is_right:
        assert read.problem is None
        return
    assert read.problem.kind == "pixel_size"
    assert "expected 30 m" in read.problem.problem
    assert "dataset.pixel_size_m" in read.problem.remedy
    # Chips that show less ground than the training chips cannot be resampled to their size.
    is_small = side < 30
    assert ("terralucas.data.rewrite" in read.problem.remedy) == (not is_small)
    assert ("cut larger chips" in read.problem.remedy) == is_small


@pytest.mark.parametrize(
    ("crs", "affine", "command"),
    [
        ("EPSG:4326", (60 / 78_847, 10, 45, 60 / 111_320), "--crs EPSG:32632 --pixel-m 30"),
        ("EPSG:4326", (60 / 78_847, -70.5, -45, 60 / 111_320), "--crs EPSG:32719 --pixel-m 30"),
        ("EPSG:32632", (60, 600_000, 5_000_000, 60), "--pixel-m 30"),
    ],
)
def test_chips_that_are_resampled_as_advised_are_predicted(tmp_path, reader, monkeypatch, crs, affine, command):
    """A degree of longitude has 78,847 m at 45° (WGS 84)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chips").mkdir()
    width, left, top, height = affine
    values = np.kron(pixels(1)[:, ::2, ::2], np.ones((2, 2), np.float32))
    write_tif(Path("chips/a.tif"), values, crs=crs, transform=rasterio.Affine(width, 0, left, 0, -height, top))
    remedy = reader(NewChip("a", "chips/a.tif")).problem.remedy
    advised = re.search(r"terralucas\.data\.rewrite ([^)]*)\)", remedy)[1]
    assert advised == f"chips resampled {command}"
    assert rewrite(advised.split()) == 0
    read = reader(NewChip("a", "resampled/a.tif"))
    assert read.problem is None
    assert read.pixel_m == pytest.approx(PIXEL_M, rel=0.01)
    assert np.isfinite(read.values).all()
    # The middle of the chip is shown.
    middle = values[:, SIDE // 2 - 2 : SIDE // 2 + 2, SIDE // 2 - 2 : SIDE // 2 + 2].mean(axis=(1, 2))
    shown = read.values[:, SIDE // 2 - 4 : SIDE // 2 + 4, SIDE // 2 - 4 : SIDE // 2 + 4].mean(axis=(1, 2))
    assert shown == pytest.approx(middle, abs=0.03)


def test_pixels_of_nearly_the_same_size_are_said(tmp_path):
    chips = [write_described(tmp_path / f"{n}.tif", pixels(n), BANDS) for n in range(3)]
    (warning,) = check_sample(chips, ChipReader(make_spec(), SIDE, 25), TRAINING)["warnings"]
    assert "have 30 m on the ground" in warning and "25 m" in warning


def test_a_band_that_is_a_copy_of_another_is_a_problem(tmp_path, reader):
    values = pixels(1)
    values[4] = values[1]
    chip = write_described(tmp_path / "a.tif", values, BANDS)
    assert reader(chip).problem.kind == "equal_bands"
    assert "GREEN and SWIR_1" in reader(chip).problem.problem
    allowed = make_spec(checks={"allow_equal_bands": True})
    assert ChipReader(allowed, SIDE, PIXEL_M)(chip).problem is None


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ({"unit": "dn"}, pixels(1)),
        ({"unit": "dn"}, (pixels(1) * 255).astype(np.uint8)),
        ({}, pixels(1) * 10_000),
        ({}, (pixels(1) * 10_000).astype(np.uint16)),
        ({}, np.where(pixels(2) < 0.1, -9999, pixels(1)).astype(np.float32)),
        ({}, np.zeros((6, SIDE, SIDE), np.float32)),
        ({}, pixels(1, (3, SIDE, SIDE))),
        ({}, np.where(np.arange(SIDE) < 20, np.nan, pixels(1)).astype(np.float32)),
        ({}, np.where(np.arange(SIDE) < 4, 0, pixels(1)).astype(np.float32)),
    ],
)
def test_advice_is_about_the_new_chip_and_not_about_the_finished_study(tmp_path, spec, values):
    write_tif(tmp_path / "a.tif", values, **PLACE_30_M)
    problem = ChipReader(make_spec(**spec), SIDE, PIXEL_M)(NewChip("a", str(tmp_path / "a.tif"))).problem
    assert problem is not None
    assert "dataset." not in problem.problem + problem.remedy
    with pytest.raises(StudyError) as error:
        check_sample([NewChip("a", str(tmp_path / "a.tif"))], ChipReader(make_spec(**spec), SIDE, PIXEL_M), TRAINING)
    assert "dataset." not in str(error.value)


def test_a_damaged_archive_is_no_reason_to_change_the_sources_of_the_study(tmp_path):
    write_tif(tmp_path / "a.tif", pixels(1))
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        archive.write(tmp_path / "a.tif", "../a.tif")
    with pytest.raises(StudyError, match="not safe to unpack") as error:
        find_new_chips(tmp_path / "new.zip", tmp_path / "x")
    assert "type: directory" not in error.value.remedy
    assert "predict from the folder" in error.value.remedy


def test_every_problem_of_a_new_chip_has_advice():
    """Kinds of problems in the modules that new chips and scenes pass through."""
    of_data = (chip_content_module, chip_files_module, reflectance_module, chip_checks_module)
    modules = (*of_data, new_chips_module, bands_module)
    kinds = {kind for module in modules for kind in re.findall(r'ChipError\(\s*"(\w+)"', inspect.getsource(module))}
    assert {"unreadable", "fill", "equal_bands", "pixel_size", "band_count"} <= kinds
    # The advice on pixels of another size has their place (`terralucas.predict.remedies.for_pixels_of`).
    for kind in kinds - {"pixel_size"}:
        assert for_new_files(ChipError(kind, "is wrong", remedy="none")).remedy != "none"


def test_a_chip_that_was_replaced_is_another_plan_and_another_input_needs_another_folder(tmp_path):
    for number in range(3):
        write_tif(tmp_path / "in" / f"{number}.tif", pixels(number), **PLACE)
    selected, output = make_selected(), tmp_path / "out" / "plan.json"
    first = make_plan(tmp_path / "in", selected, PredictOptions(), output).fingerprint
    assert make_plan(tmp_path / "in", selected, PredictOptions(), output).fingerprint == first
    write_tif(tmp_path / "in" / "1.tif", pixels(8), **PLACE)
    assert make_plan(tmp_path / "in", selected, PredictOptions(), output).fingerprint != first
    (output.parent / "prediction.json").write_text(json.dumps({"input": str(tmp_path / "in")}))
    make_plan(tmp_path / "in", selected, PredictOptions(), output)
    shutil.copytree(tmp_path / "in", tmp_path / "other")
    with pytest.raises(StudyError, match="has the results of another input") as error:
        make_plan(tmp_path / "other", selected, PredictOptions(), output)
    assert "another folder" in error.value.remedy


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_place_beside_the_chip_and_oblong_pixels_are_compared_too(tmp_path, reader):
    none = {"crs": None, "transform": None}
    beside = write_tif(tmp_path / "beside.tif", pixels(0), **none)
    (tmp_path / "beside.tif.aux.xml").write_text(
        "<PAMDataset><SRS>EPSG:32632</SRS><GeoTransform>600000,120,0,5000000,0,-120</GeoTransform></PAMDataset>"
    )
    world = write_tif(tmp_path / "world.tif", pixels(0), transform=None)
    (tmp_path / "world.tfw").write_text("120\n0\n0\n-120\n4592000\n2254000\n")
    # The area of these pixels is that of squares of 30 m.
    oblong = write_tif(
        tmp_path / "oblong.tif", pixels(0), transform=rasterio.Affine(6, 0, 4_592_000, 0, -150, 2_254_000)
    )
    for path in (beside, world, oblong):
        assert reader(NewChip(path.stem, str(path))).problem.kind == "pixel_size"


def test_entries_that_are_no_chips_are_named_and_counted(tmp_path, reader, caplog):
    folder = tmp_path / "in"
    write_tif(folder / "a.tif", pixels(1), **PLACE_30_M)
    (folder / "broken.tif").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe.tif")
    shutil.copy(folder / "a.tif", folder / "b.gtiff")
    (folder / "more.zip").touch()
    shutil.copy(folder / "a.tif", os.fsencode(folder) + b"/caf\xe9.tif")
    chips = find_new_chips(folder, tmp_path / "x")
    problems = {chip.id: reader(chip).problem for chip in chips}
    kinds = {name: problem and problem.kind for name, problem in problems.items()}
    assert kinds == {"a": None, "broken": "not_a_file", "caf\\xe9": "bad_name", "pipe": "not_a_file"}
    assert "does not exist" in problems["broken"].problem
    assert "left out 1 x .gtiff, 1 x .zip" in caplog.text
    # The plan is JSON in UTF-8.
    json.dumps([asdict(chip) for chip in chips], ensure_ascii=False).encode()


def test_cells_that_are_not_read_may_be_missing_at_the_end_of_a_row(tmp_path):
    """As in a table of labels."""
    table = tmp_path / "t.csv"
    table.write_text("id,path,note\n001,A.tif,x\n002,B.tif\n003,C.tif,,\n", encoding="utf-8")
    assert [name for name, _ in read_chip_table(table)] == ["001", "002", "003"]


@pytest.mark.parametrize(
    ("encoding", "found"),
    [("utf-16", "text in UTF-16"), ("latin-1", "byte 0xe4 in line 2, which is not UTF-8")],
)
def test_a_table_of_chips_in_another_encoding_is_refused_in_words(tmp_path, encoding, found):
    (tmp_path / "chips.csv").write_bytes("path\nWälder.tif\n".encode(encoding))
    with pytest.raises(StudyError, match="cannot be read") as error:
        read_chip_table(tmp_path / "chips.csv")
    assert error.value.found == found


def test_a_table_of_chips_may_name_its_separator_for_spreadsheets(tmp_path):
    (tmp_path / "chips.csv").write_text("sep=,\npath,id\na.tif,1\n")
    assert read_chip_table(tmp_path / "chips.csv") == [("1", tmp_path / "a.tif")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,path\none,a.tif,x\n", "line 2 has 3; the header has 2"),
        ("id,path\none,a.tif\ntwo\n", "line 3 has 1; the header has 2"),
        ("id,path,path \none,a.tif,b.tif\n", "2 columns of the name path"),
        ("id,id,path\n1,2,a.tif\n", "2 columns of the name id"),
        ('path\n"a.tif\n', "cannot be read"),
    ],
)
def test_a_table_whose_cells_are_shifted_is_an_error(tmp_path, text, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(StudyError) as error:
        find_new_chips(tmp_path / "t.csv", tmp_path / "x")
    assert words in str(error.value)


def test_a_folder_whose_name_is_not_utf_8_is_an_error(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    write_tif(tmp_path / "plain/a.tif", pixels(1)).parent.rename(folder)
    for source in (folder, folder / "a.tif"):
        with pytest.raises(StudyError, match="is not UTF-8"):
            find_new_chips(source, tmp_path / "x")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("a\0b.tif", "it contains a NUL character"),
        ("a" * 300 + ".tif", "it, or a name in it, is too long"),
        ("b/" * 3000 + "c.tif", "it, or a name in it, is too long"),
        ("/", "it has no name"),
    ],
)
def test_a_path_that_no_file_can_have_does_not_stop_the_other_chips(tmp_path, wrong, reason, suffix):
    paths = [wrong]
    for number in range(3):
        paths.append(write_tif(tmp_path / f"{number}.tif", pixels(number), **PLACE).name)
    table = tmp_path / f"t.{suffix}"
    rows = pd.DataFrame({"path": paths})
    rows.to_csv(table, index=False) if suffix == "csv" else rows.to_parquet(table)
    plan = make_plan(table, make_selected(), PredictOptions(), tmp_path / "out" / "plan.json")
    problem = make_selected().reader(plan.chips[0]).problem
    assert (problem.kind, reason in problem.problem) == ("bad_name", True)
    assert "\0" not in plan.chips[0].path + plan.chips[0].id
    assert [make_selected().reader(chip).problem for chip in plan.chips[1:]] == [None] * 3
    assert set(files_of_new_chips(table)) >= {table.name, str(tmp_path / "0.tif")}


def test_ids_of_a_table_are_read_as_those_of_training_chips(tmp_path):
    """A column of whole numbers becomes one of floats where one of them is missing, or in a spreadsheet."""
    for name in ("a", "b"):
        write_tif(tmp_path / f"{name}.tif", pixels(1))
    rows = pd.DataFrame({"id": [45922254.0, 45942254.0], "path": ["a.tif", "b.tif"]})
    rows.to_parquet(tmp_path / "t.parquet")
    rows.astype(str).to_csv(tmp_path / "t.csv")
    for suffix in ("parquet", "csv"):
        found = find_new_chips(tmp_path / f"t.{suffix}", tmp_path / "x")
        assert [chip.id for chip in found] == ["45922254", "45942254"]
    for ids, words in ((["1", "1.0"], "'1' twice"), (["1", "\u200b"], "1 rows without a path or id")):
        pd.DataFrame({"id": ids, "path": ["a.tif", "b.tif"]}).to_parquet(tmp_path / "t.parquet")
        with pytest.raises(StudyError, match=words):
            find_new_chips(tmp_path / "t.parquet", tmp_path / "x")


@pytest.mark.parametrize("ids", [None, ["a", "b"]])
def test_an_empty_path_in_a_parquet_table_is_an_empty_cell(tmp_path, ids):
    write_tif(tmp_path / "0.tif", pixels(0), **PLACE)
    table = pd.DataFrame({"path": ["", "0.tif"]} | ({} if ids is None else {"id": ids}))
    table.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(StudyError, match="cannot be told apart") as error:
        find_new_chips(tmp_path / "t.parquet", tmp_path / "x")
    assert error.value.found == "1 rows without a path or id"


def test_a_chip_whose_name_is_as_long_as_names_may_be_is_read(tmp_path, reader):
    """The names of what may lie beside it are too long."""
    path = write_tif(tmp_path / f"{'a' * 251}.tif", pixels(0), **PLACE_30_M)
    assert reader(NewChip("a", str(path))).problem is None
    assert with_sidecars(path)[0] == path


def test_other_settings_have_another_plan_and_a_finished_result_keeps_its_own(tmp_path):
    """A refused plan is deleted by Snakemake; that of finished results must stay."""
    settings = {"input": "scene.tif", "stride_m": 80, "shards": 2}
    keys = ("input", "stride_m")
    name = plan_name(settings, keys)
    assert re.fullmatch(r"plan-[0-9a-f]{8}\.json", name)
    assert plan_name(settings | {"shards": 3}, keys) == name
    assert plan_name(settings | {"stride_m": 160}, keys) != name
    for file in (name, "plan-00000000.json", "map.json"):
        (tmp_path / file).touch()
    remove_other_plans(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {name, "map.json"}


@pytest.mark.parametrize("way", ["folder", "table", "chip"])
def test_a_mask_in_other_capitals_is_refused_however_the_chip_is_named(tmp_path, way):
    chip = write_tif(tmp_path / "chips" / "a.tif", pixels(1))
    chip.with_name("a.tif.Msk").write_bytes(b"mask")
    (tmp_path / "chips.csv").write_text(f"id,path\na,{chip}\n")
    source = {"folder": chip.parent, "table": tmp_path / "chips.csv", "chip": chip}[way]
    with pytest.raises(StudyError, match="have names in other capitals than their images"):
        find_new_chips(source, tmp_path / "unpacked")
    chip.with_name("a.tif.Msk").rename(chip.with_name("a.tif.msk"))
    assert [each.problem for each in find_new_chips(source, tmp_path / "unpacked")] == [None]


def test_a_table_may_begin_as_files_of_other_kinds(tmp_path):
    """MZ begins programs for Windows, and BZh files of bzip2."""
    write_tif(tmp_path / "a.tif", pixels(1))
    for column in ("MZ_NR", "BZhour"):
        (tmp_path / "t.csv").write_text(f"{column},id,path\n7,first,a.tif\n")
        assert [chip.id for chip in find_new_chips(tmp_path / "t.csv", tmp_path / "x")] == ["first"]
