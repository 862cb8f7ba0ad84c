"""Checks that come before Snakemake's own work, which profiles/default/config.yaml calls at each start."""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from snakemake.common import get_appdirs

from execution.start.configuration_copies import remember_content
from terralucas.errors import StudyError
from terralucas.study.config_files import check_arguments, configfiles_of

# The cache gets copies of the workflow's files.
_CACHE_BYTES = 2**18


def check_or_exit(arguments: Sequence[str]) -> None:
    """End Snakemake with a message if it cannot use a configuration file of its command line, or has no cache.

    Also name a user that has no name, because Snakemake needs one.
    """
    _name_user()
    # Jobs get the files of the process that started them.
    if "--target-jobs" in arguments:
        return
    try:
        _require_cache(Path(get_appdirs().user_cache_dir))
        check_arguments(arguments)
        remember_content(configfiles_of(arguments))
    except StudyError as error:
        sys.exit(f"Error: {error}")


def _name_user() -> None:
    """Take the number of a user for the name if the machine knows none, as in a container."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())


def _require_cache(folder: Path) -> None:
    """Raise a StudyError if Snakemake cannot write to the folder of its cache, as in a home that is full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_CACHE_BYTES))
    except OSError as error:
        raise StudyError(
            f"Snakemake cannot write its cache to {folder}.",
            found=f"a folder in which nothing can be made ({error.strerror})",
            expected="a home (HOME) or a folder for caches (XDG_CACHE_HOME) with some space that you may write to",
            remedy="free some space, or export XDG_CACHE_HOME=/path/of/a/folder, and start again",
        ) from None
