"""Mends what Snakemake's SLURM plugin (2.8.0) does badly, each thing seen to hang or to hide an error.

It lasts for the process that submits; nothing here changes what jobs compute.
"""

from __future__ import annotations

import sys
from typing import Any

import snakemake_executor_plugin_slurm as plugin
from snakemake.jobs import GroupJob

from terralucas.errors import StudyError

# Status checks grow up to 180 s apart, and a job that ends must still be remembered at the next.
_LONGEST_BETWEEN_CHECKS_S = 240


def mend_plugin(settings: Any) -> None:
    """Mend the plugin for its settings.

    Raises:
        StudyError: SLURM forgets jobs before they would be missed.
    """
    if settings.status_command == "squeue":
        _keep_to_squeue(settings.init_seconds_before_status_checks)
    if not settings.requeue:
        _end_preempted_jobs()
    _speak_for_packs()


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

    async def query_job_status(*arguments: Any) -> Any:
        states, seconds = await query(*arguments)
        if states is not None:
            states = {job: "CANCELLED" if state == "PREEMPTED" else state for job, state in states.items()}
        return states, seconds

    plugin.query_job_status = query_job_status


def _speak_for_packs() -> None:
    """A pack has no rule, without which the plugin's own error handling dies, and drops what SLURM said of it."""
    log_error = GroupJob.log_error
    GroupJob.rule = property(lambda self: next(iter(self.jobs)).rule)
    GroupJob.log_error = lambda self, msg=None, **named: log_error(self, said=msg, **named)
