"""New chips and scenes of a configuration: the names of their results, and tokens of their content."""

import json
import os

import pytest
from rasterio.shutil import copy

from helpers.records import record_new_chips, record_scene
from helpers.scenes import noise, write_scene
from terralucas.errors import StudyError
from terralucas.study.new_chip_files import (
    prediction_name,
    require_own_prediction,
    token_of_new_chips,
)
from terralucas.study.scene_files import map_name, token_of_scene


def record_result(folder, name, given):
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "prediction.json").write_text(json.dumps({"input": given}))
    (folder / name / "map.json").write_text(json.dumps({"input": given}))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a/chips.2023", "chips_2023"),
        ("new chips.zip", "new_chips"),
        ("new.TAR.GZ", "new"),
        ("v1.2.parquet", "v1_2"),
        ("/", "chips"),
        (None, "none"),
    ],
)
def test_only_the_suffix_is_no_part_of_the_name_of_a_prediction(tmp_path, given, name):
    assert prediction_name({"name": None, "input": given}, tmp_path) == name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("HLS.S30.T32TQM.2020193T100031.v2.0.tif", "HLS_S30_T32TQM_2020193T100031_v2_0"),
        ("a scene.vrt", "a_scene"),
        (["R10m/T32TQM_20200701T103031_B02_10m.jp2", "R10m/T32TQM_20200701T103031_B03_10m.jp2"], None),
        (["T32TQM/B02.tif", "T32TQM/B03.tif"], "T32TQM"),
        (["a_B02.tif", "a_B03.tif"], "a"),
    ],
)
def test_a_scene_is_named_by_its_file_or_by_what_its_files_have_in_common(tmp_path, given, name):
    assert map_name({"name": None, "input": given}, tmp_path) == (name or "T32TQM_20200701T103031")


def test_inputs_of_one_name_have_folders_of_their_own(tmp_path):
    first, second = (f"{tmp_path}/{year}/chips" for year in (2023, 2024))
    settings = {"name": None, "input": second}
    record_result(tmp_path, "chips", first)
    name = prediction_name(settings, tmp_path)
    assert name.startswith("chips-") and len(name) == len("chips-12345678")
    assert prediction_name(settings | {"input": first}, tmp_path) == "chips"
    record_result(tmp_path, name, second)
    assert prediction_name(settings, tmp_path) == name, "it stays the same when its results are there"
    assert map_name({"name": None, "input": [f"{second}/B02.tif", f"{second}/B03.tif"]}, tmp_path).startswith("chips-")


def test_a_configured_name_of_another_input_is_refused(tmp_path):
    settings = {"name": "mine", "input": str(tmp_path / "b")}
    record_result(tmp_path, "mine", str(tmp_path / "a"))
    with pytest.raises(StudyError, match="has the results of another input") as error:
        require_own_prediction(settings, tmp_path / "mine")
    assert "predict.name" in error.value.remedy
    require_own_prediction(settings | {"input": str(tmp_path / "a")}, tmp_path / "mine")


def token_after(files, read, write, change):
    """Tokens of an input before and after a change, which is not only of times."""
    write(read())
    before = read()
    for file in files:
        os.utime(file, ns=(1, 1))
    assert read() == before, "times alone change nothing"
    change()
    return before, read()


def test_the_chips_that_a_table_names_count(tmp_path):
    chips = [write_scene(tmp_path / "0.tif", noise(8, 8))]
    table, record = tmp_path / "todo.csv", tmp_path / "record.json"
    table.write_text("path\n0.tif\n")
    before, after = token_after(
        [table, *chips],
        lambda: token_of_new_chips(table, record),
        lambda token: record_new_chips(table, record, token),
        lambda: write_scene(tmp_path / "0.tif", noise(8, 8, 5)),
    )
    assert before != after


def test_the_mask_beside_a_single_chip_counts(tmp_path):
    chip, record = write_scene(tmp_path / "a.tif", noise(8, 8)), tmp_path / "record.json"
    before, after = token_after(
        [chip],
        lambda: token_of_new_chips(chip, record),
        lambda token: record_new_chips(chip, record, token),
        lambda: (tmp_path / "a.tif.msk").write_bytes(b"mask"),
    )
    assert before != after


@pytest.mark.parametrize("depth", [1, 2])
def test_the_files_behind_a_vrt_count(tmp_path, depth):
    source, record = write_scene(tmp_path / "source.tif", noise(8, 8)), tmp_path / "record.json"
    scene = source
    for number in range(depth):
        copy(scene, tmp_path / f"{number}.vrt", driver="VRT")
        scene = tmp_path / f"{number}.vrt"
    before, after = token_after(
        [source],
        lambda: token_of_scene([str(scene)], record),
        lambda token: record_scene([str(scene)], record, token),
        lambda: write_scene(source, noise(8, 8, 5)),
    )
    assert before != after


def test_statistics_that_a_viewer_writes_beside_a_scene_do_not_count_but_a_nodata_value_does(tmp_path):
    scene, record = write_scene(tmp_path / "a.tif", noise(8, 8)), tmp_path / "record.json"
    record_scene([str(scene)], record, "first")
    beside = tmp_path / "a.tif.aux.xml"
    band = '<PAMDataset><PAMRasterBand band="1">{}</PAMRasterBand></PAMDataset>'
    beside.write_text(band.format('<Metadata><MDI key="STATISTICS_MEAN">4</MDI></Metadata><Histograms>1</Histograms>'))
    assert token_of_scene([str(scene)], record) == "first"
    beside.write_text(band.format("<NoDataValue>0</NoDataValue>"))
    assert token_of_scene([str(scene)], record) != "first"


@pytest.fixture
def with_header(tmp_path):
    """A scene whose size and bands are in a file beside it."""
    return write_scene(tmp_path / "a.img", noise(8, 8), driver="ENVI")


def test_options_of_gdal_in_the_shell_hide_no_file_of_a_scene(with_header, tmp_path, gdal_in_the_shell):
    record, header = tmp_path / "record.json", tmp_path / "a.hdr"
    record_scene([str(with_header)], record, "first")
    assert str(header) in json.loads(record.read_text())["files"]
    header.write_text(header.read_text() + "; another\n")
    assert token_of_scene([str(with_header)], record) != "first"
