"""Keeps the outputs of the first rules of a study where a job that should make them again fails.

Snakemake deletes the outputs of a job before it starts, and records the parameters of a job also if it fails. All other
jobs follow from what the first rules make: after a mistake in the configuration that these refuse, and its correction,
all would be done again.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.jobs import Job

# Their scripts write each output at once and at the end, so that a failure leaves the old ones.
RULES = ("retrieve_chips", "fetch_weights", "index_chips")


@dataclass(frozen=True)
class _Earlier:
    """What was there before a job: the state of each output, and what Snakemake had recorded of it."""

    states: dict[Path, os.stat_result]
    records: dict[str, Any]


def keep_first_outputs() -> None:
    """Let jobs of the first rules leave their old outputs alone until they write new ones.

    If a job fails and its outputs are still the old ones, Snakemake's records of them are put back as they were: with
    the old configuration nothing is to be done then, and with the refused one the job is done again.
    """
    register, remove, postprocess = Job.register, Job.remove_existing_output, Job.postprocess
    kept: dict[Job, _Earlier] = {}

    def register_with_earlier(self: Job, *args: Any, **options: Any) -> None:
        earlier = _find_earlier(self)
        if earlier is not None:
            kept[self] = earlier
        register(self, *args, **options)

    # In the process of the job, which need not be the one that starts it.
    async def remove_existing_output(self: Job) -> None:
        if _find_earlier(self) is None:
            await remove(self)
            return
        for log in self.log:
            await log.remove(remove_non_empty_dir=False)

    async def postprocess_and_put_back(self: Job, *args: Any, **options: Any) -> None:
        earlier = kept.pop(self, None)
        await postprocess(self, *args, **options)
        # Snakemake names it in each call.
        failed = options.get("error", False)
        if earlier is not None and failed and all(_is_same(*each) for each in earlier.states.items()):
            for key, record in earlier.records.items():
                self.dag.workflow.persistence._write_record(key, record)

    Job.register, Job.remove_existing_output = register_with_earlier, remove_existing_output
    Job.postprocess = postprocess_and_put_back


def _find_earlier(job: Job) -> _Earlier | None:
    """Return what a job of the first rules would replace; None if it has no such outputs, or Snakemake no record."""
    if job.rule.name not in RULES or not all(Path(path).is_file() for path in job.output):
        return None
    persistence = job.dag.workflow.persistence
    # Copies: Snakemake changes the records that it has read.
    records = {str(path): copy.deepcopy(persistence.metadata(path)) for path in job.output}
    if not all(records.values()):
        return None
    return _Earlier({Path(path): Path(path).stat() for path in job.output}, records)


def _is_same(path: Path, state: os.stat_result) -> bool:
    return path.is_file() and (path.stat().st_ino, path.stat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
