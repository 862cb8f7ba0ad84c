"""Keep GDAL and PROJ from variables of the shell: those of another installation, and those that change what is read."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

# QGIS, PostGIS and conda set them. Data of another version make every coordinate reference system unknown, and drivers
# of another version cannot be loaded.
_VARIABLES = ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "GDAL_DRIVER_PATH")
# Options of GDAL with which the same files have other values, places or missing pixels, or damage is no error.
_OPTIONS = (
    *(
        "GDAL_GEOREF_SOURCES",
        "GDAL_PAM_ENABLED",
        "GDAL_DISABLE_READDIR_ON_OPEN",
        "GDAL_CONFIG_FILE",
        "GDAL_PAM_PROXY_DIR",
    ),
    *("GTIFF_IGNORE_READ_ERRORS", "GTIFF_POINT_GEO_IGNORE", "GTIFF_HONOUR_NEGATIVE_SCALEY", "GTIFF_SRS_SOURCE"),
    *("GDAL_TIFF_INTERNAL_MASK_TO_8BIT", "GTIFF_VIRTUAL_MEM_IO", "GTIFF_DIRECT_IO"),
    *("GDAL_CONFIG_FILE", "OSR_DEFAULT_AXIS_MAPPING_STRATEGY", "OGR_CT_OP_SELECTION"),
    # With a network, PROJ takes other transformations, and without one it then finds none.
    *("PROJ_NETWORK", "PROJ_ONLY_BEST_DEFAULT"),
)


def ignore_shell_variables() -> None:
    """Remove variables that name files outside this Python's environment, so that rasterio and pyproj use their own.

    Remove also options of GDAL, and keep it from its configuration file, so that a file is read in the same way for
    every user.

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
    # Of GDAL_CONFIG_FILE, the value that a process of this project has left is no user's.
    options = [name for name in _OPTIONS if os.environ.pop(name, os.devnull) != os.devnull]
    if options:
        logger.warning("%s of your shell are ignored; they change what GDAL reads", ", ".join(options))
    # Such options can also stand in the file .gdal/gdalrc of the home folder.
    os.environ["GDAL_CONFIG_FILE"] = os.devnull


def _is_below(path: str, folder: Path) -> bool:
    return bool(path) and Path(path).resolve().is_relative_to(folder)
