"""Find where pixels are outside the masks of a raster file."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window

from terralucas.data.rasters.band_names import BandNames

# What the description of an alpha band may say; `alpha` and `fmask` are also layers that the names of bands know.
_ALPHA = re.compile("alpha|mask|valid|nodata|transparen|opacity", re.IGNORECASE)


def read_masks(source: DatasetReader, bands: Sequence[int], window: Window | None = None) -> np.ndarray:
    """Return where pixels are outside the masks of a file, (bands, height, width) booleans.

    Alpha bands are masks for all bands, unless they are among them: GDAL takes any fourth band of small integers for an
    alpha band. Nodata values are left to the caller.

    Args:
        source: the open file.
        bands: numbers of all bands that are used of this file, counted from 1.
        window: the pixels to look at; None for all.
    """
    shape = source.shape if window is None else (window.height, window.width)
    missing = np.zeros((len(bands), *shape), dtype=bool)
    for alpha in find_alpha(source, bands):
        # NaN is missing, too.
        missing |= ~(source.read(alpha, window=window) > 0)
    # The property looks at all bands each time.
    flags_of_bands = source.mask_flag_enums
    for place, band in enumerate(bands):
        flags = flags_of_bands[band - 1]
        if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
            return missing | (source.read_masks(1, window=window) == 0)
        if not flags:
            missing[place] |= source.read_masks(band, window=window) == 0
    return missing


def find_alpha(source: DatasetReader, bands: Collection[int] = ()) -> list[int]:
    """Return the numbers, counted from 1, of the alpha bands of a file that are not among `bands`.

    A band whose description names another band or layer, such as NIR, is none, though GDAL may take it for one. Any
    other description, such as `Band 5` of the fifth band or `coverage`, says nothing against it.
    """
    if len(set(bands)) == source.count:
        return []
    alpha = [
        number for number, kind in enumerate(source.colorinterp, 1) if kind == ColorInterp.alpha and number not in bands
    ]
    texts = source.descriptions if alpha else ()
    named = [position + 1 for position in BandNames(texts).find_named()]
    return [number for number in alpha if number not in named or _ALPHA.search(texts[number - 1] or "")]
