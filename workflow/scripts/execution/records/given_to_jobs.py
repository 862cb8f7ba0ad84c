"""The record, beside the results, of what jobs were given: parameters, names of inputs, and what was in files.

Its entries have the names of files as they were: a study may be copied or moved, and get another name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from execution.records.file_checksums import FileChecksums, state_of
from execution.rule_names import RUN_RULES
from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json

NAME = "data/made_with.json"
# What is known of the outputs of a job, under its first output:
#   params     checksum of the job's parameters
#   input      checksum of the names of its inputs
#   checksums  of its inputs and outputs by path, when it had ended (an earlier version wrote `contents`, in which the
#              index had the checksum of its chips and classes alone)
#   of         folder of results whose names these are, if it is not this study's
# Of a job that was planned, and has not been seen to end well:
#   by         entry of what it is given
#   states     size and time of each output that was there
#   before     entry of these outputs; None if it is not known
#   start      the start that has planned it (`Head.start`)
#   begun      whether the job had begun; an earlier version did not say. Runs have their own records
Entry = dict[str, Any]
# Entry of outputs that came from elsewhere, at least in part. No job has these parameters, so that it never agrees.
_OF_OTHER_JOBS = {"params": "of other jobs"}


def read_entries(results: Path) -> dict[str, Entry]:
    """Return the entries of a study by the path of the first output, also those that were written under another name.

    Args:
        results: folder of the study.

    Raises:
        StudyError: the record is there, and cannot be read.
    """
    known: dict[str, Entry] = {}
    own, all_studies = f"{results}/", f"{results.parent}/"
    for path, entry in _read(results / NAME).items():
        if path.startswith(own):
            known[path] = entry
        elif path.startswith(all_studies):
            name, _, rest = path.removeprefix(all_studies).partition("/")
            known.setdefault(f"{own}{rest}", _with_names_of(f"{all_studies}{name}", entry))
    return known


def _read(path: Path) -> dict[str, Entry]:
    try:
        record = json.loads(path.read_bytes())
        if not isinstance(record, dict):
            raise ValueError("no object")
        # Those of other versions count as none.
        return {name: entry for name, entry in record.items() if _is_entry(entry)}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise explain(error) or error from None
    except ValueError as error:
        raise StudyError(
            "The record of what the results were made with is damaged.",
            found=f"{path}, which is no JSON ({error})",
            expected="whole JSON, as the workflow wrote it",
            remedy="copy it again from where the results come from; or delete it, if you know that all results are of "
            "the present configuration, code and data: they then count as such",
        ) from None


def _is_entry(value: Any) -> bool:
    if not isinstance(value, dict) or "by" not in value:
        return isinstance(value, dict)
    parts = [value["by"], *([] if value.get("before") is None else [value["before"]])]
    return {"states", "before"} <= value.keys() and all(map(_is_entry, parts))


def _with_names_of(results: str, entry: Entry) -> Entry:
    """Return an entry that says of which folder of results its names are."""
    if "by" not in entry:
        return {"of": results} | entry
    before = entry["before"]
    return entry | {
        "by": _with_names_of(results, entry["by"]),
        "before": None if before is None else _with_names_of(results, before),
    }


def has_names_of_another_study(entry: Entry | None) -> bool:
    """Return whether the names of an entry are those of a study of another name."""
    return entry is not None and "of" in entry


def find_names(entry: Entry | None, results: Path) -> Callable[[str], str]:
    """Return a function that gives the names in a text as they were when an entry was written."""
    if entry is None or "of" not in entry:
        return str
    other: str = entry["of"]
    # Not results/a in results/ab, nor in old_results/a.
    own = re.compile(rf"(?<![\w./-]){re.escape(str(results))}(?![\w.-])")
    return lambda text: own.sub(lambda found: other, text)


def make_entry(params: Iterable[Any], inputs: Iterable[Any] | None, names: Callable[[str], str] = str) -> Entry:
    """Return the entry of what a job was given.

    Args:
        params: representations of the parameters.
        inputs: names of the inputs; None where they are not known, as in Snakemake's oldest records.
        names: of `find_names`.
    """
    entry: Entry = {"params": _sha256(params, names)}
    return entry if inputs is None else entry | {"input": _sha256(inputs, names)}


def agree(known: Entry, given: Entry) -> bool:
    """Return whether an entry is of the same parameters and inputs as another one, as far as both say it."""
    return all(known.get(name, value) == value for name, value in given.items())


def find_entry_of_outputs(entry: Entry | None, job: Any, files: FileChecksums) -> Entry | None:
    """Return what the job was given that made the outputs that are there; None if that is not known.

    Jobs that were not seen to end well may have written their files, as on a cluster after the process that submitted
    them was killed. Where an output is gone, what follows from it was made from the file before. A job that was killed
    while it wrote leaves some outputs of its own and some of the job before. If the job had not begun, its outputs came
    from elsewhere, for example from a backup.

    Args:
        entry: the record of the job.
        job: Snakemake's.
        files: tells whether a file that has another time is the one that was there before: copies may lose times.
    """
    if entry is None or "by" not in entry:
        return entry
    before: Entry | None = entry["before"]
    checksums, names = checksums_of(before), find_names(before, files.results)
    there = [
        (path, now != state, checksums.get(names(str(path))))
        for path, state in zip(job.output, entry["states"], strict=False)
        if (now := state_of(path)) is not None
    ]
    # Times are compared only if no output has a checksum. Of an array, its record has the checksum.
    has_checksums = any(checksum is not None for *_, checksum in there)
    is_new = [
        has_other_time and not files.is_output(path, checksum)
        for path, has_other_time, checksum in there
        if checksum is not None or not has_checksums
    ]
    if not any(is_new):
        return before
    planned: Entry = entry["by"]
    may_have_written = job.rule.name in RUN_RULES or entry.get("begun", True)
    return planned if all(is_new) and may_have_written else _OF_OTHER_JOBS


def checksums_of(entry: Entry | None) -> dict[str, str]:
    """Return the checksums of inputs and outputs when an output was made; empty if they are not known."""
    checksums: dict[str, str] = (entry or {}).get("checksums", {})
    return checksums


def _sha256(texts: Iterable[Any], names: Callable[[str], str]) -> str:
    return sha256_of_json(sorted(names(str(text)) for text in texts))
