"""Lets a study go on where Snakemake's scheduler cannot write its temporary file."""

from __future__ import annotations

import logging
import tempfile
from typing import Any


def survive_full_temporary_folder(scheduler: Any, logger: logging.Logger) -> None:
    """Let Snakemake choose jobs without its solver where the files of that cannot be written.

    The solver (PuLP) writes each problem to a file. Its error would end the study with a traceback and cancel its jobs;
    Snakemake's greedy choice needs no file.

    Args:
        scheduler: of the running study.
        logger: where Snakemake logs.
    """
    select = getattr(scheduler, "_job_selector", None)
    if select is None:
        return
    is_said = False

    def select_jobs(*arguments: Any) -> Any:
        nonlocal is_said
        try:
            return select(*arguments)
        except OSError as error:
            if not is_said:
                is_said = True
                logger.warning(
                    f"The folder for temporary files, {tempfile.gettempdir()} (TMPDIR), cannot be used by the solver "
                    f"that chooses jobs ({error}). The study goes on without it; jobs that need this folder may fail: "
                    "free some space there."
                )
            # Snakemake asks its greedy scheduler then.
            return None

    scheduler._job_selector = select_jobs
