"""Which runs of a study are finished, and which a session would do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from execution.records.finished_runs import has_these_settings
from execution.records.made_with import compares_settings
from execution.rule_names import RUN_RULES

# Backbone, loss, decoder and seed.
Run = tuple[str, str, str, str]


def finished_runs(runs: Sequence[Run], records: Iterable[str]) -> set[Run]:
    """Return the runs whose record is there.

    Args:
        runs: of the grid.
        records: path of the run.yaml of each, in the same order.
    """
    return {run for run, record in zip(runs, records, strict=True) if Path(record).is_file()}


def planned_runs(dag: Any) -> set[Run]:
    """Return the runs that a session would do, from Snakemake's graph of jobs."""
    jobs = dag.needrun_jobs(exclude_finished=False)
    wildcards = [job.wildcards for job in jobs if job.rule.name in RUN_RULES]
    return {(each.backbone, each.loss, each.decoder, each.seed) for each in wildcards}


def runs_of_other_settings(workflow: Any) -> list[Run]:
    """Return the runs that are there and would be kept, though configuration, code or data now are other ones.

    Snakemake does not notice where it has no records of the files, because results were copied without the folder
    .snakemake or its records were deleted, or where another process wrote the files.
    """
    if not compares_settings(workflow):
        return []
    dag = workflow.dag
    kept = [job for job in dag.jobs if job.rule.name in RUN_RULES and not dag.needrun(job)]
    other = [job.wildcards for job in kept if Path(job.output.record).is_file() and not has_these_settings(job)]
    return sorted((each.backbone, each.loss, each.decoder, each.seed) for each in other)
