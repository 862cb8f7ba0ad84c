"""The record, beside the results, of what jobs were given: parameters, names of inputs, and what was in these.

Its entries have the names of files as they were: a study may be copied or moved, and get another name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from _input_contents import InputContents, state_of
from terralucas.disk import explain
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json

NAME = "data/made_with.json"
# Checksums of what a job was given: of its `params`, of the names of its inputs (`input`), and of what is in some of
# these (`contents`), with the folder of results whose names these are, if it was another one (`of`); records of an
# earlier version are the checksum of the parameters alone. Of a job that has not ended well yet: what it was given
# (`by`), size and time of each output that was there (`states`), the entry of these (`before`), and which start has
# planned it (`start`). Each entry stands under the first output of the job.
Entry = dict[str, Any] | str
# Of outputs that two jobs wrote.
_MIXTURE = {"params": "of several jobs"}


def read_known(results: Path) -> dict[str, Entry]:
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
            known.setdefault(f"{own}{rest}", _of_other(entry, f"{all_studies}{name}"))
    return known


def _read(path: Path) -> dict[str, Entry]:
    try:
        record: dict[str, Entry] = json.loads(path.read_bytes())
        return record
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise explain(error) or error from None
    except ValueError as error:
        raise StudyError(
            "The record of what the results were made with is damaged.",
            found=f"{path}, which is no JSON ({error})",
            expected="the file as the workflow wrote it",
            remedy="copy it again from where the results come from; or delete it, if you know that all results are of "
            "the present configuration, code and data: they then count as such",
        ) from None


def _of_other(entry: Entry, results: str) -> dict[str, Any]:
    """Return an entry that says of which folder of results its names are."""
    if isinstance(entry, str):
        return {"params": entry, "of": results}
    if "by" not in entry:
        return {"of": results} | entry
    before = entry["before"]
    return entry | {
        "by": _of_other(entry["by"], results),
        "before": None if before is None else _of_other(before, results),
    }


def is_of_other(entry: Entry | None) -> bool:
    """Return whether the names of an entry are those of a study of another name."""
    return isinstance(entry, dict) and "of" in entry


def names_of(entry: Entry | None, results: Path) -> Callable[[str], str]:
    """Return a function that gives the names in a text as they were when an entry was written."""
    if not is_of_other(entry):
        return str
    assert isinstance(entry, dict)
    other: str = entry["of"]
    # Not results/a in results/ab, nor in old_results/a.
    own = re.compile(rf"(?<![\w./-]){re.escape(str(results))}(?![\w.-])")
    return lambda text: own.sub(lambda found: other, text)


def entry_of(params: Iterable[Any], inputs: Iterable[Any] | None, names: Callable[[str], str] = str) -> dict[str, Any]:
    """Return the entry of what a job was given.

    Args:
        params: representations of the parameters.
        inputs: names of the inputs; None where they are not known, as in Snakemake's oldest records.
        names: of `names_of`.
    """
    entry: dict[str, Any] = {"params": _sha256(params, names)}
    return entry if inputs is None else entry | {"input": _sha256(inputs, names)}


def agree(known: Entry, given: Entry) -> bool:
    """Return whether an entry is of the same parameters and inputs as another one, as far as both say it."""
    if not isinstance(known, dict) or not isinstance(given, dict):
        return known == (given["params"] if isinstance(given, dict) else given)
    return all(known.get(name, value) == value for name, value in given.items())


def of_files(entry: Entry | None, job: Any, contents: InputContents) -> Entry | None:
    """Return what the job was given that made the outputs of a job; None if that is not known.

    Jobs that were not seen to end well may have written their files, as on a cluster after the process that submitted
    them was killed. Where an output is gone, what follows from it was made from the file before. A job that was killed
    while it wrote leaves some of its own and some of the job before, which no parameters give (`_MIXTURE`).

    Args:
        entry: the record of the job.
        job: Snakemake's.
        contents: tells whether a file that has another time is the one that was there before: copies may lose times.
    """
    if not isinstance(entry, dict) or "by" not in entry:
        return entry
    before: Entry | None = entry["before"]
    checksums, names = contents_of(before), names_of(before, contents.results)
    # An earlier version remembered the state of the first output alone.
    states = entry.get("states", [entry.get("state")])
    is_new = [
        now != state and not contents.is_output(path, checksums.get(names(str(path))))
        for path, state in zip(job.output, states, strict=False)
        if (now := state_of(path)) is not None
    ]
    if not any(is_new):
        return before
    return entry["by"] if all(is_new) else _MIXTURE


def contents_of(entry: Entry | None) -> dict[str, str]:
    """Return the checksums of what was in inputs when an output was made; empty if they are not known."""
    # An earlier version wrote `contents`, in which the index had the checksum of its chips and classes alone.
    contents: dict[str, str] = entry.get("checksums", {}) if isinstance(entry, dict) else {}
    return contents


def _sha256(texts: Iterable[Any], names: Callable[[str], str]) -> str:
    return sha256_of_json(sorted(names(str(text)) for text in texts))
