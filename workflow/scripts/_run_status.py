"""Which runs of a study are finished, and which a session would do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from _terminal import RUN_RULES

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
