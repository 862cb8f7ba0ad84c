"""Missing pixels of bands of a raster file, in a form that every GeoTIFF can hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

from terralucas.data.chips.reflectance import are_nodata
from terralucas.data.rasters.masks import find_alpha, read_masks
from terralucas.errors import StudyError

_WINDOW_PX = 512
# Values of integers that are tried as nodata value: all those of 16 bits. Larger ones than the second number are not
# exact in GDAL, which keeps nodata values as numbers of 64 bits with a point.
_TRIED_VALUES, _MAX_EXACT = 2**16, 2**53


class Layers:
    """Bands of a file whose missing pixels are outside of one mask for all bands, or have one value.

    Files can have both, masks for each band, and nodata values for each band. A GeoTIFF has one mask and one nodata
    value, and much that resamples looks only at one of both. Where a file has more, missing pixels get one value.

    Args:
        source: the open file.
        bands: numbers of the bands, from 1. An alpha band is a mask unless it is one of them.
        others: values of missing pixels beside those that the file states. If NaN is one of them, pixels that are NaN
            get the nodata value of the band; without one, NaN becomes it.

    Attributes:
        dtype: type that holds the values of all bands.
        nodata: value of missing pixels; None without one.
        has_mask: whether `read` returns a mask.
        are_kept: whether the file itself shows its missing pixels in this form.

    Raises:
        StudyError: the missing pixels differ from band to band, and no value is unused that could mark them.
    """

    def __init__(self, source: DatasetReader, bands: Sequence[int], others: Sequence[float] = ()) -> None:
        self._source, self._bands = source, list(bands)
        dtypes = [source.dtypes[band - 1] for band in bands]
        self.dtype = np.result_type(*dtypes)
        self._is_one_type = len(set(dtypes)) == 1
        stated = [source.nodatavals[band - 1] for band in bands]
        # Of each band. By their texts, because NaN is not equal to itself.
        self._nodata = [
            tuple(
                {
                    str(known): known for known in (value, *others) if known is not None and _is_possible(known, dtype)
                }.values()
            )
            for value, dtype in zip(stated, dtypes, strict=True)
        ]
        # The property looks at all bands each time.
        flags_of_bands = source.mask_flag_enums
        flags = [flags_of_bands[band - 1] for band in bands]
        # For GDAL itself, an alpha band is a mask in files of some numbers of bands only.
        is_masked = bool(find_alpha(source, bands)) or any(
            not each or (MaskFlags.per_dataset in each and MaskFlags.alpha not in each) for each in flags
        )
        has_alpha = ColorInterp.alpha in source.colorinterp
        differ = len({str(values) for values in self._nodata}) > 1 or (len(bands) > 1 and not all(flags))
        self.nodata = next(iter(self._nodata[0]), None)
        # Values of several types are those of one type then, and a nodata value may no longer be exact.
        is_other = is_masked or not self._is_one_type or len(self._nodata[0]) > 1
        self._are_marked = differ or (self.nodata is not None and is_other)
        self.has_mask = is_masked and not self._are_marked
        self.are_kept = (
            self._is_one_type
            and all(flags)
            and not self._are_marked
            and not has_alpha
            and self._nodata == [() if value is None else (value,) for value in stated]
        )
        if differ:
            self.nodata = self._find_unused()

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Read a part of the bands.

        Returns:
            (bands, height, width) values; (height, width) booleans, false outside of the mask, or None without one; and
            (bands, height, width) booleans, true where pixels are missing.
        """
        values, outside, missing = self._read(window)
        if self._are_marked:
            values[missing] = self.nodata
        return values, ~outside[0] if self.has_mask else None, missing

    def _read(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        source, bands = self._source, self._bands
        stored = (
            source.read(bands, window=window) if self._is_one_type else [source.read(n, window=window) for n in bands]
        )
        outside = read_masks(source, bands, window)
        missing = outside.copy()
        # In the type of each band, in which its nodata value is exact.
        for band, missing_in_band, values in zip(stored, missing, self._nodata, strict=True):
            missing_in_band |= np.isnan(band)
            for nodata in values:
                missing_in_band |= are_nodata(band, nodata)
        return np.stack([*stored]).astype(self.dtype, copy=False), outside, missing

    def _find_unused(self) -> float:
        """Return a value that marks missing pixels: NaN, or an integer that no other pixel has."""
        if not np.issubdtype(self.dtype, np.integer):
            return math.nan
        top = min(np.iinfo(self.dtype).max, _MAX_EXACT)
        are_free = np.ones(min(_TRIED_VALUES, 256**self.dtype.itemsize), dtype=bool)
        for window in windows_of(self._source.shape):
            values, _, missing = self._read(window)
            used = values[~missing]
            used = used[(used <= top) & (used > top - len(are_free))]
            are_free[top - used.astype(np.int64)] = False
        (free,) = are_free.nonzero()
        if not len(free):
            raise StudyError(
                f"The missing pixels of {self._source.name} cannot be written into one GeoTIFF.",
                found="a mask or a nodata value for each band, and pixels with each of the "
                f"{len(are_free):,} values of {self.dtype}",
                expected="a value that no pixel has, to mark the missing ones",
                remedy="write each band into a file of its own (--bands 1), which can have its own mask",
            )
        wanted = [int(top - value) for values in self._nodata for value in values if 0 <= top - value < len(are_free)]
        return float(top - next((place for place in wanted if are_free[place]), free[0]))


def windows_of(shape: tuple[int, int]) -> Iterator[Window]:
    """Return windows that cover an image of so many rows and columns, and fit into memory."""
    rows, columns = shape
    for row in range(0, rows, _WINDOW_PX):
        for column in range(0, columns, _WINDOW_PX):
            yield Window(column, row, min(_WINDOW_PX, columns - column), min(_WINDOW_PX, rows - row))


def _is_possible(nodata: float, dtype: str) -> bool:
    """Return whether pixels of a type can have a nodata value; -9999 of integers without a sign is none."""
    if not np.issubdtype(dtype, np.integer):
        return True
    info = np.iinfo(dtype)
    return info.min <= nodata <= info.max and nodata == math.floor(nodata)
