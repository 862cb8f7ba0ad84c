"""A real Chromium for the tests of pages."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

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


def look_at(chromium: str, page: Path) -> tuple[Any, list[str]]:
    """Open a page that writes what it sees as JSON into its element `pre`.

    Returns:
        What it saw; and the lines that pages wrote to the browser's console.
    """
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--allow-file-access-from-files", "--enable-logging=stderr",
        f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert seen, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(html.unescape(seen[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]
