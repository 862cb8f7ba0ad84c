"""Keeps Snakemake's SLURM plugin to squeue where a profile asks for it, also while the controller is away.

At every status check the plugin (2.8.0) asks the controller how long it remembers ended jobs. Without an answer it
turns to sacct, and where that has no database, every attempt fails and the study waits for its jobs for ever. So it is
asked once, when the study starts.
"""

from __future__ import annotations

import sys

import snakemake_executor_plugin_slurm as plugin

from terralucas.errors import StudyError


def keep_to_squeue(seconds_before_checks: int) -> None:
    """Ask once how long ended jobs are remembered, and answer the plugin with that from now on.

    Args:
        seconds_before_checks: `slurm-init-seconds-before-status-checks`.

    Raises:
        StudyError: jobs are forgotten before they would be missed.
    """
    # None if the controller is away at this moment, too; sites remember for 300 s unless they say otherwise.
    remembered = plugin.get_min_job_age()
    needed = 3 * seconds_before_checks
    if remembered is not None and remembered < needed:
        raise StudyError(
            "This SLURM forgets ended jobs too soon to ask squeue about them.",
            found=f"MinJobAge {remembered} s",
            expected=f"{needed} s, three times slurm-init-seconds-before-status-checks",
            remedy="lower slurm-init-seconds-before-status-checks in the profile, or set slurm-status-command to sacct "
            "where SLURM has an accounting database",
        )
    plugin.get_min_job_age = lambda: sys.maxsize if remembered is None else remembered
