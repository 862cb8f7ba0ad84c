"""Check configuration files before Snakemake reads them: profiles/default/config.yaml calls this at each start."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from _configuration_copies import remember_content
from terralucas.errors import StudyError
from terralucas.study.config_files import check_arguments, configfiles_of


def check_or_exit(arguments: Sequence[str]) -> None:
    """End Snakemake with a message if a configuration file of its command line cannot be used."""
    # Jobs get the files of the process that started them.
    if "--target-jobs" in arguments:
        return
    try:
        check_arguments(arguments)
        remember_content(configfiles_of(arguments))
    except StudyError as error:
        sys.exit(f"Error: {error}")
