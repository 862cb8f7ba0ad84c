"""Keep GDAL and PROJ from the data of another installation that variables of the shell name."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

# QGIS, PostGIS and conda set them. Data of another version make every coordinate reference system unknown, and drivers
# of another version cannot be loaded.
_VARIABLES = ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "GDAL_DRIVER_PATH")


def ignore_other_installations() -> None:
    """Remove variables that name files outside this Python's environment, so that rasterio and pyproj use their own.

    Both read the variables when they are imported, so that this comes first. Processes that are started later inherit
    what is left.
    """
    here = Path(sys.prefix).resolve()
    ignored = [name for name in _VARIABLES if name in os.environ and not _is_below(os.environ[name], here)]
    for name in ignored:
        del os.environ[name]
    if ignored:
        logger.warning(
            "%s of your shell are ignored; they name GDAL or PROJ of another installation", ", ".join(ignored)
        )


def _is_below(path: str, folder: Path) -> bool:
    return bool(path) and Path(path).resolve().is_relative_to(folder)
