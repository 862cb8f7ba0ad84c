"""Replaces functions of Snakemake's SLURM plugin that were seen to make a study wait for ever.

It lasts for the process that submits; nothing here changes what jobs compute.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import snakemake_executor_plugin_slurm as plugin

from _signatures import require_parameters
from terralucas.errors import StudyError

# The functions are not part of the plugin's public interface: another version may use them in another way.
TESTED_VERSIONS = ("2.8.0",)

# Status checks grow up to 180 s apart, and a job that ends must still be remembered at the next.
_LONGEST_BETWEEN_CHECKS_S = 240


def patch_plugin(settings: Any) -> None:
    """Replace what the plugin needs replaced with these settings.

    Raises:
        StudyError: the plugin is not one that was tested, or SLURM forgets jobs before they would be missed.
    """
    _require_tested_plugin()
    if settings.status_command == "squeue":
        _keep_to_squeue(settings.init_seconds_before_status_checks)
    if not settings.requeue:
        _end_preempted_jobs()


def _require_tested_plugin() -> None:
    """Stop before anything is replaced in a plugin whose code is not known."""
    installed = version("snakemake-executor-plugin-slurm")
    if installed not in TESTED_VERSIONS:
        raise StudyError(
            "This version of Snakemake's SLURM plugin was not tested: the study has to replace functions inside it.",
            found=f"snakemake-executor-plugin-slurm {installed}",
            expected=" or ".join(TESTED_VERSIONS),
            remedy=f"pip install snakemake-executor-plugin-slurm=={TESTED_VERSIONS[-1]}",
        )
    require_parameters(plugin, "get_min_job_age", ())
    require_parameters(plugin, "query_job_status", ("command", "logger"))


def _keep_to_squeue(seconds_before_checks: int) -> None:
    """Ask once how long SLURM remembers ended jobs, and answer the plugin with that from now on.

    The plugin asks at every status check. While the controller is away it gets no answer and turns to sacct, and where
    that has no database every attempt fails and the study waits for its jobs for ever.
    """
    # None if the controller is away at this moment, too; SLURM remembers for 300 s unless a site says otherwise.
    remembered = plugin.get_min_job_age()
    needed = max(3 * seconds_before_checks, _LONGEST_BETWEEN_CHECKS_S)
    if remembered is not None and remembered < needed:
        raise StudyError(
            "This SLURM forgets ended jobs too soon to ask squeue about them.",
            found=f"MinJobAge {remembered} s",
            expected=f"{needed} s: the longest time between two checks, and three times "
            "slurm-init-seconds-before-status-checks",
            remedy="set slurm-status-command to sacct where SLURM has an accounting database, or ask the "
            "site for a longer MinJobAge",
        )
    plugin.get_min_job_age = lambda: sys.maxsize if remembered is None else remembered


def _end_preempted_jobs() -> None:
    """Where SLURM may not requeue, a preempted job is over; the plugin would wait for its return for ever."""
    query = plugin.query_job_status

    async def query_job_status(command: str, logger: Any) -> Any:
        states, seconds = await query(command, logger)
        if states is not None:
            states = {job: "CANCELLED" if state == "PREEMPTED" else state for job, state in states.items()}
        return states, seconds

    plugin.query_job_status = query_job_status
