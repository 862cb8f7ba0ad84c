"""A folder for temporary files that fills while a study runs does not end it."""

import errno
import logging
import os
from types import SimpleNamespace

from snakemake.scheduling.job_scheduler import JobScheduler

from execution.jobs.scheduler import survive_full_temporary_folder


def test_jobs_are_chosen_without_the_solver_where_its_file_cannot_be_written(caplog):
    is_full = True

    def select(jobs):
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/1-pulp.mps")
        return jobs

    scheduler = SimpleNamespace(_job_selector=select)
    survive_full_temporary_folder(scheduler, logging.getLogger("snakemake"))
    assert scheduler._job_selector(["a"]) is None, "which Snakemake takes for no answer of the solver"
    assert scheduler._job_selector(["a"]) is None
    (record,) = caplog.records
    assert "cannot be used by the solver that chooses jobs ([Errno 28] No space left" in record.getMessage()
    is_full = False
    assert scheduler._job_selector(["a"]) == ["a"]


def test_this_snakemake_has_what_is_replaced():
    assert "_job_selector" in JobScheduler.job_selector.__code__.co_names
    assert "job_selector_greedy" in JobScheduler.job_selector.__code__.co_varnames + tuple(
        name
        for code in JobScheduler.job_selector.__code__.co_consts
        if hasattr(code, "co_names")
        for name in code.co_names
    )
