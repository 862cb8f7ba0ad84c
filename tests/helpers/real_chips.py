"""The folder of real Sentinel-2 chips that some tests read, where the environment names one."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("TERRALUCAS_REAL_CHIPS", "."))
needs_real_chips = pytest.mark.skipif(
    "TERRALUCAS_REAL_CHIPS" not in os.environ, reason="NOT TESTED: TERRALUCAS_REAL_CHIPS names no folder of real chips"
)

# Tests that look at each chip would assert nothing.
if "TERRALUCAS_REAL_CHIPS" in os.environ and not any(FOLDER.rglob("*.tif")):
    raise FileNotFoundError(f"TERRALUCAS_REAL_CHIPS names {FOLDER.resolve()}, which has no chips; expected *.tif files")
