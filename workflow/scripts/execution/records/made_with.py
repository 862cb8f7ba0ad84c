"""Writes data/made_with.json, which says with what each result was made, and compares it with what is there now.

Snakemake's own records may be missing, or be those of another checkout: results may be copied without the folder
.snakemake or without times. Snakemake then takes what is there for results of the present configuration and inputs.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from snakemake.settings.enums import RerunTrigger
from snakemake_interface_logger_plugins.common import LogEvent

from execution.records.file_checksums import FileChecksums, state_of
from execution.records.given_to_jobs import (
    NAME,
    Entry,
    agree,
    checksums_of,
    find_entry_of_outputs,
    find_names,
    has_names_of_another_study,
    make_entry,
    read_entries,
)
from execution.records.own_start import owns_study
from execution.rule_names import PART_RULES, RUN_RULES
from terralucas.errors import StudyError
from terralucas.files import write_json

# Between two times that the file is written while a study runs, at least; and how many times as long as it takes.
_PAUSE_S, _PAUSE_TIMES = 1.0, 20


class MadeWith(logging.Handler):
    """Remembers the parameters of each output as soon as its job has ended, because this process may be killed.

    Args:
        workflow: Snakemake's, before its first job.
        results: folder of the study.
        start: of this process (`Head.start`).
    """

    def __init__(self, workflow: Any, results: Path, start: str) -> None:
        super().__init__(logging.INFO)
        self.start, self._results = start, results
        self._persistence, self._path, self._files = workflow.persistence, results / NAME, FileChecksums(results)
        self.known: dict[str, Entry] = read_entries(results)
        dag = workflow.dag
        self._jobs = {dag.jobid(job): job for job in dag.needrun_jobs() if is_compared(job)}
        for job in self._jobs.values():
            path = str(job.output[0])
            # Without checksums of its inputs, which other jobs of this start may make first.
            given = make_entry(self._persistence._params(job), self._persistence._input(job))
            before = find_entry_of_outputs(self.known.get(path), job, self._files)
            states = list(map(state_of, job.output))
            self.known[path] = {"by": given, "states": states, "before": before, "start": start, "begun": False}
        self._next = 0.0
        # What waits for the end of the pause must not wait for the next job, which may be hours away.
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        if self._jobs:
            self._write()

    def emit(self, record: logging.LogRecord) -> None:
        """Remember that the job of an event has begun, or what it was given, if it has ended well."""
        event: Any = record
        try:
            kind = getattr(record, "event", None)
            if kind == LogEvent.JOB_INFO:
                self._begin(self._jobs.get(event.jobid))
            elif kind == LogEvent.JOB_FINISHED:
                self._finish(self._jobs.get(event.job_id))
        except Exception:
            self.handleError(record)

    def _begin(self, job: Any) -> None:
        # There may be thousands of runs, and they have their own records.
        if job is not None and job.rule.name not in RUN_RULES:
            entry = self.known[str(job.output[0])]
            # Not at another attempt, nor where a finished job is done again.
            if entry.get("begun") is False:
                entry["begun"] = True
                self._write()

    def _finish(self, job: Any) -> None:
        if job is not None:
            given = make_entry(self._persistence._params(job), self._persistence._input(job))
            self.known[str(job.output[0])] = given | {"checksums": _checksums(job, self._files)}
            pause_s = self._next - time.monotonic()
            if pause_s <= 0:
                self._write()
            elif self._timer is None:
                self._timer = threading.Timer(pause_s, self._write)
                self._timer.daemon = True
                self._timer.start()

    def end(self, workflow: Any) -> bool:
        """Remember all that Snakemake has recorded; return whether this start still runs the study."""
        if not owns_study(self.start, self._results):
            return False
        planned = {str(job.output[0]) for job in self._jobs.values()}
        for path, job in _first_outputs(workflow.dag).items():
            record = self._persistence.metadata(job.output[0]) if Path(path).exists() else None
            if record:
                given = make_entry(record.params, record.input)
                entry = find_entry_of_outputs(self.known.get(path), job, self._files)
                own = None if has_names_of_another_study(entry) else entry
                if path not in planned:
                    self.known[path] = self._entry_of_kept(job, given, own)
                elif own is None:
                    # What is known counts more: Snakemake's record may be of an earlier start (--drop-metadata).
                    self.known[path] = given | {"checksums": {}}
        _accept(self.known, self._files, self._persistence, workflow.dag, planned)
        self._write()
        return True

    def require_unchanged(self) -> None:
        """Check at the end of a start that nobody has replaced what its jobs have read or made.

        Raises:
            StudyError: somebody has, for example with a backup of earlier results.
        """
        changed, rules = set[str](), set[str]()
        for job in self._jobs.values():
            # What was not finished has no checksums.
            found = self._files.changed(checksums_of(self.known[str(job.output[0])]), job)
            changed.update(found)
            rules |= {job.rule.name} if found else set()
        if changed:
            raise StudyError(
                "Files were replaced while the study ran: some tables may be of old files, others of new ones.",
                found=f"changed since jobs of this start have read or made them: {_list(sorted(changed))}",
                expected="nobody who copies files into the results, such as a backup, while the study runs",
                remedy="start it again with the option "
                f"--forcerun {' '.join(sorted(rules))} (at the end of the command, or before --)",
            )

    def _entry_of_kept(self, job: Any, given: Entry, own: Entry | None) -> Entry:
        """Return the entry of outputs that this start has kept.

        Args:
            job: Snakemake's.
            given: what Snakemake has recorded of them.
            own: what is known of them, with the names of this study.
        """
        # Snakemake's record may be of other outputs than those that are there. Runs have their own records.
        entry = given if own is None or job.rule.name in RUN_RULES else own
        # Without checksums, Snakemake takes the outputs for those of what its inputs are now.
        return entry | {"checksums": checksums_of(own) or _checksums(job, self._files)}

    def _write(self) -> None:
        with self._lock:
            self._timer = None
            # Another process may have taken this one for dead, and made these results with something else.
            if not owns_study(self.start, self._results):
                return
            started = time.monotonic()
            # A full or read-only disk has been told already; a colleague's folder may be closed to this user.
            with contextlib.suppress(OSError):
                # A copy, because other threads add entries.
                write_json(self._path, dict(self.known))
            now = time.monotonic()
            self._next = now + max(_PAUSE_S, _PAUSE_TIMES * (now - started))


def remember_accepted(workflow: Any, results: Path) -> None:
    """Remember what a start without jobs takes for finished, where nothing is known of it.

    Args:
        workflow: Snakemake's.
        results: folder of the study.
    """
    known = read_entries(results)
    if _accept(known, FileChecksums(results), workflow.persistence, workflow.dag):
        with contextlib.suppress(OSError):
            write_json(results / NAME, known)


def _accept(
    known: dict[str, Entry],
    files: FileChecksums,
    persistence: Any,
    dag: Any,
    planned: Collection[str] = (),
) -> bool:
    """Take outputs of which nothing is known for made of what is there now; return whether there were any.

    Somebody has deleted Snakemake's records and those of the study. What is changed from now on is noticed.

    Args:
        known: the entries, to which those of the outputs are added.
        files: returns the checksums of the inputs and outputs of a job.
        persistence: Snakemake's.
        dag: Snakemake's.
        planned: first outputs of jobs of this start.
    """
    found = False
    for path, job in _first_outputs(dag).items():
        if path not in known and path not in planned and Path(path).exists():
            given = make_entry(persistence._params(job), persistence._input(job))
            known[path], found = given | {"checksums": _checksums(job, files)}, True
    return found


def _checksums(job: Any, files: FileChecksums) -> dict[str, str]:
    # The job that reads the file says why it cannot be read.
    with contextlib.suppress(StudyError, OSError):
        return files.of_job(job)
    return {}


def compares_settings(workflow: Any) -> bool:
    """Return whether this start notices results of another configuration, code or data.

    With --rerun-triggers and without `params`, the user wants to keep them.
    """
    return RerunTrigger.PARAMS in workflow.dag_settings.rerun_triggers


def require_fitting_results(workflow: Any, results: Path) -> None:
    """Check the results that a start would keep.

    They may also have been deleted, and not be made again, because what was made from them is there.

    With --touch, a start keeps all results, and records that they are of the present parameters.

    Raises:
        StudyError: some were made with other parameters than those of the configuration, and Snakemake does not notice.
    """
    # Also where nothing is compared: this start goes on with the record, and must be able to read it.
    dag, known, files = workflow.dag, read_entries(results), FileChecksums(results)
    if not compares_settings(workflow):
        return
    keeps_all = workflow.touch
    other: list[Any] = []
    of_others, changed = [], []
    for path, job in _first_outputs(dag).items():
        entry = find_entry_of_outputs(known.get(path), job, files)
        if entry is None or not (keeps_all or not dag.needrun(job)):
            continue
        names = find_names(entry, results)
        is_of_others = _is_other(entry, job, workflow.persistence, names, counts_record=not keeps_all)
        changed_files = files.changed(checksums_of(entry), job, names)
        if is_of_others or changed_files:
            other.append(job)
            changed += changed_files
        if is_of_others:
            of_others.append(path)
    if not other:
        return
    if keeps_all:
        raise StudyError(
            "With --touch, results would count as those of another configuration, other code or other data.",
            found=_describe(of_others, changed, results),
            expected="results of the present configuration, code and data, of which only the times have changed",
            remedy="start without --touch, which makes them again; or undo the change",
        )
    # Where --forcerun is given several times, Snakemake takes only the last one.
    rules = " ".join(sorted({job.rule.name for job in other} | {rule.name for rule in dag.forcerules}))
    raise StudyError(
        "Results do not fit the present configuration, code or data, and Snakemake would keep them.",
        found=_describe(of_others, changed, results),
        expected="the configuration, the code and the data with which they were made",
        remedy="undo the change; or make them again, with what follows from them: start once with the option "
        f"--forcerun {rules} (at the end of the command, or before --). If the results were copied, "
        "copy .snakemake of their project too",
    )


def require_own_parameters(job: Any, results: Path, start: str) -> None:
    """Return if a job is given the parameters and inputs that its start records for its results.

    A job on another machine reads the rules of the project when it begins, which may be changed by then.

    Args:
        job: Snakemake's, in the process that runs it.
        results: folder of the study.
        start: the start to which the job belongs (`Head.start`).

    Raises:
        StudyError: they are others.
    """
    entry = _read_once(results).get(str(job.output[0]))
    # It may be of an earlier start: a full disk has kept this one from writing.
    if entry is None or "by" not in entry or entry.get("start") != start:
        return
    persistence = job.dag.workflow.persistence
    if not agree(entry["by"], make_entry(persistence._params(job), persistence._input(job))):
        raise StudyError(
            f"This job of {job.rule.name} ends without a change to any result: the project was changed while the "
            "study runs, and gives the job other parameters or inputs than the start of the study.",
            found=f"other parameters or inputs of {job.output[0]} than when the study was started",
            expected="one project from the start of the study to its end",
            remedy="stop the study, and start it again: it goes on with the project that is there then; or undo the "
            "change first",
        )


@functools.lru_cache(maxsize=1)
def _read_once(results: Path) -> dict[str, Entry]:
    # All runs of a pack look at it. Of jobs that have not begun, it says the same until the start is over.
    return read_entries(results)


def _is_other(known: Entry, job: Any, persistence: Any, names: Callable[[str], str], counts_record: bool) -> bool:
    """Return whether an output was made with other parameters or inputs than now, and Snakemake does not notice.

    `counts_record` tells whether Snakemake's record of the output, where there is one, is looked at by Snakemake.
    """
    has_record = counts_record and bool(persistence.metadata(job.output[0]))
    # Runs have their own records.
    if has_record and job.rule.name in RUN_RULES:
        return False
    # Snakemake's record of the inputs counts where there is one.
    given = make_entry(persistence._params(job), None if has_record else persistence._input(job), names)
    return not agree(known, given)


def is_compared(job: Any) -> bool:
    """Return whether the results of a job are compared with what they were made with."""
    # Parts of predictions and maps are deleted when these are finished.
    return bool(job.output) and job.rule.name not in PART_RULES


def _first_outputs(dag: Any) -> dict[str, Any]:
    """Return the path of the first output of each job whose results are compared, with its job."""
    return {str(job.output[0]): job for job in dag.jobs if is_compared(job)}


def _describe(of_others: Sequence[str], changed: Sequence[str], results: Path) -> str:
    """Return what a start found in words.

    Args:
        of_others: outputs of other parameters or inputs.
        changed: inputs and outputs that are other files than when results were made.
        results: folder of the study.
    """
    found = [f"made with other parameters or inputs: {_list(sorted(of_others))}"] if of_others else []
    found += [f"changed since the results were made: {_list(sorted(set(changed)))}"] if changed else []
    return f"{'; '.join(found)} ({results / NAME})"


def _list(paths: list[str]) -> str:
    return f"{', '.join(paths[:4])}{f' and {len(paths) - 4} more' if len(paths) > 4 else ''}"
