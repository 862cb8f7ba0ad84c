"""The folder of real Sentinel-2 chips that some tests read, where the environment names one."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("TERRALUCAS_REAL_CHIPS", "."))
needs_real_chips = pytest.mark.skipif(
    "TERRALUCAS_REAL_CHIPS" not in os.environ, reason="NOT TESTED: TERRALUCAS_REAL_CHIPS names no folder of real chips"
)
