"""Write points as GeoJSON."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from terralucas.files import atomic_path

if TYPE_CHECKING:
    import geopandas as gpd


def write_geojson(table: gpd.GeoDataFrame, path: Path, decimals: int) -> None:
    """Write a table in WGS 84 as GeoJSON (RFC 7946), atomically.

    The text is made in memory: when GDAL closes a file on a full disk, it leaves out the rest without an error.

    Args:
        table: points in WGS 84.
        path: of the file.
        decimals: of the coordinates.
    """
    content = BytesIO()
    table.to_file(
        content, driver="GeoJSON", layer=path.stem, engine="pyogrio", RFC7946="YES", COORDINATE_PRECISION=decimals
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())
