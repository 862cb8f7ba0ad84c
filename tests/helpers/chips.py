"""Tiny chips as GeoTIFFs, and the description of a dataset of them."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

from terralucas.data.dataset import DatasetSpec
from terralucas.data.discovery.lucas import parse_point_id

BANDS = ["RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2"]
SIDE = 32


def make_spec(**changes) -> DatasetSpec:
    layout = {"labels": "table", "table": "labels.csv", "id_column": "Point_ID", "label_column": "STR18"}
    config = {
        "name": "tiny",
        "layout": layout,
        "classes": [{"code": 1, "name": "Arable lands"}, {"code": 2, "name": "Grass, 'dry' & öde"}],
        "bands": BANDS,
        "unit": "reflectance",
        "nodata": None,
        "point_ids": "lucas",
    }
    return DatasetSpec.from_config(config | changes)


def pixels(seed: int, shape: tuple[int, ...] = (6, SIDE, SIDE)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.02, 0.5, shape).astype(np.float32)


def write_tif(path: Path, values: np.ndarray, *, mask: np.ndarray | None = None, **profile) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    # A chip whose name is a LUCAS id lies at its point, and others side by side.
    cell = zlib.crc32(path.stem.encode("utf-8", "surrogateescape")) % 16_384
    west, north = parse_point_id(path.stem) or (4_592_000 + 640 * (cell % 128), 2_254_000 - 640 * (cell // 128))
    place = {"crs": "EPSG:3035", "transform": rasterio.Affine(10, 0, west, 0, -10, north)}
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width} | place | profile
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", dtype=values.dtype, **profile) as target:
        target.write(values)
        if mask is not None:
            target.write_mask(mask)
    return path


def write_with_alpha(path, values, hidden, names, place, alpha_name="alpha", **options):
    """A GeoTIFF whose bands are `values` with these names, and an alpha band at a place among them, 0 where hidden."""
    bands = np.insert(values, place, (~hidden).astype(values.dtype), axis=0)
    kinds = [ColorInterp.gray, *[ColorInterp.undefined] * (len(bands) - 1)]
    kinds[place] = ColorInterp.alpha
    size = {"height": bands.shape[1], "width": bands.shape[2], "count": len(bands), "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", **size, **options) as file:
        # Before the pixels: GDAL writes it with the header.
        file.colorinterp = kinds
        file.write(bands)
        file.descriptions = [*names[:place], alpha_name, *names[place:]]
