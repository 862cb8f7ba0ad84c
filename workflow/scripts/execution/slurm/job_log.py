"""Read in the log of a job whether its Snakemake has ended well."""

from __future__ import annotations

import re
from pathlib import Path

from execution.slurm.clients import plain

# What Snakemake writes at the beginning of a job, and when all rules of it have ended well.
_BEGINS = "Building DAG of jobs..."
_DONE = re.compile(r"^(\d+) of \1 steps \(100%\) done$", re.MULTILINE)


def says_done(log: Path | None) -> bool:
    """Return whether the Snakemake of a job wrote that all its steps are done; False without a log."""
    try:
        text = plain(log.read_text(encoding="utf-8", errors="replace")) if log else ""
    except OSError:
        return False
    # Where SLURM starts a job again, its log may go on.
    return bool(_DONE.search(text.rpartition(_BEGINS)[2]))
