"""What a SLURM job runs on its node: one Snakemake, which starts the runs of a pack by itself."""

from __future__ import annotations

from typing import Any

import snakemake_executor_plugin_slurm as plugin

FUNCTIONS = (
    (plugin.Executor, "get_job_args", ("self", "job")),
    (plugin.Executor, "get_job_exec_prefix", ("self", "job")),
    (plugin.Executor, "additional_general_args", ("self",)),
)


def run_jobs_in_one_process() -> None:
    """Let the Snakemake of a job run its rules as on one machine.

    The plugin would start a SLURM step with another Snakemake for each of them. That costs seconds a run, and leaves
    nothing to fork (`execution.jobs.fork_jobs`). The job has one task on one node, so that a step would get what the
    job has.
    """
    get_job_args = plugin.Executor.get_job_args

    def with_the_cores_of_the_job(self: Any, job: Any) -> str:
        # The last value counts. Without it, all cores of a node that does not confine jobs would be used.
        return f"{get_job_args(self, job)} --cores {job.threads}"

    plugin.Executor.get_job_args = with_the_cores_of_the_job
    plugin.Executor.additional_general_args = lambda self: "--executor local"
    # At a time limit and after scancel, SLURM sends SIGTERM to all processes of a job. If the shell ended there, SLURM
    # would kill the others at once, before runs have saved their progress. Unlike an ignored signal, one with a command
    # is not handed down to what the shell starts.
    plugin.Executor.get_job_exec_prefix = lambda self, job: "trap : TERM"
