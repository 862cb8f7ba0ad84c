"""The new chips of a prediction: their files, whose content decides what is predicted, and the name of its folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from terralucas.contents import Before, FileState, look_at, read_record, states_of, token_of, write_record
from terralucas.data.discovery.chip_tables import CHIP_TABLE_SUFFIXES, read_chip_table, why_impossible
from terralucas.data.discovery.folders import CHIP_SUFFIXES, list_files
from terralucas.data.rasters.image_files import changed_chips, with_sidecars
from terralucas.data.rasters.side_files import (
    MASK_SUFFIX,
    METADATA_SUFFIX,
    WORLD_SUFFIXES,
    mask_files,
    metadata_file,
    world_files,
)
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json
from terralucas.results_input import (
    PREDICTION_RECORD,
    absolute_paths,
    has_results_of_others,
    refuse_results_of_others,
)
from terralucas.study.source_files import digest_of_file

# What is no part of the name of an input. All else behind a dot is, such as the tile in HLS.S30.T32TQM.2020193.tif.
_SUFFIXES = (
    ".tif", ".tiff", ".vrt", ".img", ".jp2", ".csv", ".parquet", ".zip", ".tgz", ".tar", ".tar.gz", ".tar.bz2",
    ".tar.xz",
)  # fmt: skip
_LONGEST_NAME = 100


def with_home(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `predict` or `map` of a resolved configuration with `~` in its input written out."""
    given = settings["input"]
    if given is None:
        return dict(settings)
    is_list = not isinstance(given, str)
    paths = [os.path.expanduser(path) for path in (given if is_list else [given])]  # noqa: PTH111 - keeps ./ and //
    return {**settings, "input": paths if is_list else paths[0]}


def prediction_name(settings: Mapping[str, Any], folder: Path) -> str:
    """Return the name of a prediction's folder: the configured one, or else one of its input.

    Args:
        settings: the section `predict` of a resolved configuration.
        folder: the folder of all predictions of the study.
    """
    if settings["name"] is not None:
        return str(settings["name"])
    source = Path(settings["input"] or "none")
    return own_name(folder_name(source, "chips"), [source], folder, PREDICTION_RECORD)


def require_own_prediction(settings: Mapping[str, Any], folder: Path) -> None:
    """Raise a StudyError if the folder of a prediction has the predictions of another input.

    Args:
        settings: the section `predict` of a resolved configuration, with an input.
        folder: the folder of this prediction.
    """
    refuse_results_of_others(folder / PREDICTION_RECORD, [Path(settings["input"])], "set another predict.name")


def plan_name(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return the name of the file of a plan.

    Other settings have another plan: Snakemake deletes an output before its job, so that others that are refused would
    cost the plan of finished results, and these would be predicted again.

    Args:
        settings: the section `predict` or `map` of a resolved configuration.
        keys: its keys that decide the plan.
    """
    return f"plan-{sha256_of_json({key: settings[key] for key in keys})[:8]}.json"


def remove_other_plans(plan: Path) -> None:
    """Delete the plans of other settings, whose results are replaced."""
    for other in plan.parent.glob("plan-*.json"):
        if other.name != plan.name:
            other.unlink(missing_ok=True)


def folder_name(source: Path, default: str) -> str:
    """Return the name of a file or folder without suffix, in letters that a folder may have; a default without any."""
    stem = re.sub(rf"({'|'.join(map(re.escape, _SUFFIXES))})$", "", source.name, flags=re.IGNORECASE)
    return re.sub(r"[^\w-]+", "_", stem).strip("_")[:_LONGEST_NAME] or default


def own_name(name: str, inputs: Sequence[Path], folder: Path, record: str) -> str:
    """Return a name, made unique by a checksum of the inputs' paths if the results of this name are of other inputs.

    Args:
        name: the name.
        inputs: the inputs.
        folder: where folders of results have their names.
        record: name of the file in such a folder that says what the results were made of.
    """
    if not has_results_of_others(folder / name / record, inputs):
        return name
    return f"{name}-{sha256_of_json(absolute_paths(inputs))[:8]}"


def files_of_new_chips(source: Path) -> dict[str, Path]:
    """Return the files that a prediction reads of a folder, table, archive or chip; empty without any."""
    if source.is_dir():
        return {str(file): source / file for file in list_files(source) if _is_chip(file.name)}
    if not source.is_file():
        return {}
    files = {source.name: source}
    if source.suffix.lower() in CHIP_SUFFIXES:
        return {path.name: path for path in with_sidecars(source)}
    if source.suffix.lower() in CHIP_TABLE_SUFFIXES:
        files |= {str(path): path for chip in _chips_of(source) for path in with_sidecars(chip)}
    return files


def token_of_new_chips(source: Path, record: Path) -> str:
    """Return a token of the content of new chips (`terralucas.contents.token_of`)."""
    return token_of(record, files_of_new_chips(source), digest_of_file)


def look_at_new_chips(source: Path) -> Before:
    """Return what is known of the files of new chips before they are read."""
    return look_at(files_of_new_chips(source), digest_of_file)


def write_new_chips_record(source: Path, record: Path, token: str, before: Before) -> None:
    """Record the new chips that a prediction reads.

    Args:
        source: what was configured: a folder, table, archive or chip.
        record: the record.
        token: the token of the files when they were read.
        before: of `look_at_new_chips`, before they were read.
    """
    write_record(record, token, str(source), *before, digest_of_file)


def require_recorded_chips(paths: Iterable[str], source: Path, record: Path) -> None:
    """Raise a StudyError if chips are not those that were planned: predictions would be of two sets of chips.

    Args:
        paths: of the chips, as the plan has them.
        source: what was configured: a folder, table, archive or chip. What was unpacked of an archive is not compared.
        record: the record of `write_new_chips_record`.
    """
    known = read_record(record)
    if known is None:
        return
    recorded, folder, suffix = known["files"], source.resolve(), source.suffix.lower()
    if source.name in recorded and suffix not in (*CHIP_SUFFIXES, *CHIP_TABLE_SUFFIXES):
        # An archive, which may be away by now.
        return

    def name_of(path: Path) -> str:
        """Return the name of a file in the record (`files_of_new_chips`)."""
        if suffix in CHIP_TABLE_SUFFIXES:
            return str(path)
        if suffix in CHIP_SUFFIXES:
            return path.name
        # A link may lead to another folder by now.
        return str(path.relative_to(folder)) if path.is_relative_to(folder) else ""

    @cache
    def list_names(parent: Path) -> set[str]:
        with suppress(OSError):
            return {path.name for path in parent.iterdir()}
        return set()

    changed: list[Path] = []
    for chip in map(Path, paths):
        # One may be gone, or have come. Where a file system takes A for a, a file has one name in its folder.
        files = [
            (file, name)
            for file in (chip, *mask_files(chip), metadata_file(chip), *world_files(chip))
            if (name := name_of(file)) in recorded or file is chip or file.name in list_names(file.parent)
        ]
        states = states_of({str(file): file for file, _ in files})
        changed += (file for file, name in files if _is_other(file, states.get(str(file)), recorded.get(name)))
    if changed:
        raise changed_chips(changed)


def _is_other(path: Path, state: FileState | None, entry: Sequence[Any] | None) -> bool:
    """Return whether a file has another content than the one in an entry of a record.

    Args:
        path: of the file.
        state: its state; None if it is not there.
        entry: state and checksum of the recorded file; None if it was not there.
    """
    if state is None or entry is None:
        # A file of which nothing is read counts as none: its checksum is empty.
        return bool(entry[-1] if entry else state and digest_of_file(path))
    return state.recorded != list(entry[:-1]) and digest_of_file(path) != entry[-1]


def _chips_of(table: Path) -> list[Path]:
    """Return the chips that a table names; none if it cannot be read, which the plan of the prediction says."""
    try:
        return [path for _, path in read_chip_table(table) if why_impossible(path) is None]
    except StudyError:
        return []


def _is_chip(name: str) -> bool:
    """Return whether a file is a chip, or lies beside one."""
    lower = name.lower()
    beside = ("", MASK_SUFFIX, METADATA_SUFFIX)
    return lower.endswith(WORLD_SUFFIXES) or any(lower.endswith(f"{s}{b}") for s in CHIP_SUFFIXES for b in beside)
