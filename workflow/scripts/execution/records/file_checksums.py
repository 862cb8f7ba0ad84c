"""Checksums of what is in the inputs and outputs of jobs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from execution.rule_names import RUN_RULES
from terralucas.contents import content_of_weights, read_record
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file, sha256_of_json
from terralucas.results_input import POINTS, PREDICTION_RECORD
from terralucas.study.lost_files import EXPORT_RECORD

_PREDICTIONS = "predictions.parquet"
# Of outputs. Programs that show maps write statistics beside them, and people change their colours. The checksum of an
# array is in its record.
_NOT_COMPARED = (".xml", ".qml", ".npy")
# Reading the whole record of a thousand runs takes seconds.
_RECORDED = re.compile(r"^predictions_sha256: (\S+)$", re.MULTILINE)


class FileChecksums:
    """Checksums of inputs (chips, weights, splits, features, predictions, tables, selections) and of outputs.

    Snakemake compares checksums only of inputs that are newer than an output, so that `touch` and copies without times
    hide from it that an input has changed.

    Args:
        results: folder of the study.
    """

    def __init__(self, results: Path) -> None:
        self.results = results
        self._compared_whole = (results / "data" / "chips.parquet", results / "selected" / "selection.yaml")
        self._known: dict[tuple[str, bool], tuple[list[int], str | None]] = {}

    def of_job(self, job: Any, names: Callable[[str], str] = str) -> dict[str, str]:
        """Return the checksums of a job's inputs and outputs by path, without files that are gone or are not compared.

        Args:
            job: Snakemake's.
            names: gives each path the name that counts in the checksum of all predictions.
        """
        predictions = [str(path) for path in job.input if Path(path).name == _PREDICTIONS]
        found = {path: self._of(path) for path in map(str, job.input) if Path(path).name != _PREDICTIONS}
        # Thousands of runs have one entry. Where one of them is gone, there is nothing to compare.
        of_runs = [[names(path), self._of(path)] for path in predictions]
        if of_runs and all(checksum is not None for _, checksum in of_runs):
            found[_PREDICTIONS] = sha256_of_json(of_runs)[:16]
        # An output may come back from a backup, or from another study, alone. Runs are compared by their records.
        outputs = [] if job.rule.name in RUN_RULES else _files_of_output(job)
        found |= {str(path): self._of_output(path) for path in outputs}
        return {path: checksum for path, checksum in found.items() if checksum is not None}

    def changed(self, before: Mapping[str, str], job: Any, names: Callable[[str], str] = str) -> list[str]:
        """Return the inputs and outputs that are other ones than before; what had no checksum then does not count.

        Args:
            before: what `of_job` returned then.
            job: Snakemake's.
            names: gives each path the name that it had then.
        """
        now = self.of_job(job, names) if before else {}
        changed = [path for path, checksum in now.items() if before.get(names(path), checksum) != checksum]
        return ["predictions of runs" if path == _PREDICTIONS else path for path in changed]

    def is_output(self, path: Any, checksum: str | None) -> bool:
        """Return whether an output has a checksum that `of_job` returned for it; not where there was none."""
        return checksum is not None and self._of_output(Path(path)) == checksum

    def _of_output(self, path: Path) -> str | None:
        # A job that writes it, or who may read it, says why it cannot be read.
        with contextlib.suppress(StudyError, OSError):
            return self._of(str(path)) or self._of(str(path), is_whole=True)
        return None

    def _of(self, path: str, is_whole: bool = False) -> str | None:
        """Return the checksum of a file; None if it is gone, or if its kind is not compared.

        Args:
            path: of the file.
            is_whole: take all bytes, whatever kind it is.
        """
        state = state_of(path)
        if state is None:
            return None
        known = self._known.get((path, is_whole))
        if known is None or known[0] != state:
            known = state, sha256_of_file(Path(path)) if is_whole else self._read(Path(path))
            self._known[path, is_whole] = known
        return known[1]

    def _read(self, path: Path) -> str | None:
        if path.name == _PREDICTIONS:
            return _of_predictions(path)
        folder = path.relative_to(self.results).parts[0] if path.is_relative_to(self.results) else ""
        if folder == "weights":
            content: Any = content_of_weights(read_record(path) or {})
        elif path.suffix == ".json" and (folder == "features" or path.name == "packed.json"):
            content = (read_record(path) or {}).get("sha256")
        # Tables may also be those of another study (`report.beside`). Runs have their own records.
        elif (path.suffix == ".csv" and folder != "runs") or path in self._compared_whole:
            content = sha256_of_file(path)
        else:
            return None
        return None if content is None else sha256_of_json(content)[:16]


def _files_of_output(job: Any) -> list[Path]:
    """Return the files of a job's output that are compared; of a folder, the record of its other files.

    With the record of a prediction, its points are compared, which no rule names because chips need not have places.
    """
    points = [Path(path).with_name(POINTS) for path in job.output if Path(path).name == PREDICTION_RECORD]
    folders = [Path(path, EXPORT_RECORD) for path in job.output if Path(path, EXPORT_RECORD).is_file()]
    files = [Path(path) for path in job.output if not Path(path).is_dir()]
    return [path for path in [*files, *folders, *points] if path.suffix not in _NOT_COMPARED]


def _of_predictions(path: Path) -> str | None:
    """Return the checksum of predictions: that in the record of their run; controls have few files and no record."""
    try:
        found = _RECORDED.search(path.with_name("run.yaml").read_text(encoding="utf-8"))
        return found[1] if found else None
    except FileNotFoundError:
        return sha256_of_file(path) if path.is_file() else None


def state_of(path: Any) -> list[int] | None:
    """Return the size of a file and the time of its last change in ns; None if it is not there."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]
