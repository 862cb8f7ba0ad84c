"""Remembers beside the results with which parameters they were made, for where Snakemake has no records of them.

Results may be copied without the folder .snakemake, and its records may be deleted. Snakemake then takes what is there
for results of the present configuration.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from snakemake.settings.enums import RerunTrigger

from terralucas.contents import read_record
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json, write_json

# Runs have their settings in run.yaml; figures and pages follow from the tables.
RULES = (
    *("retrieve_chips", "fetch_weights", "index_chips", "split_chips", "extract_features"),
    *("make_tables", "make_evidence"),
)
NAME = "data/made_with.json"


def remember_parameters(workflow: Any, results: Path) -> None:
    """Write a checksum of the parameters that Snakemake has recorded of each output of these rules."""
    persistence = workflow.persistence
    recorded = {str(path): persistence.metadata(path) for path in _first_outputs(workflow.dag)}
    known = read_record(results / NAME) or {}
    found = known | {path: _digest(record.params) for path, record in recorded.items() if record}
    if found != known:
        # A full or read-only disk has been told already.
        with contextlib.suppress(OSError):
            write_json(results / NAME, found)


def forget_planned(workflow: Any, results: Path) -> None:
    """Forget the parameters of what is made again now: this process may be killed before it knows the new ones."""
    known = read_record(results / NAME) or {}
    planned = {str(job.output[0]) for job in workflow.dag.needrun_jobs() if job.rule.name in RULES}
    if planned & known.keys():
        write_json(results / NAME, {path: digest for path, digest in known.items() if path not in planned})


def require_same_parameters(workflow: Any, results: Path) -> None:
    """Check results that would be kept and of which Snakemake has no record.

    Raises:
        StudyError: some were made with other parameters than those of the configuration.
    """
    if RerunTrigger.PARAMS not in workflow.dag_settings.rerun_triggers:
        return
    known = read_record(results / NAME) or {}
    other = [
        str(path)
        for path, job in _first_outputs(workflow.dag).items()
        if not workflow.dag.needrun(job)
        and not workflow.persistence.metadata(path)
        and known.get(str(path), "") not in ("", _digest(workflow.persistence._params(job)))
    ]
    if other:
        more = f" and {len(other) - 4} more" if len(other) > 4 else ""
        raise StudyError(
            "Results were made with another configuration or other code, and Snakemake has no record that tells so.",
            found=f"{', '.join(sorted(other)[:4])}{more}, of other parameters ({results / NAME})",
            expected="the configuration and the code with which they were made",
            remedy="undo the change; or delete these files and start the study again, which makes them, and what "
            "follows from them, anew. If the results were copied, copy .snakemake of their project too",
        )


def _first_outputs(dag: Any) -> dict[Any, Any]:
    """Return the first output of each job of these rules that is there, with its job."""
    jobs = [job for job in dag.jobs if job.rule.name in RULES]
    return {job.output[0]: job for job in jobs if Path(job.output[0]).is_file()}


def _digest(params: list[str]) -> str:
    return sha256_of_json(sorted(params))
