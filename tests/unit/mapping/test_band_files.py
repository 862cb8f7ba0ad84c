"""Band files of a scene: names of two scenes are refused, and files that nothing names are told."""

import re
from pathlib import Path

import pytest

from helpers.chips import make_spec
from helpers.scenes import TRAINING, noise, write_scene
from terralucas.errors import StudyError
from terralucas.mapping.band_files import describe_order, require_one_scene
from terralucas.mapping.grid import Grid
from terralucas.mapping.scene import SceneReader, find_scene
from terralucas.mapping.windows import WindowReader, check_windows
from terralucas.predict.options import PredictOptions

NOTICE = "Neither names nor descriptions of the files tell all bands. They are read in the order given: "


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            ("T32TQM_20180701T101031_B04_10m.jp2", "T32TQM_20180706T101029_B03_10m.jp2"),
            "20180701 in T32TQM_20180701T101031_B04_10m.jp2, 20180706 in T32TQM_20180706T101029_B03_10m.jp2",
        ),
        (("T32TQM_20180701T101031_B04.jp2", "T33TUG_20180701T101031_B03.jp2"), "T32TQM in .*, T33TUG in "),
        (
            ("HLS.L30.T32TQM.2020001T100319.v2.0.B02.tif", "HLS.L30.T32TQM.2020009T100319.v2.0.B03.tif"),
            "2020001 in .*, 2020009 in ",
        ),
        (
            (
                "LC08_L2SP_193029_20200701_20200913_02_T1_SR_B4.TIF",
                "LC08_L2SP_193030_20200701_20200913_02_T1_SR_B3.TIF",
            ),
            "193029 in .*, 193030 in ",
        ),
        (("2018-07-01_red.tif", "2018-07-06_green.tif"), "20180701 in .*, 20180706 in "),
    ],
)
def test_band_files_of_two_dates_or_tiles_are_no_scene(names, found):
    with pytest.raises(StudyError, match=r"different (dates|tiles) in their names") as error:
        require_one_scene([Path(name) for name in names])
    assert re.search(found, error.value.found)


def test_band_files_of_one_scene_may_have_names_with_other_numbers():
    for names in (
        # Processed on different days.
        [f"LT05_L2SP_193029_20100701_{day}_02_T1_SR_B{n}.TIF" for n, day in ((1, "20200823"), (2, "20210101"))],
        ["T32TQM_20180701T101031_B04_10m.jp2", "T32TQM_2018-07-01_B11_20m.tif", "B12.tif"],
        ["scene_12345678_red.tif", "scene_87654321_green.tif"],
    ):
        require_one_scene([Path(name) for name in names])


def test_a_scene_of_two_dates_is_refused_before_it_is_opened(tmp_path):
    with pytest.raises(StudyError, match="different dates"):
        find_scene([tmp_path / "20180701_B02.tif", tmp_path / "20180706_B03.tif"], make_spec(), 10.0)


def test_files_that_nothing_names_are_told_band_by_band(tmp_path):
    values, spec = noise(64, 64), make_spec()
    files = [write_scene(tmp_path / f"{letter}.tif", values[band : band + 1]) for band, letter in enumerate("fedcba")]
    scene = find_scene(files, spec, 10.0)
    with SceneReader(scene, spec) as reader:
        found = check_windows(
            WindowReader(Grid(64, 64, 32, 8), reader), TRAINING, PredictOptions(allow_band_order=True)
        )
    assert found["warnings"][0] == (
        NOTICE + "f.tif as RED, e.tif as GREEN, d.tif as BLUE, c.tif as NIR_BROAD, b.tif as SWIR_1, a.tif as SWIR_2."
    )
    two = [("/x/a.tif", 1), ("/x/a.tif", 2), ("/x/b.tif", 1)]
    assert describe_order(two, ("RED", "GREEN", "BLUE")) == [
        NOTICE + "a.tif as RED, band 2 of a.tif as GREEN, b.tif as BLUE."
    ]
    assert describe_order(two[:2], ("RED", "GREEN")) == []
