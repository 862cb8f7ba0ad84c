"""Deletes what a study needs no more when it is finished, and what killed jobs left."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from execution.start.refusals_of_start import end_at_study_error
from terralucas.backbones.shared_passes import fingerprints_of
from terralucas.contents import read_record
from terralucas.disk import remove_leftovers, remove_scripts
from terralucas.errors import StudyError
from terralucas.study.head import may_be_running, remove_temporary, take_dead_mark

# No job waits longer in a queue.
_LONGEST_WAIT_S = 90 * 86_400
# Name of the log of a job, or of a task of an array.
_OWN_LOG = re.compile(r"\d+(_\d+)?\.log")


def let_empty_folders_stay(dag: Any) -> None:
    """Let Snakemake leave an empty folder that it cannot delete, as on a disk that became read-only.

    Without this, a study whose jobs failed for that reason ends with a traceback in place of its errors.

    Args:
        dag: Snakemake's graph of jobs.
    """
    cleanup = dag.cleanup_workdir

    def cleanup_workdir() -> None:
        with contextlib.suppress(OSError):
            cleanup()

    dag.cleanup_workdir = cleanup_workdir


def clean_own_logs() -> None:
    """Let the SLURM plugin delete old logs of its own jobs alone, and leave folders for logs, unless they are old.

    At the end of each process, the plugin deletes each old file `*.log` below its folder for logs, which may hold other
    files too, and all empty folders. Those of jobs that wait in the queue are empty, also of other studies of this
    project; SLURM then cannot start these jobs.
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    if plugin is not None:
        plugin.Executor.clean_old_logs = _delete_own_old_logs


def _delete_own_old_logs(executor: Any) -> None:
    """Delete old logs of jobs, and old empty folders for them, as far as that is possible.

    Args:
        executor: the plugin's.
    """
    settings = executor.workflow.executor_settings
    days = settings.delete_logfiles_older_than
    if days <= 0 or settings.keep_successful_logs:
        return
    now = time.time()
    for kind in ("rule", "group"):
        for own in sorted(executor.slurm_logdir.glob(f"{kind}_*")):
            for place, _, names in os.walk(own, topdown=False):
                for path in (Path(place, name) for name in names if _OWN_LOG.fullmatch(name)):
                    with contextlib.suppress(OSError):
                        if now - path.stat().st_mtime > days * 86_400:
                            path.unlink()
                with contextlib.suppress(OSError):
                    if now - Path(place).stat().st_mtime > _LONGEST_WAIT_S:
                        # Only an empty one can be deleted.
                        Path(place).rmdir()


def remove_study_leftovers(results: Path, records: Sequence[str]) -> None:
    """Delete resume checkpoints of finished runs, and temporary files of killed jobs.

    What cannot be deleted stays, and harms nothing: a finished study may be on a disk that is read-only by now.

    Args:
        results: folder of the study.
        records: path of the run.yaml of every run; a run without one is not finished, and keeps its files.
    """
    for record in map(Path, records):
        if record.is_file():
            with contextlib.suppress(OSError):
                remove_leftovers(record.parent, "resume.ckpt")
    with contextlib.suppress(StudyError, OSError):
        _remove_joined_parts(results / "features")
    # The log of a job is of its own study; another study may read this one's tables.
    remove_scripts(Path(".snakemake", "scripts"), f"{results}/logs/")


def _remove_joined_parts(features: Path) -> None:
    """Delete parts of feature passes that are in the joined array, and the folders that joining leaves."""
    for parts in features.glob("*/*/parts"):
        for file in [file for file in parts.glob("*/*") if _is_joined(file, parts)]:
            file.unlink(missing_ok=True)
        for folder in filter(Path.is_dir, parts.glob("*")):
            if {file.name for file in folder.iterdir()} <= {".lock"}:
                shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            parts.rmdir()


def _is_joined(file: Path, parts: Path) -> bool:
    """Return whether a file of a part is needed no more: its part is in the joined array, or was not finished.

    After a change of settings, the joined array is still the earlier one: these parts do not belong to it. Parts of
    another division (`features.shards`) were left by an interrupted pass, if the array was joined after them.

    Args:
        file: an array, its record, or a temporary file; one of the job of another kind has a dot before its name.
        parts: folder of all parts.
    """
    hidden, kind = "." if file.name.startswith(".") else "", file.name.lstrip(".").split(".")[0]
    record, own_record = parts.with_name(f"{kind}.json"), file.with_name(f"{hidden}{kind}.json")
    joined, own = fingerprints_of(record), read_record(own_record)
    if not joined or own is None or own.get("fingerprint") in joined:
        return bool(joined)
    is_other_division = file.parent.name.rpartition("-of-")[2] != str(len(joined))
    return is_other_division and own_record.stat().st_mtime < record.stat().st_mtime


def end_without_jobs(
    workflow: Any, check: Callable[[], None], remember: Callable[[], None], results: Path, records: Sequence[str]
) -> None:
    """Check the study and delete leftovers where nothing was to be done, of which Snakemake tells no hook.

    Args:
        workflow: Snakemake's.
        check: raises a StudyError where the study must not be taken as finished; Snakemake then ends with status 1.
        remember: remembers what is taken as finished.
        results: folder of the study.
        records: path of the run.yaml of every run.
    """
    if workflow.scheduler is None or len(workflow.dag):
        return
    end_at_study_error(check)
    if not may_be_running(results):
        remember()
        remove_temporary(take_dead_mark(results))
        remove_study_leftovers(results, records)
