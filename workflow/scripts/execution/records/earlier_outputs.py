"""Keeps the outputs of an earlier job until a job has made new ones, where making them again takes long.

Snakemake deletes the outputs of a job before it starts, and records the parameters of a job also if it fails. After a
mistake in the configuration that a job refuses, and its correction, its work and all that follows from it would be done
again.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.jobs import Job

from execution.rule_names import RUN_RULES
from terralucas.study.own_files import keep_own_files

# Scripts of these write each output at once and at the end, or delete the earlier ones themselves when they begin to
# make new ones.
RULES = (
    *("retrieve_chips", "fetch_weights", "index_chips", "split_chips", "pack_chips", "extract_features"),
    *("fit_control", *RUN_RULES, "make_tables", "make_evidence"),
)
# The script of this rule reads the commit in its earlier output, also where Snakemake's records were not copied with
# the results.
_READ_AGAIN = "fetch_weights"
# Users complete the model card in the folder of this rule.
_COMPLETED_BY_HAND = "export_models"


@dataclass(frozen=True)
class _Earlier:
    """What was there before a job: the state of each output, and what Snakemake had recorded of it, if anything."""

    states: dict[Path, os.stat_result]
    records: dict[str, Any]


def keep_until_new() -> None:
    """Let jobs leave earlier outputs alone until they write new ones.

    If a job fails and its outputs are still the earlier ones, Snakemake's records of them are put back as they were:
    with the earlier configuration nothing is to be done then, and with the refused one the job is done again. If it
    fails when some of them are new, the others are deleted, so that it is done again.
    """
    register, remove, postprocess = Job.register, Job.remove_existing_output, Job.postprocess
    kept: dict[Job, _Earlier] = {}

    def register_with_earlier(self: Job, *args: Any, **options: Any) -> None:
        kept.pop(self, None)
        earlier = _find_earlier(self)
        if earlier is not None:
            kept[self] = earlier
        register(self, *args, **options)

    # In the process of the job, which need not be the one that starts it.
    async def remove_existing_output(self: Job) -> None:
        earlier = _find_earlier(self)
        # What has no record may be a part of what a killed job wrote.
        if earlier is None or (None in earlier.records.values() and self.rule.name != _READ_AGAIN):
            if self.rule.name == _COMPLETED_BY_HAND:
                keep_own_files(Path(self.output[0]))
            await remove(self)
            return
        for log in self.log:
            await log.remove(remove_non_empty_dir=False)

    async def postprocess_and_put_back(self: Job, *args: Any, **options: Any) -> None:
        earlier = kept.pop(self, None)
        await postprocess(self, *args, **options)
        # Snakemake names `error` in each call.
        if earlier is not None and options.get("error"):
            _put_back(self.dag.workflow.persistence, earlier)

    Job.register, Job.remove_existing_output = register_with_earlier, remove_existing_output
    Job.postprocess = postprocess_and_put_back


def remove_mixtures(workflow: Any) -> None:
    """Delete outputs of planned jobs that were killed: some may be new and others of an earlier job.

    Snakemake knows them by its mark of an incomplete job. Runs delete earlier outputs themselves. A single output is
    written at once, and the script may need the earlier one (`_READ_AGAIN`).
    """
    persistence = workflow.persistence
    for job in workflow.dag.needrun_jobs():
        if len(job.output) < 2:
            continue
        keys = [persistence._get_key(path) for path in job.output]
        if job.rule.name in RULES and job.rule.name not in RUN_RULES and persistence._filter_incomplete_keys(keys):
            for path in job.output:
                Path(path).unlink(missing_ok=True)


def _find_earlier(job: Job) -> _Earlier | None:
    """Return what a job of these rules would replace; None if its outputs are not all there."""
    if job.rule.name not in RULES or not all(Path(path).is_file() for path in job.output):
        return None
    persistence = job.dag.workflow.persistence
    # Snakemake changes records that it has read and keeps; these are read from the disk.
    persistence._clear_cache()
    records = {str(path): copy.deepcopy(persistence.metadata(path)) for path in job.output}
    return _Earlier({Path(path): Path(path).stat() for path in job.output}, records)


def _put_back(persistence: Any, earlier: _Earlier) -> None:
    """Put back Snakemake's records of outputs that are the earlier ones; delete these if others are new."""
    unchanged = [path for path, state in earlier.states.items() if is_same(path, state)]
    if len(unchanged) < len(earlier.states):
        for path in unchanged:
            path.unlink()
        return
    for key, record in earlier.records.items():
        if record is None:
            persistence._delete_record(key)
        else:
            persistence._write_record(key, record)
    # It still has the records that it wrote at the failure.
    persistence._clear_cache()


def is_same(path: Path, state: os.stat_result) -> bool:
    """Return whether a file is there and the one that had this state."""
    try:
        # Network file systems show new states when a file is opened.
        with path.open("rb") as file:
            now = os.fstat(file.fileno())
    except OSError:
        return False
    return (now.st_ino, now.st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
