"""Checksums of what is in the inputs of a job, as the records of the study say it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from terralucas.contents import read_record
from terralucas.files import sha256_of_file, sha256_of_json

# The name of the second one is that of records of earlier versions.
_PREDICTIONS, _OUTPUTS = "predictions.parquet", "tables"
# Their outputs are compared too: others read them or people look at them, and one may come back from a backup, or be
# copied from another study, alone.
_RULES_OF_REPORT = ("make_tables", "make_evidence", "draw_figures", "make_gallery", "build_report")
# Reading the whole record of a thousand runs takes seconds.
_RECORDED = re.compile(r"^predictions_sha256: (\S+)$", re.MULTILINE)


class InputContents:
    """Checksums of what is in inputs: chips, weights, splits, features, and predictions of runs and controls.

    Snakemake compares checksums only of inputs that are newer than an output, so that `touch` and copies without times
    hide from it that an input has changed.

    Args:
        results: folder of the study.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._known: dict[str, tuple[list[int], str | None]] = {}

    def of(self, job: Any) -> dict[str, str]:
        """Return the checksum of each input of a job that has one and is there, and that of outputs of the report."""
        predictions = [str(path) for path in job.input if Path(path).name == _PREDICTIONS]
        found = {str(path): self._of_input(str(path)) for path in job.input if Path(path).name != _PREDICTIONS}
        # Thousands of runs have one entry. Where one of them is gone, there is nothing to compare.
        of_runs = [[path, self._of_input(path)] for path in predictions]
        if of_runs and all(checksum is not None for _, checksum in of_runs):
            found[_PREDICTIONS] = sha256_of_json(of_runs)[:16]
        if job.rule.name in _RULES_OF_REPORT and all(Path(path).is_file() for path in job.output):
            found[_OUTPUTS] = sha256_of_json([[str(path), sha256_of_file(Path(path))] for path in job.output])[:16]
        return {path: checksum for path, checksum in found.items() if checksum is not None}

    def differ(self, before: Mapping[str, str], job: Any) -> bool:
        """Return whether an input, or an output of a rule of the report, is another one than before.

        What had no checksum then does not count.
        """
        return bool(before) and any(before.get(path, now) != now for path, now in self.of(job).items())

    def _of_input(self, path: str) -> str | None:
        state = state_of(path)
        if state is None:
            return None
        if path not in self._known or self._known[path][0] != state:
            self._known[path] = state, self._read(Path(path))
        return self._known[path][1]

    def _read(self, path: Path) -> str | None:
        if path.name == _PREDICTIONS:
            return _of_predictions(path)
        folder = path.relative_to(self._results).parts[0] if path.is_relative_to(self._results) else ""
        if path == self._results / "data" / "chips.parquet":
            # The names of classes, which are in the index too, change no run.
            content: Any = (read_record(path.with_name("report.json")) or {}).get("data_fingerprint")
        elif folder == "weights":
            content = content_of_weights(read_record(path) or {})
        elif path.suffix == ".json" and (folder == "features" or path.name == "packed.json"):
            content = (read_record(path) or {}).get("sha256")
        elif folder == "splits":
            content = sha256_of_file(path)
        else:
            return None
        return None if content is None else sha256_of_json(content)[:16]


def _of_predictions(path: Path) -> str | None:
    """Return the checksum of predictions: that in the record of their run; controls have few files and no record."""
    try:
        found = _RECORDED.search(path.with_name("run.yaml").read_text(encoding="utf-8"))
        return found[1] if found else None
    except OSError:
        return sha256_of_file(path) if path.is_file() else None


def content_of_weights(record: Mapping[str, Any]) -> Any:
    """Return what tells weights from others: of a file, what is in it, and not where it lies.

    Args:
        record: of `terralucas.backbones.weights.obtain`.
    """
    return record.get("sha256") or [record.get("source"), record.get("seed")]


def state_of(path: Any) -> list[int] | None:
    """Return the size of a file and the time of its last change in ns; None if it is not there."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]
