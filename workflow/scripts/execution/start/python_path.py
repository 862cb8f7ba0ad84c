"""Lets jobs import the modules of this project also where the shell names another copy of it."""

from __future__ import annotations

import os
from pathlib import Path


def put_first(scripts: Path) -> None:
    """Put a folder of modules first in PYTHONPATH, for the processes that this one starts.

    The script of a job looks there for modules, and only then beside itself.
    """
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = [str(scripts), *(folder for folder in others if folder and folder != str(scripts))]
    os.environ["PYTHONPATH"] = os.pathsep.join(folders)
