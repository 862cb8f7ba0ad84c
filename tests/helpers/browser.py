"""A real Chromium for the tests of the report page."""

from __future__ import annotations

import shutil

from helpers.debian import PackageError, install

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find() -> str | None:
    """Path of a browser, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def install_chromium() -> str:
    """Install Debian's Chromium, and return its path.

    Raises:
        PackageError: it cannot be installed.
    """
    install(["chromium"])
    path = find()
    if path is None:
        raise PackageError(f"the package chromium is installed, but none of {', '.join(NAMES)} is in PATH")
    return path
