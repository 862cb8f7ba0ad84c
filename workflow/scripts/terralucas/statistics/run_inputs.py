"""The arrays and weights on which runs were trained: those of the study, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from terralucas.contents import content_of_weights
from terralucas.errors import StudyError
from terralucas.stored import read_json

# Checksum of an array of features or chips, and what tells weights from others.
RunInputs = list[Any]


def inputs_of_run(features: Mapping[str, Any]) -> RunInputs:
    """Return the inputs that the record of a run names.

    Args:
        features: this part of the record; empty in records that lack it.
    """
    return [features["sha256"], content_of_weights(features["weights"])] if features else []


def inputs_of_study(features: Iterable[str], packed: str | None, weights: Iterable[str]) -> dict[str, list[RunInputs]]:
    """Return the inputs on which runs of each backbone may be trained.

    Args:
        features: records of the features of frozen backbones.
        packed: record of the chips on which tuned backbones are trained; None or empty without one.
        weights: records of the weights of tuned backbones, each named after its backbone.
    """
    found: dict[str, list[RunInputs]] = {}
    for path in features:
        record = read_json(Path(path))
        found.setdefault(record["backbone"], []).append([record["sha256"], content_of_weights(record["weights"])])
    for name in map(Path, weights):
        of_chips = read_json(Path(str(packed)))["sha256"]
        found.setdefault(name.stem, []).append([of_chips, content_of_weights(read_json(name))])
    return found


def require_inputs(records: Iterable[Mapping[str, Any]], inputs: Mapping[str, list[RunInputs]]) -> None:
    """Check that every run was trained on features, or chips and weights, that the study has now.

    Runs may have been replaced while others were still trained, as by those of a backup.

    Args:
        records: of the runs, each with its `run`, its `settings`, and as `inputs` what `inputs_of_run` returns.
        inputs: of `inputs_of_study`.

    Raises:
        StudyError: a run was trained on others.
    """
    other = [
        record["run"]
        for record in records
        if record["inputs"] and record["inputs"] not in inputs[record["settings"]["backbone"]]
    ]
    if other:
        more = f" and {len(other) - 8} more" if len(other) > 8 else ""
        raise StudyError(
            "Runs were trained on other features, or other chips or weights, than those of the study.",
            found=f"others in {len(other)} run(s): {', '.join(other[:8])}{more}",
            expected="in every run the features that are in features/ for its backbone, or the chips in data/ and the "
            "weights in weights/",
            remedy="delete the folders of these runs (in runs/ of the study), and start it again: it trains them",
        )
