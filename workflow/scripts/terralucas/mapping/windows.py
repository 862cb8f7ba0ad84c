"""The windows of a map: their pixels, and which of them can be predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from terralucas.data.chip_problems import ChipError
from terralucas.data.chips.chip_checks import find_other_level
from terralucas.data.chips.decoded_chip import make_chip
from terralucas.data.rasters.band_names import BandNames
from terralucas.errors import StudyError
from terralucas.mapping.band_files import describe_order
from terralucas.mapping.grid import Grid
from terralucas.mapping.offset_tags import check_bands_without_offset
from terralucas.mapping.scene import Pixels, SceneReader
from terralucas.predict.bands import describe_unknown_names, require_same_order
from terralucas.predict.likeness import TrainingPixels, describe_cut_off, require_likeness
from terralucas.predict.new_chips import require_usable
from terralucas.predict.options import PredictOptions
from terralucas.predict.remedies import for_new_files

# Windows that are read before the first prediction: this many rows and columns of them, evenly spaced.
_SAMPLE_SIDE = 8
# Problems that mean that a window has no data, or too few; the others mean that the scene may be the wrong one.
_NO_DATA = ("missing_values", "fill", "constant")


@dataclass(frozen=True)
class WindowOfCell:
    """A window that was looked at.

    Attributes:
        row: row of its cell.
        column: column of its cell.
        values: (bands, side, side) reflectance.
        problem: why it cannot be predicted; None if it can.
    """

    row: int
    column: int
    values: np.ndarray
    problem: ChipError | None


class WindowReader:
    """Reads the windows of a map as `terralucas.predict.new_chips.ChipReader` reads chips.

    Args:
        grid: the cells of the map.
        scene: the open scene.
    """

    def __init__(self, grid: Grid, scene: SceneReader) -> None:
        self.grid, self.scene = grid, scene

    def read(self, rows: range, columns: range) -> BlockOfWindows:
        """Read the pixels of all windows of a block of cells; the windows must lie in the scene."""
        grid = self.grid
        first_row, first_column = grid.first_pixel(rows[0]), grid.first_pixel(columns[0])
        height = grid.first_pixel(rows[-1]) + grid.side - first_row
        width = grid.first_pixel(columns[-1]) + grid.side - first_column
        pixels = self.scene.read(first_row, first_column, height, width)
        return BlockOfWindows(self, rows, columns, pixels)

    def look_at(self, row: int, column: int) -> WindowOfCell:
        """Read the window of one cell."""
        return self.read(range(row, row + 1), range(column, column + 1)).window((row, column))


@dataclass(frozen=True)
class BlockOfWindows:
    """The pixels of the windows of a block of cells.

    Attributes:
        reader: the reader of the windows.
        rows: rows of the cells.
        columns: columns of the cells.
        pixels: the pixels of all the windows.
    """

    reader: WindowReader
    rows: range
    columns: range
    pixels: Pixels

    @property
    def cells(self) -> Iterator[tuple[int, int]]:
        """Row and column of each cell, row by row."""
        return ((row, column) for row in self.rows for column in self.columns)

    def window(self, cell: tuple[int, int]) -> WindowOfCell:
        """Return the window of a cell, after the checks of a chip."""
        grid, spec, scene = self.reader.grid, self.reader.scene.spec, self.reader.scene.scene
        starts = (grid.stride * (cell[0] - self.rows[0]), grid.stride * (cell[1] - self.columns[0]))
        place = (slice(None), *(slice(start, start + grid.side) for start in starts))
        stored, values = self.pixels.stored[place], self.pixels.values[place]
        chip = make_chip(stored, values, self.pixels.dtypes, scene.descriptions, self.pixels.scaling)
        try:
            require_usable(chip, spec)
            level = find_other_level(values, spec)
            if level is not None:
                raise ChipError("band_levels", level)
        except ChipError as error:
            return WindowOfCell(*cell, values, for_new_files(error))
        return WindowOfCell(*cell, values, None)


def check_windows(reader: WindowReader, training: TrainingPixels, options: PredictOptions) -> dict[str, Any]:
    """Read some of the windows, evenly spaced, and check that bands, scale and offset of the scene can be right.

    Args:
        reader: reads a window.
        training: the pixels of the training chips.
        options: they say in what the scene may differ from the training chips.

    Returns:
        What was found, for the record: number of windows read, problems by kind, and warnings.

    Raises:
        StudyError: no window fits or has data, more than half of those with data cannot be predicted, or they have
            another scale, offset or order of bands than the training chips.
    """
    grid, spec = reader.grid, reader.scene.spec
    rows, columns = _spread(grid.fitting_rows), _spread(grid.fitting_columns)
    if not rows or not columns:
        smaller = _largest_fitting_stride(grid)
        raise StudyError(
            "No window of the map fits into the scene.",
            found=f"a scene of {grid.height} x {grid.width} px, and cells of {grid.stride} px",
            expected=f"room for windows of {grid.side} x {grid.side} px, the size of the training chips, around the "
            "centres of cells",
            remedy="map a larger scene"
            + (f", or set map.stride_m: {smaller * reader.scene.scene.ground_m:g}" if smaller else ""),
        )
    try:
        windows = [reader.look_at(row, column) for row in rows for column in columns]
    except ChipError as error:
        problem = for_new_files(error)
        raise StudyError(f"The scene {problem.problem}", remedy=problem.remedy) from None
    problems = [window.problem for window in windows if window.problem is not None]
    wrong = [problem for problem in problems if problem.kind not in _NO_DATA]
    usable = [window.values for window in windows if window.problem is None]
    what, order = "windows of the scene", list[str]()
    if not reader.scene.scene.is_named:
        # Bands in another order look as if one had another scale.
        ordered = [each.values for each in windows if each.problem is None or each.problem.kind == "band_levels"]
        order = require_same_order(ordered, spec, options.allow_band_order, what)
    if len(wrong) > len(usable):
        texts = Counter(problem.problem for problem in wrong).most_common(3)
        raise StudyError(
            f"{len(wrong)} of {len(wrong) + len(usable)} windows with data that were looked at cannot be predicted, so "
            "that nothing is.",
            found="\n    ".join(f"a window {text}" for text, _ in texts),
            expected=f"the bands {', '.join(spec.bands)} in {spec.unit}, as the study was trained on",
            remedy=wrong[0].remedy,
        )
    if not usable:
        raise StudyError(
            f"None of {len(windows)} windows that were looked at has enough data.",
            found=f"a window {problems[0].problem}",
            expected="windows with data in every band",
            remedy="cut the scene to the area that has data",
        )
    if not reader.scene.scene.is_named:
        said = describe_order(reader.scene.scene.bands, spec.bands)
        if not said and spec.checks.band_descriptions:
            names = BandNames(reader.scene.scene.descriptions, spec.may_be_landsat)
            said = describe_unknown_names(names, what)
        order = [*said, *order]
    if reader.scene.scene.wrong_colours is not None:
        order = [*order, f"The scene may have its bands in another order: it {reader.scene.scene.wrong_colours}."]
    order += check_bands_without_offset(usable, reader.scene.scaling, spec, options.allow_offset)
    refused = [each.values for each in windows if each.problem is not None and each.problem.kind == "band_levels"]
    warnings = [*require_likeness(usable, training, spec, options.allow_offset, what, refused), *order]
    kinds = Counter(problem.kind for problem in problems)
    warnings += describe_cut_off(kinds["cut_off"], len(windows), what)
    return {"windows_looked_at": len(windows), "problems": dict(sorted(kinds.items())), "warnings": warnings}


def _largest_fitting_stride(grid: Grid) -> int | None:
    """Return the largest smaller stride in pixels with which a window fits into the scene; None without any."""
    strides = range(min(grid.stride, grid.height, grid.width), 0, -1)
    grids = (replace(grid, stride=stride) for stride in strides)
    return next((each.stride for each in grids if each.fitting_rows and each.fitting_columns), None)


def _spread(cells: Sequence[int]) -> list[int]:
    """Return some of the rows or columns of cells, evenly spaced, with the first and the last."""
    if not cells:
        return []
    places = np.unique(np.linspace(0, len(cells) - 1, min(len(cells), _SAMPLE_SIDE)).astype(int))
    return [cells[place] for place in places]
