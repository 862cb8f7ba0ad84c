"""Prepares a session whose jobs run on a cluster: checks and changes what Snakemake needs for that."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from execution.cluster.packs import patch_packs
from execution.records.own_start import tell_jobs
from execution.start.configuration_copies import copy_configuration
from execution.start.start_checks import require_quotable_paths, require_quotable_settings
from terralucas.errors import StudyError


def temporary_folders(workflow: Any) -> tuple[str, ...]:
    """Return Snakemake's own folder for scripts of jobs on a cluster, which it deletes at its end; here it has none."""
    return () if workflow.local_exec else (workflow.scheduler._executor.tmpdir,)


def check_before_jobs(check: Callable[[], None], workflow: Any, results: Path) -> None:
    """Make a check of a start; its error names jobs of earlier starts that go on in the queue.

    Args:
        check: raises a StudyError where the study must not start.
        workflow: Snakemake's.
        results: folder of the study.

    Raises:
        StudyError: of the check.
    """
    try:
        check()
    except StudyError as error:
        # Jobs of a killed start on SLURM may go on where the study is started again on this machine alone.
        is_on_slurm = shutil.which("squeue") if workflow.local_exec else workflow.executor_plugin.name == "slurm"
        if not is_on_slurm:
            raise
        from execution.slurm.earlier_jobs import with_jobs_in_queue

        raise with_jobs_in_queue(error, results) from None


def prepare_cluster(workflow: Any, results: Path, start: str | None, earlier_jobs: str) -> None:
    """Check and change what Snakemake needs to run jobs on a cluster, before the first job.

    Args:
        workflow: Snakemake's.
        results: folder of the study.
        start: of this process (`Head.start`).
        earlier_jobs: what becomes of SLURM jobs of earlier starts: cancel or report.

    Raises:
        StudyError: the study cannot run on this cluster, or not with this version of Snakemake.
    """
    require_quotable_paths((Path.cwd(), workflow.main_snakefile, *workflow.overwrite_configfiles))
    require_quotable_settings(workflow.config_settings.config_args)
    copy_configuration(workflow.config_settings.configfiles)
    tell_jobs(workflow.config_settings, start)
    if workflow.group_settings.overwrite_groups:
        patch_packs()
    # A local rule fails on this machine as it did before; only jobs of the cluster end for reasons of their own.
    for each in workflow.rules:
        if workflow.is_local(each):
            each.restart_times = 0
    # The plugin is only installed for sure, and its settings only known, where it is the executor.
    if workflow.executor_plugin.name == "slurm":
        from execution.slurm.plugin import prepare_slurm

        prepare_slurm(workflow.scheduler._executor, results, earlier_jobs, workflow.logger_manager.logger)
