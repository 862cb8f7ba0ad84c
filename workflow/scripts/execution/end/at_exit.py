"""What is done when Snakemake's process ends, in the folder of the study."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def at_exit(function: Callable[..., object], *arguments: object, **options: Any) -> None:
    """Call a function when Python ends, in the working directory of now.

    With `--directory`, Snakemake returns to the folder in which it was started before Python ends; another study of the
    same name may be there. Nothing is called if the folder of now is gone.
    """
    atexit.register(_call, Path.cwd(), function, arguments, options)


def _call(
    folder: Path, function: Callable[..., object], arguments: tuple[object, ...], options: dict[str, Any]
) -> None:
    if folder.is_dir():
        with contextlib.chdir(folder):
            function(*arguments, **options)
