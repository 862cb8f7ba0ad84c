"""Changes to Snakemake for runs that share a job of a cluster, a pack: one that fails takes no other along.

They last for the process that submits, and change nothing that jobs compute.
"""

from __future__ import annotations

from typing import Any

from snakemake.jobs import GroupJob
from snakemake.spawn_jobs import SpawnedJobArgsFactory

from execution.known_functions import require_parameters
from terralucas.errors import StudyError


def patch_packs() -> None:
    """Let a pack go on after a run that fails, and report what the cluster says of it.

    Raises:
        StudyError: this version of Snakemake has other functions than those that are replaced.
    """
    # Both are checked before either is replaced.
    require_parameters(SpawnedJobArgsFactory, "general_args", ("self", "executor_common_settings"))
    require_parameters(GroupJob, "log_error", ("self", "msg", "aux_logs", "kwargs"))
    if hasattr(GroupJob, "rule"):
        raise StudyError(
            "This version of Snakemake cannot be used: the study has to give packs of runs an attribute `rule`.",
            found="GroupJob.rule is there",
            expected="no GroupJob.rule",
            remedy="install the versions in requirements.lock",
        )
    _hand_on_keep_going()
    _report_group_errors()


def _hand_on_keep_going() -> None:
    """Snakemake hands --keep-incomplete to the processes it starts, but not --keep-going.

    Without it, the first run of a pack to fail ends the runs after it.
    """
    general_args = SpawnedJobArgsFactory.general_args

    def with_keep_going(self: SpawnedJobArgsFactory, executor_common_settings: Any) -> str:
        return f"{general_args(self, executor_common_settings)} --keep-going"

    SpawnedJobArgsFactory.general_args = with_keep_going


def _report_group_errors() -> None:
    """Give a pack a rule, without which the SLURM plugin's own error handling fails, and keep what SLURM said of it."""
    log_error = GroupJob.log_error

    def log_error_with_message(
        self: GroupJob, msg: str | None = None, aux_logs: list[str] | None = None, **kwargs: Any
    ) -> None:
        # Snakemake's own function drops the message; further arguments become attributes of the log record.
        log_error(self, aux_logs=aux_logs, said=msg, **kwargs)

    GroupJob.rule = property(lambda self: next(iter(self.jobs)).rule)
    GroupJob.log_error = log_error_with_message
