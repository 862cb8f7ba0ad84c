"""The reference system of all places, and the folder of files that ship with the core."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
EPSG = 3035
