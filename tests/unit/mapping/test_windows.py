"""Windows of a scene have the problems that new chips with the same pixels have."""

import numpy as np
import pytest
import rasterio

from helpers.chips import BANDS, SIDE, make_spec
from helpers.scenes import TRAINING, noise, patches, write_scene
from terralucas.errors import StudyError
from terralucas.mapping.grid import Grid
from terralucas.mapping.scene import SceneReader, find_scene
from terralucas.mapping.windows import WindowReader, check_windows
from terralucas.predict.new_chips import ChipReader, NewChip
from terralucas.predict.options import PredictOptions


def stored(dtype="uint16"):
    return np.rint(noise(SIDE, SIDE) * 10_000).astype(dtype)


def with_value(value, where, dtype="uint16"):
    values = stored(dtype)
    values[where] = value
    return values


FEW, A_THIRD, CLOUD = (slice(None), 0, slice(9)), (slice(None), slice(11)), 15_000


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (stored(), None),
        (with_value(CLOUD, A_THIRD), None),
        (with_value(-9999, FEW, "int16"), "impossible_values"),
        (with_value(-32768, FEW, "int16"), "impossible_values"),
        (with_value(65535, FEW), "impossible_values"),
        (with_value(64600, (2, 0, slice(3))), "impossible_values"),
        (with_value(1, A_THIRD), "fill"),
        (with_value(255, A_THIRD), "fill"),
        (with_value(0, A_THIRD), "fill"),
        (with_value(7, 3), "cut_off"),
        (with_value(70, 3), "constant"),
    ],
)
def test_a_window_has_the_problem_of_a_chip_with_its_pixels(tmp_path, values, kind):
    spec = make_spec(unit="dn", point_ids="none")
    path = write_scene(tmp_path / "a.tif", values, BANDS)
    of_chip = ChipReader(spec, SIDE, 10)(NewChip("a", str(path))).problem
    with SceneReader(find_scene([path], spec, 10), spec) as scene:
        of_window = WindowReader(Grid(SIDE, SIDE, SIDE, SIDE), scene).look_at(0, 0).problem
    assert (of_window and of_window.kind) == kind
    assert str(of_window) == str(of_chip)
    # New files are what to correct, and not the configuration of a finished study.
    assert "dataset." not in str(of_chip)


def write_bands(folder, values, dtypes, offset_dn, tagged):
    """Write a file for each band, in DN with an offset; tags of some bands subtract it."""
    folder.mkdir()
    files = []
    for band, (name, dtype) in enumerate(zip(BANDS, dtypes, strict=True)):
        dn = np.rint(values[band : band + 1] * 10_000 + offset_dn[band]).astype(dtype)
        files.append(write_scene(folder / f"{name}.tif", dn))
        if name in tagged:
            with rasterio.open(files[-1], "r+") as target:
                target.scales, target.offsets = (1e-4,), (-0.1,)
    return files


def test_bands_that_lost_the_tag_of_their_offset_are_found_by_their_dark_pixels(tmp_path):
    """Of another type than the others, as resampling programs write them; the 1,000 DN stayed in them in silence."""
    spec = make_spec(unit="dn", point_ids="none")
    values = patches(np.indices((8, 8)).sum(axis=0) % 3, SIDE)
    infrared, visible = BANDS[3:], BANDS[:3]
    types = ["float32"] * 3 + ["uint16"] * 3

    def check(files, **options):
        grid = Grid(values.shape[2], values.shape[1], SIDE, SIDE)
        with SceneReader(find_scene(files, spec, 10), spec) as scene:
            return check_windows(WindowReader(grid, scene), TRAINING, PredictOptions(**options))["warnings"]

    lost = write_bands(tmp_path / "lost", values, types, [1000] * 6, infrared)
    with pytest.raises(StudyError, match="seem to lack a tag that subtracts 1000 DN") as error:
        check(lost)
    assert f"of {', '.join(infrared)} subtract 1000 DN; {', '.join(visible)} have no such tag" in error.value.found
    assert any("may lack a tag that subtracts 1000 DN" in text for text in check(lost, allow_offset=True))
    # In the near infrared, vegetation has no dark pixels either, so that nothing is certain.
    others, types_but_one = (*BANDS[:3], *BANDS[4:]), ["uint16"] * 3 + ["float32"] + ["uint16"] * 2
    bright = write_bands(tmp_path / "bright", values, types_but_one, [1000] * 6, others)
    assert any("may lack a tag that subtracts 1000 DN" in text for text in check(bright))
    applied = write_bands(tmp_path / "applied", values, types, [0] * 3 + [1000] * 3, infrared)
    assert not any("lack a tag" in text for text in check(applied))


@pytest.mark.parametrize("dtypes", [["uint16"] * 6, ["uint16"] + ["float32"] * 5, ["float32"] * 5 + ["int32"]])
def test_negative_numbers_without_a_sign_are_found_whatever_the_types_of_the_bands(tmp_path, dtypes):
    spec = make_spec(unit="dn", point_ids="none")
    values = noise(SIDE, SIDE)
    values[0, 0, :3] = 6.55
    values[5, 0, :3] = 6.55
    files = write_bands(tmp_path / "bands", values, dtypes, [0] * 6, ())
    with SceneReader(find_scene(files, spec, 10), spec) as scene:
        problem = WindowReader(Grid(SIDE, SIDE, SIDE, SIDE), scene).look_at(0, 0).problem
    assert problem.kind == "impossible_values"
    assert "has the value 65500, which no ground has, in 3 of its pixels; it seems to be -36 in 16 bits" in str(problem)
