"""The plan of a prediction: the chips and options that all its parts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from terralucas.contents import identities_of, recorded_of, states_of
from terralucas.data.rasters.image_files import changed_chips, with_sidecars
from terralucas.files import sha256_of_json, write_json
from terralucas.parts import part_of
from terralucas.predict.new_chips import NewChip, check_sample, find_new_chips
from terralucas.predict.options import PredictOptions
from terralucas.predict.selected import Selected
from terralucas.results_input import PREDICTION_RECORD, refuse_results_of_others
from terralucas.stored import read_json

# Key of the plan's fingerprint in the metadata of a part.
FINGERPRINT = b"terralucas_plan"


@dataclass(frozen=True)
class Plan:
    """The plan of a prediction.

    Attributes:
        chips: the chips, in the order of the output.
        options: options of the prediction.
        fingerprint: fingerprint of the models, chips and options, and of the code that makes parts.
        record: what is written of the plan into prediction.json.
        files: size, time and inode of each file of the chips, by path; empty if the plan was read.
    """

    chips: Sequence[NewChip]
    options: PredictOptions
    fingerprint: str
    record: Mapping[str, Any]
    files: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def make_plan(source: Path, selected: Selected, options: PredictOptions, path: Path, code_of_parts: str = "") -> Plan:
    """Find the chips to predict, look at some of them, and write the plan.

    Args:
        source: see `terralucas.predict.new_chips.find_new_chips`.
        selected: the selected models.
        options: options of the prediction.
        path: JSON file of the plan; an archive is unpacked beside it.
        code_of_parts: fingerprint of the code that makes parts; parts of other code are made again.

    Raises:
        StudyError: there are no chips, their bands, size or scale cannot be right, or the folder has the predictions of
            another input.
    """
    refuse_results_of_others(path.parent / PREDICTION_RECORD, [source], "name another folder for these predictions")
    chips = find_new_chips(source, path.parent)
    looked_at = check_sample(chips, selected.reader, selected.training, options)
    record = {
        "study": selected.record["study"],
        "recipe": selected.record["recipe"],
        "models": len(selected.models),
        "input": str(source),
        "looked_at": looked_at,
        "options": asdict(options),
    }
    # Chips that were replaced by others of the same names must not get the predictions of parts that are finished.
    files = _files_of(chips)
    states = states_of(files)
    described = [asdict(chip) for chip in chips]
    # Parts have the conformal sets, and the fingerprint of the selection says nothing of its coverage.
    with_coverage = asdict(options) | {"coverage": options.coverage_of(selected.record)}
    of = [selected.fingerprint, with_coverage, described, recorded_of(states), code_of_parts]
    fingerprint = sha256_of_json(of)
    plan = Plan(chips, options, fingerprint, record, identities_of(states))
    rows = [[chip.id, chip.path, chip.problem] for chip in chips]
    write_json(path, {"fingerprint": fingerprint, "record": record, "options": asdict(options), "chips": rows})
    return plan


def _files_of(chips: Sequence[NewChip]) -> dict[str, Path]:
    return {str(file): file for chip in chips if chip.problem is None for file in with_sidecars(Path(chip.path))}


def require_unchanged(plan: Plan) -> None:
    """Raise a StudyError if a file of a chip is another one than when the plan was made, by its size, time and inode.

    Args:
        plan: of `make_plan`.
    """
    now = identities_of(states_of(_files_of(plan.chips)))
    changed = [name for name in {**plan.files, **now} if plan.files.get(name) != now.get(name)]
    if changed:
        raise changed_chips(list(map(Path, sorted(changed))))


def chips_of_part(plan: Plan, part: int, parts: int) -> Sequence[NewChip]:
    """Return the chips of a part of a plan that has this many parts."""
    rows = part_of(len(plan.chips), plan.options.batch_size, part, parts)
    return plan.chips[rows.start : rows.stop]


def read_plan(path: Path) -> Plan:
    """Read a plan of `make_plan`."""
    content = read_json(path)
    chips = [NewChip(name, path, problem and tuple(problem)) for name, path, problem in content["chips"]]
    return Plan(chips, PredictOptions(**content["options"]), content["fingerprint"], content["record"])


def is_part_of(path: Path, plan: Plan) -> bool:
    """Return whether a file is a finished part of this plan."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return False
    return metadata.get(FINGERPRINT, b"").decode() == plan.fingerprint
