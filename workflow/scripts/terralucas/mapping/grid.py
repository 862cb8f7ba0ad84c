"""The cells of a map, and the window of pixels that belongs to each cell."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rasterio import Affine

# About how many pixels a block is high and wide; a cell wider than this makes a block of its own.
_BLOCK_PX = (128, 1024)


@dataclass(frozen=True)
class Grid:
    """The cells of a map.

    A cell is a square of `stride` pixels, and its window, a square of `side` pixels, is centred on it. Cell (0, 0) lies
    in the upper left corner of the scene, and the cells cover the scene. The centre of a window is the corner that its
    four middle pixels share if `side` is even, and the centre of its middle pixel if it is odd. The centres of cell and
    window agree in whole pixels only if `side` and `stride` are both even or both odd; otherwise the cells are moved by
    half a pixel to the upper left, so that they are centred on their windows exactly.

    Attributes:
        width: columns of the scene in pixels.
        height: rows of the scene in pixels.
        side: side of a window in pixels: that of the chips on which the models were trained.
        stride: side of a cell in pixels.
    """

    width: int
    height: int
    side: int
    stride: int

    @property
    def rows(self) -> int:
        """Number of rows of cells."""
        return math.ceil(self.height / self.stride)

    @property
    def columns(self) -> int:
        """Number of columns of cells."""
        return math.ceil(self.width / self.stride)

    def first_pixel(self, cell: int) -> int:
        """Return the first pixel row (column) of the windows of a row (column) of cells; negative beyond the edge."""
        return self.stride * cell + (self.stride - self.side) // 2

    @property
    def fitting_rows(self) -> range:
        """Rows of cells whose windows lie in the scene."""
        return self._fitting(self.height)

    @property
    def fitting_columns(self) -> range:
        """Columns of cells whose windows lie in the scene."""
        return self._fitting(self.width)

    def _fitting(self, pixels: int) -> range:
        offset = self.first_pixel(0)
        first = max(0, math.ceil(-offset / self.stride))
        stop = (pixels - self.side - offset) // self.stride + 1
        return range(first, max(first, stop))

    def transform(self, of_scene: Affine) -> Affine:
        """Return the transform of the map: from column and row of a cell's corner to coordinates.

        Args:
            of_scene: the transform of the scene.
        """
        shift = ((self.stride - self.side) % 2) / 2
        return of_scene @ Affine.translation(-shift, -shift) @ Affine.scale(self.stride)

    @property
    def strips(self) -> list[range]:
        """Rows of cells that are computed and kept together; they depend on the grid alone."""
        return _divide(self.rows, max(1, _BLOCK_PX[0] // self.stride))

    @property
    def blocks(self) -> list[range]:
        """Columns of cells whose pixels are read together, within a strip."""
        return _divide(self.columns, max(1, _BLOCK_PX[1] // self.stride))


def _divide(number: int, size: int) -> list[range]:
    return [range(first, min(first + size, number)) for first in range(0, number, size)]
