"""Of which input a folder of results was made, so that results of another input are not replaced by mistake."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from terralucas.disk import explain
from terralucas.errors import StudyError

# The records of finished predictions and maps, in the folders of these results.
PREDICTION_RECORD, MAP_RECORD = "prediction.json", "map.json"
# Of a prediction, where chips have places.
POINTS = "predictions.geojson"


def has_results_of_others(record: Path, inputs: Sequence[Path]) -> bool:
    """Return whether results were made of other inputs; false without results.

    Args:
        record: JSON file of the results, whose key `input` has the path or paths of their inputs.
        inputs: the inputs of the results that are to be made.
    """
    recorded = _recorded_inputs(record)
    return bool(recorded) and recorded != absolute_paths(inputs)


def refuse_results_of_others(record: Path, inputs: Sequence[Path], remedy: str) -> None:
    """Raise a StudyError if results were made of other inputs.

    Args:
        record: see `has_results_of_others`.
        inputs: see `has_results_of_others`.
        remedy: how the user names another folder.
    """
    if has_results_of_others(record, inputs):
        raise StudyError(
            f"The folder {record.parent} has the results of another input.",
            found=", ".join(_recorded_inputs(record)),
            expected=", ".join(absolute_paths(inputs)),
            remedy=f"{remedy}; or delete the folder, if its results are not needed",
        )


def absolute_paths(inputs: Sequence[Path]) -> list[str]:
    """Return absolute paths; links are kept, because the file behind a link such as `latest.tif` may change."""
    return [os.path.abspath(path) for path in inputs]  # noqa: PTH100 - resolve() would follow links


def _recorded_inputs(record: Path) -> list[str]:
    try:
        recorded = json.loads(record.read_text(encoding="utf-8"))["input"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return []
    except OSError as error:
        raise explain(error) or error from None
    return absolute_paths([Path(recorded)] if isinstance(recorded, str) else list(map(Path, recorded)))
