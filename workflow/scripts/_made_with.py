"""Remembers beside the results what they were made with and of, for where Snakemake has no record or does not notice.

Results may be copied without the folder .snakemake or without times, and its records may be deleted. Snakemake then
takes what is there for results of the present configuration and of the present inputs.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from snakemake.settings.enums import RerunTrigger
from snakemake_interface_logger_plugins.common import LogEvent

from _given_to_jobs import NAME, Entry, agree, contents_of, entry_of, is_of_other, names_of, of_files, read_known
from _input_contents import InputContents, state_of
from _own_start import owns_study
from _rule_names import RUN_RULES
from terralucas.contents import read_record
from terralucas.errors import StudyError
from terralucas.files import write_json

# Parts of predictions and maps are deleted when these are finished.
RULES = (
    *("retrieve_chips", "fetch_weights", "index_chips", "split_chips", "pack_chips", "describe_chips"),
    *("audit_treatment", "audit_tuning", "extract_features", "join_features", "fit_control", *RUN_RULES),
    *("make_tables", "make_evidence", "draw_figures", "make_gallery", "build_report", "power"),
    *("select_models", "explain_models", "explain", "export_models"),
    *("plan_prediction", "join_predictions", "plan_map", "write_map"),
)
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
        self._persistence, self._path, self._contents = workflow.persistence, results / NAME, InputContents(results)
        self.known: dict[str, Entry] = read_known(results)
        dag = workflow.dag
        self._jobs = {dag.jobid(job): job for job in dag.needrun_jobs() if job.rule.name in RULES}
        for job in self._jobs.values():
            path = str(job.output[0])
            # What is in its inputs then is not known: other jobs of this start may make them first.
            given = entry_of(self._persistence._params(job), self._persistence._input(job))
            before = of_files(self.known.get(path), job, self._contents)
            states = list(map(state_of, job.output))
            self.known[path] = {"by": given, "states": states, "before": before, "start": start}
        self._next = 0.0
        if self._jobs:
            self._write()

    def emit(self, record: logging.LogRecord) -> None:
        """Remember what the job of an event was given, if it has ended well."""
        event: Any = record
        try:
            job = self._jobs.get(event.job_id) if getattr(record, "event", None) == LogEvent.JOB_FINISHED else None
            if job is None:
                return
            given = entry_of(self._persistence._params(job), self._persistence._input(job))
            self.known[str(job.output[0])] = given | {"checksums": self._contents.of(job)}
            if time.monotonic() >= self._next:
                self._write()
        except Exception:
            self.handleError(record)

    def end(self, workflow: Any) -> None:
        """Remember all that Snakemake has recorded."""
        planned = {str(job.output[0]) for job in self._jobs.values()}
        for path, job in _first_outputs(workflow.dag).items():
            record = self._persistence.metadata(path) if Path(path).exists() else None
            if record:
                before = of_files(self.known.get(str(path)), job, self._contents)
                contents = {} if is_of_other(before) else contents_of(before)
                given = entry_of(record.params, record.input)
                if str(path) not in planned:
                    # Snakemake takes the output for one of what its inputs are now.
                    contents = contents or self._contents.of(job)
                    # Its record may be of another output than the one that is there. Runs have their own records.
                    if isinstance(before, dict) and not is_of_other(before) and job.rule.name not in RUN_RULES:
                        given = before
                self.known[str(path)] = given | {"checksums": contents}
        _accept(self.known, self._contents, self._persistence, workflow.dag, planned)
        self._write()

    def _write(self) -> None:
        # Another process may have taken this one for dead, and made these results with something else.
        if not owns_study(self.start, self._results):
            return
        started = time.monotonic()
        # A full or read-only disk has been told already; a colleague's folder may be closed to this user.
        with contextlib.suppress(OSError):
            if read_record(self._path) != self.known:
                write_json(self._path, self.known)
        now = time.monotonic()
        self._next = now + max(_PAUSE_S, _PAUSE_TIMES * (now - started))


def remember_accepted(workflow: Any, results: Path) -> None:
    """Remember what a start without jobs takes for finished, where nothing is known of it.

    Args:
        workflow: Snakemake's.
        results: folder of the study.
    """
    known = read_known(results)
    if _accept(known, InputContents(results), workflow.persistence, workflow.dag):
        with contextlib.suppress(OSError):
            write_json(results / NAME, known)


def _accept(
    known: dict[str, Entry], contents: InputContents, persistence: Any, dag: Any, planned: Collection[str] = ()
) -> bool:
    """Take outputs of which nothing is known for made of what is there now; return whether there were any.

    Somebody has deleted Snakemake's records and those of the study. What is changed from now on is noticed.

    Args:
        known: the entries, to which those of the outputs are added.
        contents: of inputs and outputs.
        persistence: Snakemake's.
        dag: Snakemake's.
        planned: first outputs of jobs of this start.
    """
    found = False
    for path, job in _first_outputs(dag).items():
        if str(path) not in known and str(path) not in planned and Path(path).exists():
            given = entry_of(persistence._params(job), persistence._input(job))
            known[str(path)], found = given | {"checksums": contents.of(job)}, True
    return found


def require_same_parameters(workflow: Any, results: Path) -> None:
    """Check the results that a start would keep, and those that are gone and that it would not make.

    With --touch, a start keeps all results, and records that they are of the present parameters.

    Raises:
        StudyError: some were made with other parameters than those of the configuration, and Snakemake does not notice.
    """
    if RerunTrigger.PARAMS not in workflow.dag_settings.rerun_triggers:
        return
    dag, known, contents = workflow.dag, read_known(results), InputContents(results)
    keeps_all = workflow.touch
    other: dict[str, Any] = {}
    of_others, changed = [], []
    for path, job in _first_outputs(dag).items():
        entry = of_files(known.get(str(path)), job, contents)
        if entry is None or not (keeps_all or not dag.needrun(job)):
            continue
        names = names_of(entry, results)
        is_of_others = _is_other(entry, path, job, workflow.persistence, names, counts_record=not keeps_all)
        files = contents.changed(contents_of(entry), job, names)
        if is_of_others or files:
            other[str(path)] = job
            changed += files
        if is_of_others:
            of_others.append(str(path))
    if not other:
        return
    if keeps_all:
        raise StudyError(
            "With --touch, results would count as those of another configuration, other code or other data.",
            found=_describe(of_others, changed, results),
            expected="results of the present configuration, code and data, whose times alone are other ones",
            remedy="start without --touch, which makes them again; or undo the change",
        )
    # Where --forcerun is given several times, Snakemake takes only the last one.
    rules = " ".join(sorted({job.rule.name for job in other.values()} | {rule.name for rule in dag.forcerules}))
    raise StudyError(
        "Results were made with another configuration, other code or other data, and Snakemake does not notice.",
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
    if not isinstance(entry, dict) or "by" not in entry or entry.get("start") != start:
        return
    persistence = job.dag.workflow.persistence
    if not agree(entry["by"], entry_of(persistence._params(job), persistence._input(job))):
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
    return read_known(results)


def _is_other(
    known: Entry, path: Any, job: Any, persistence: Any, names: Callable[[str], str], counts_record: bool
) -> bool:
    """Return whether an output was made with other parameters or inputs than now, and Snakemake does not notice.

    `counts_record` tells whether Snakemake's record of the output, where there is one, is looked at by Snakemake.
    """
    has_record = counts_record and bool(persistence.metadata(path))
    # Runs have their own records. Entries of an earlier version say nothing of inputs.
    if has_record and (job.rule.name in RUN_RULES or not isinstance(known, dict)):
        return False
    # Snakemake's record of the inputs counts where there is one.
    given = entry_of(persistence._params(job), None if has_record else persistence._input(job), names)
    return not agree(known, given)


def _first_outputs(dag: Any) -> dict[Any, Any]:
    """Return the first output of each job of these rules, with its job."""
    return {job.output[0]: job for job in dag.jobs if job.rule.name in RULES}


def _describe(of_others: Sequence[str], changed: Sequence[str], results: Path) -> str:
    """Return what a start found in words.

    Args:
        of_others: outputs of other parameters or inputs.
        changed: inputs and outputs that are other files than when results were made.
        results: folder of the study.
    """
    found = [f"{_list(sorted(of_others))}, of other parameters or inputs"] if of_others else []
    found += [f"{_list(sorted(set(changed)))}, not as when results were made"] if changed else []
    return f"{'; '.join(found)} ({results / NAME})"


def _list(paths: list[str]) -> str:
    return f"{', '.join(paths[:4])}{f' and {len(paths) - 4} more' if len(paths) > 4 else ''}"
