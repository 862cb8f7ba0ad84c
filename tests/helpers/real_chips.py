"""The folder of real Sentinel-2 chips that some tests read, where the environment names one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from helpers.chips import write_tif

BANDS = ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]
FOLDER = Path(os.environ.get("TERRALUCAS_REAL_CHIPS", "."))
needs_real_chips = pytest.mark.skipif(
    "TERRALUCAS_REAL_CHIPS" not in os.environ, reason="NOT TESTED: TERRALUCAS_REAL_CHIPS names no folder of real chips"
)

# Tests that look at each chip would assert nothing.
if "TERRALUCAS_REAL_CHIPS" in os.environ and not any(FOLDER.rglob("*.tif")):
    raise FileNotFoundError(f"TERRALUCAS_REAL_CHIPS names {FOLDER.resolve()}, which has no chips; expected *.tif files")


def write_real(root: Path, code: str, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Write the real chips in folders of their classes, those of one class changed.

    Args:
        root: folder of the folders.
        code: the class; an empty text changes none.
        change: function of the DN (bands, height, width) of a chip.

    Returns:
        Keys of the section `dataset` that describe them.
    """
    names = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())
    for file in sorted(FOLDER.glob("*/*.tif")):
        with rasterio.open(file) as source:
            values, place = source.read(), {"crs": source.crs, "transform": source.transform}
        name = file.parent.name
        written = change(values).astype(values.dtype) if name == code else values
        write_tif(root / name / f"{file.stem}.tif", written, **place)
    return {"classes": [{"code": name, "name": name} for name in names], "bands": BANDS, "pixel_size_m": 10}
