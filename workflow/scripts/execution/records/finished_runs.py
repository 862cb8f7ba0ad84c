"""Keeps the files of a finished run where a job for the same run starts once more.

Snakemake deletes the outputs of a job before the job starts. A job of a study that was killed may wait in the queue of
a cluster until the study, started again, has long finished its runs.
"""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import Any

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.jobs import Job

from execution.end.stopped import StudyStoppedError
from execution.known_functions import require_parameters
from execution.records.earlier_outputs import is_same, keep_until_new
from execution.records.file_checksums import state_of
from execution.records.made_with import require_own_parameters
from execution.records.own_code import OwnCode
from execution.records.own_start import require_own_start, results_of_own_start
from execution.rule_names import RUN_RULES
from terralucas.contents import content_of_weights, read_record
from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.names import run_name


def patch_deletion() -> StudyError | None:
    """Let jobs of runs leave finished runs alone; return why that is impossible in a Snakemake with other functions."""
    try:
        require_parameters(Job, "register", ("self", "external_jobid"))
        require_parameters(Job, "remove_existing_output", ("self",))
        arguments = ("store_in_storage", "handle_log", "handle_touch", "error", "ignore_missing_output")
        require_parameters(Job, "postprocess", ("self", *arguments, "check_output_mtime"))
    except StudyError as error:
        return error
    keep_until_new()
    _keep_finished_runs()
    return None


def describe_danger(problem: StudyError) -> str:
    """Return what it means for a study on a cluster that finished runs are not kept, and what to do.

    Args:
        problem: of `patch_deletion`.
    """
    return (
        "Finished runs are not protected from jobs of earlier starts, because this Snakemake is not the one "
        "that was tested.\n"
        f"  found: {problem.found}\n"
        f"  expected: {problem.expected}\n"
        "  what it means: a job that an earlier start left in the queue deletes the files of its run when it begins, "
        "also if the run is finished by then; the run is then trained again\n"
        f"  what to do: {problem.remedy}; or see that no job of an earlier start is in the queue "
        "(on SLURM, earlier_jobs=cancel, the default, cancels them)"
    )


def _keep_finished_runs() -> None:
    """Neither delete the files of a finished run nor give them other times, which Snakemake does when a job has ended.

    Where the start that a job belongs to is over, the files are those of another start, and stay as they are.

    `is_of_these_settings` compares settings, code, features and weights; the script also compares the split, and
    deletes the files of another run.
    """
    remove, postprocess = Job.remove_existing_output, Job.postprocess
    kept: dict[Job, dict[Path, os.stat_result]] = {}

    async def remove_existing_output(self: Job) -> None:
        try:
            _require_own_job(self)
            is_kept = is_of_these_settings(self)
        except StudyError as error:
            raise StudyStoppedError(str(error)) from None
        if is_kept:
            kept[self] = {Path(path): Path(path).stat() for path in self.output}
        else:
            await remove(self)

    async def postprocess_with_times(self: Job, *args: Any, **options: Any) -> None:
        try:
            require_own_start()
        except StudyError:
            # Snakemake would record, or delete after a failure, the files of another start.
            return
        before = kept.pop(self, {})
        is_unchanged = bool(before) and all(is_same(path, state) for path, state in before.items())
        try:
            await postprocess(self, *args, **options)
        except (OSError, WorkflowError) as error:
            # Snakemake makes the log of a failed job if it is missing. On a full or read-only disk, it would end the
            # start, and cancel all other jobs.
            if not options.get("error"):
                raise
            self.dag.workflow.logger_manager.logger.error(f"After a failed job of rule {self.rule.name}: {error}")
        # A run that looks older than its inputs would be done again and again.
        if is_unchanged and min(state.st_mtime_ns for state in before.values()) >= _newest_input(self):
            for path, state in before.items():
                # Only the owner of a file may set its times; a colleague's run looks new.
                with contextlib.suppress(PermissionError):
                    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    Job.remove_existing_output = remove_existing_output
    Job.postprocess = postprocess_with_times


def _require_own_job(job: Job) -> None:
    """Raise a StudyError in a job, before it deletes outputs, if its start is over or had other code or parameters."""
    head = require_own_start()
    if head is not None and not job.dag.workflow.is_main_process:
        # First, because code is one of the parameters, and this error names it.
        OwnCode(job.rule.name, head.code).require()
        require_own_parameters(job, results_of_own_start(), head.start)


def _newest_input(job: Any) -> int:
    return max((Path(path).stat().st_mtime_ns for path in job.input if Path(path).is_file()), default=0)


def is_of_these_settings(job: Any) -> bool:
    """Return whether the files of a job's run are there, with the settings, the code and the features of the job.

    Raises:
        StudyError: the record of the run is there, and cannot be read.
    """
    try:
        is_whole = job.rule.name in RUN_RULES and all(Path(path).is_file() for path in job.output)
    except OSError as error:
        raise explain(error) or error from None
    return is_whole and has_these_settings(job)


def has_these_settings(job: Any) -> bool:
    """Return whether the record of a job's run says the settings, the code and the features of the job.

    Raises:
        StudyError: as `is_of_these_settings`.
    """
    try:
        record = yaml.load(Path(job.output.record).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        names, params = job.wildcards, job.params
        settings = {
            "backbone": names.backbone,
            "loss": names.loss,
            "decoder": names.decoder,
            "seed": int(names.seed),
            "loss_setting": params.loss,
            "decoder_setting": params.decoder,
            "training": params.training,
            "n_classes": params.n_classes,
        }
        return (
            record["run"] == run_name(names.backbone, names.loss, names.decoder, names.seed)
            and record["settings"] == settings
            and record["code"] == params.code
            and _is_of_inputs(record["features"], job)
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return False
    except OSError as error:
        raise explain(error) or error from None


def _is_of_inputs(features: Any, job: Any) -> bool:
    """Return whether a run read the features, or the chips and weights, that are there.

    Runs of another study may have been copied over those of this one. An input that is gone does not count.

    Args:
        features: this part of the record of the run.
        job: the job of the run.
    """
    is_frozen = job.rule.name == "train_run"
    array = _record_of(job.input.features_record if is_frozen else job.input.packed_record)
    if array and features["sha256"] != array["sha256"]:
        return False
    # Those of a frozen backbone are in its features.
    weights = {} if is_frozen else _record_of(job.input.weights)
    return not weights or content_of_weights(features["weights"]) == content_of_weights(weights)


def _record_of(path: str) -> dict[str, Any]:
    return _read_once(path, tuple(state_of(path) or ()))


@functools.lru_cache(maxsize=1024)
def _read_once(path: str, state: tuple[int, ...]) -> dict[str, Any]:
    # Thousands of runs share a record; `state` makes it be read again after a change.
    return read_record(Path(path)) or {}
