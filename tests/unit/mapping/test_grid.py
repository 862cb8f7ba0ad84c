"""The cells of a map: they cover the scene, and each is centred on its window."""

import math

import pytest
import rasterio
from rasterio.windows import Window
from rasterio.windows import transform as transform_of_window

from terralucas.mapping.grid import Grid

SCENE = rasterio.Affine(10, 0, 600_000, 0, -10, 5_000_000)


@pytest.mark.parametrize("side", [32, 33])
@pytest.mark.parametrize("stride", [1, 2, 7, 8, 32, 100])
def test_a_cell_is_a_square_around_the_centre_of_its_window(side, stride):
    grid = Grid(300, 220, side, stride)
    of_map = grid.transform(SCENE)
    assert (of_map.a, of_map.e) == (10 * stride, -10 * stride)
    for row in (grid.fitting_rows[0], grid.fitting_rows[-1]):
        for column in (grid.fitting_columns[0], grid.fitting_columns[-1]):
            window = Window(grid.first_pixel(column), grid.first_pixel(row), side, side)
            centre = transform_of_window(window, SCENE) @ (side / 2, side / 2)
            assert rasterio.transform.xy(of_map, row, column) == pytest.approx(centre, abs=1e-6)


@pytest.mark.parametrize("stride", [1, 7, 8, 100])
def test_the_windows_that_fit_are_those_inside_the_scene(stride):
    grid = Grid(300, 220, 32, stride)
    inside = [row for row in range(grid.rows) if 0 <= grid.first_pixel(row) <= 220 - 32]
    assert list(grid.fitting_rows) == inside
    inside = [column for column in range(grid.columns) if 0 <= grid.first_pixel(column) <= 300 - 32]
    assert list(grid.fitting_columns) == inside


@pytest.mark.parametrize("stride", [1, 7, 8, 100, 500])
def test_the_cells_cover_the_scene_from_its_corner(stride):
    grid = Grid(300, 220, 32, stride)
    of_map = grid.transform(SCENE)
    left, top = of_map.c, of_map.f
    assert 600_000 - left in (0, 5), "at most half a pixel outside"
    assert top - 5_000_000 in (0, 5)
    right, bottom = of_map @ (grid.columns, grid.rows)
    assert right + 5 >= 603_000 > right - 10 * stride
    assert bottom - 5 <= 4_997_800 < bottom + 10 * stride
    assert (grid.rows, grid.columns) == (math.ceil(220 / stride), math.ceil(300 / stride))


def test_strips_and_blocks_hold_each_cell_once():
    grid = Grid(5000, 3000, 32, 8)
    assert [row for strip in grid.strips for row in strip] == list(range(grid.rows))
    assert [column for block in grid.blocks for column in block] == list(range(grid.columns))
    assert len(grid.strips) > 5
    assert len(grid.blocks) > 3


def test_no_window_fits_into_a_scene_that_is_smaller():
    grid = Grid(31, 500, 32, 8)
    assert not grid.fitting_columns
    assert grid.fitting_rows
