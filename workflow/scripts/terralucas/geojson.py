"""Write points as GeoJSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from terralucas.files import atomic_path

if TYPE_CHECKING:
    import geopandas as gpd

# As Python objects, the numbers of a row take several times the memory of the table.
_ROWS_AT_A_TIME = 64


def write_geojson(table: gpd.GeoDataFrame, path: Path, decimals: int) -> None:
    """Write a table in WGS 84 as GeoJSON (RFC 7946), atomically.

    The text is made row by row, because with thousands of columns it takes several times the memory of the table. GDAL
    does not write the file: when it closes a file on a full disk, it leaves out the rest without an error.

    Args:
        table: points in WGS 84; the other columns hold text, booleans or numbers. A missing value becomes null.
        path: of the file.
        decimals: of the coordinates.

    Raises:
        ValueError: if a number is infinite.
    """
    import geopandas as gpd
    import numpy as np

    # The shortest decimal number of each value, as Python writes it, is that of float64.
    short = table.select_dtypes(np.float32)
    table = table.assign(**{column: short[column].astype(str).astype(float) for column in short})
    points = gpd.points_from_xy(table.geometry.x.round(decimals), table.geometry.y.round(decimals), crs=table.crs)
    table = table.set_geometry(points)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        name = json.dumps(path.stem, ensure_ascii=False)
        file.write(f'{{"type": "FeatureCollection", "name": {name}, "features": [')
        separator = "\n"
        for start in range(0, len(table), _ROWS_AT_A_TIME):
            for feature in table.iloc[start : start + _ROWS_AT_A_TIME].iterfeatures(drop_id=True):
                file.write(separator + json.dumps(feature, ensure_ascii=False, allow_nan=False))
                separator = ",\n"
        file.write("\n]}\n")
