"""Temperature scaling of the selected models: their logits are divided by a number that validation chips give."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import torch
import yaml

from terralucas.errors import StudyError
from terralucas.evidence.calibration import TEMPERATURES, fit_temperature
from terralucas.files import atomic_path, sha256_of_file, write_text
from terralucas.predictions import read_predictions
from terralucas.stored import read_yaml

logger = logging.getLogger(__name__)

# A temperature within 1 % of a bound counts as that bound.
_NEAR = 1.01
# The last layer of the head.
_LAYER = "head.head.2."


def temperature_of(run: Path) -> float:
    """Fit the temperature of a run on the chips that chose its epoch.

    Args:
        run: folder of the run.

    Returns:
        The temperature; 1, and a warning, where all these chips are right.

    Raises:
        StudyError: the run has no validation chips.
    """
    table = read_predictions(run / "predictions.parquet")
    chosen = table.parts == "validation"
    if not chosen.any():
        raise StudyError(
            "No temperature can be fitted.",
            found=f"no validation chips in {run / 'predictions.parquet'} (split.validation_is_test)",
            expected="chips in the part `validation`",
            remedy="set select.temperature_scaling to false",
        )
    temperature = fit_temperature(table.labels[chosen], table.logits[chosen])
    low, high = TEMPERATURES
    if temperature == 1.0:
        logger.warning(
            "All %d validation chips of %s are right, so that no temperature can be found; its logits stay as they are",
            chosen.sum(),
            run,
        )
    elif not low * _NEAR < temperature < high / _NEAR:
        logger.warning(
            "The %d validation chips of %s give a temperature of %.3g, which is the end of the range that is searched",
            chosen.sum(),
            run,
            temperature,
        )
    return temperature


def divide_logits(folder: Path, temperature: float) -> None:
    """Divide the logits of a saved model by a temperature.

    The last layer of the head is changed, so that the model predicts the same wherever it is used: for new chips, in
    maps, and after an export.

    Args:
        folder: of a copied run, whose model.ckpt is replaced, and its checksum in run.yaml.
        temperature: T > 0.
    """
    checkpoint, path_of_record = folder / "model.ckpt", folder / "run.yaml"
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if content["cosine_scale"] is None:
        state = content["state_dict"]
        for name in (f"{_LAYER}weight", f"{_LAYER}bias"):
            state[name] = state[name] / temperature
    else:
        # Its logits are s cos(w, x), whatever the length of w.
        content["cosine_scale"] /= temperature
    with atomic_path(checkpoint) as path:
        # Save to memory first: if the disk is full, torch.save hides the error of the operating system.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        path.write_bytes(buffer.getvalue())
    record = read_yaml(path_of_record, "status") | {"model_sha256": sha256_of_file(checkpoint)}
    write_text(path_of_record, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
