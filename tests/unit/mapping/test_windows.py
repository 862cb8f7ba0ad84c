"""Windows of a scene have the problems that new chips with the same pixels have."""

import numpy as np
import pytest

from helpers.chips import BANDS, SIDE, make_spec
from helpers.scenes import noise, write_scene
from terralucas.mapping.grid import Grid
from terralucas.mapping.scene import SceneReader, find_scene
from terralucas.mapping.windows import WindowReader
from terralucas.predict.new_chips import ChipReader, NewChip


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
        (with_value(7, 3), "constant"),
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
