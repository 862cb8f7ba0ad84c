"""The coordinate reference system of all points, and the folder of the data files that ship with the package."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
EPSG = 3035
