"""What a test does where this machine lacks something: it says so, and fails where that is required."""

from __future__ import annotations

import os
import warnings

import pytest


def not_tested(need: str, reason: object) -> None:
    """Skip the test with a warning; fail it if TERRALUCAS_REQUIRE names the need.

    Args:
        need: what is missing, such as `slurm`; TERRALUCAS_REQUIRE has such words, with blanks between them.
        reason: why it is missing.
    """
    if need in os.environ.get("TERRALUCAS_REQUIRE", "").split():
        pytest.fail(f"TERRALUCAS_REQUIRE names {need}, and it is missing: {reason}")
    warnings.warn(pytest.PytestWarning(f"NOT TESTED without {need}: {reason}"), stacklevel=2)
    pytest.skip(f"NOT TESTED without {need}: {reason}")
