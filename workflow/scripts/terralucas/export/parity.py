"""Load the exported files again, and compare what they predict with the selected models."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from terralucas.backbones.encoder import MODALITY
from terralucas.backbones.terratorch_parts import terramind_registry
from terralucas.errors import StudyError
from terralucas.export import examples
from terralucas.export.terratorch_model import TerraTorchModel
from terralucas.export.weights import ADAPTERS, CONFIG, MODELS, adapters_of
from terralucas.predict.conformal import softmax
from terralucas.predict.ensemble import Ensemble
from terralucas.training.trained_run import TrainedRun
from terralucas.training.tuned import TunedModel

# Largest difference of logits, relative to the largest logit where that is above 1.
TOLERANCE = 1e-4
# Chips in a pass: a graph that takes the number of chips as a constant fails in one of them.
BATCHES = (1, 2, 7)

# Executes an example in a process without this project, for batches of chips.
_RUN = """\
import sys
import numpy as np

results = {}
batches = np.load(sys.argv[1])
for name in batches.files:
    found = {"chips": batches[name]}
    exec(sys.argv[3], found)
    results |= {f"logits_{name}": found["logits"], f"probabilities_{name}": found["probabilities"]}
np.savez(sys.argv[2], **results)
"""


@dataclass(frozen=True)
class Reference:
    """What the selected models predict for some chips of the study.

    Attributes:
        chips: (n, bands, side, side) in the unit of the study's files, NaN where a pixel is missing.
        logits: (J, n, K) of the models.
    """

    chips: np.ndarray
    logits: np.ndarray

    @classmethod
    def of(cls, ensemble: Ensemble, chips: np.ndarray, scale: float) -> Reference:
        """Predict chips of reflectance; a corner of the first one is made missing.

        Args:
            ensemble: the models.
            chips: (n, bands, side, side) reflectance.
            scale: value of a pixel with the reflectance 1 in the study's files.
        """
        chips = chips.copy()
        chips[0, :, :3, :5] = np.nan
        return cls((chips * np.float32(scale)).astype(np.float32), ensemble.predict(chips)[0])

    def difference(self, logits: np.ndarray, members: slice = slice(None)) -> float:
        """Return the largest difference of logits (J, m, K) of the first m chips, relative if they are above 1."""
        own = self.logits[members, : logits.shape[1]]
        if own.shape != logits.shape or not np.isfinite(logits).all():
            return float("inf")
        return float(np.abs(own - logits).max() / max(1.0, float(np.abs(own).max())))


def check_graph_file(folder: Path, name: str, reference: Reference) -> float:
    """Return the largest difference between a file of the whole ensemble and the selected models.

    Args:
        folder: folder of the exported files.
        name: `model.onnx` or `model.pt2`.
        reference: what the selected models predict.

    Raises:
        StudyError: the file cannot be loaded in a new process, or it predicts something else.
    """
    example = {"model.onnx": examples.ONNX, "model.pt2": examples.TORCH_EXPORT}[name]
    batches = {str(number): reference.chips[:number] for number in (*BATCHES, len(reference.chips))}
    results = run_example(example, folder, batches)
    differences = []
    for number in batches:
        logits = np.moveaxis(results[f"logits_{number}"], 1, 0)
        differences.append(reference.difference(logits))
        expected = softmax(reference.logits[:, : int(number)]).mean(axis=0)
        differences.append(float(np.abs(results[f"probabilities_{number}"] - expected).max()))
    return _require_same(name, max(differences))


def check_weights(
    folder: Path, names: Sequence[str], ensemble: Ensemble, terratorch: TerraTorchModel, reference: Reference
) -> dict[str, float]:
    """Return the largest differences between models that are built anew from the weights, and the selected models.

    Raises:
        StudyError: a file does not have all weights, or its model predicts something else.
    """
    differences = {"model.safetensors": 0.0}
    for member, (name, run) in enumerate(zip(names, ensemble.runs, strict=True)):
        config = json.loads((folder / MODELS / name / CONFIG).read_text(encoding="utf-8"))
        tensors = {key: value for file in config["weights"] for key, value in load_file(folder / file).items()}
        chips = _normalise(reference.chips, config)
        models = {"model.safetensors": _empty_model(run)}
        if terratorch.configuration is not None:
            models["terratorch.yaml"] = _terratorch_model(terratorch.configuration)
        for format_name, model in models.items():
            logits = _predict(f"{MODELS}/{name}", model, tensors, chips)
            found = reference.difference(logits[None], slice(member, member + 1))
            differences[format_name] = max(differences.get(format_name, 0.0), _require_same(format_name, found))
        if (adapters := folder / MODELS / name / ADAPTERS).is_file():
            own = adapters_of(run)
            _require_same(ADAPTERS, max(float((own[k] - v).abs().max()) for k, v in load_file(adapters).items()))
    return differences


def run_example(example: str, folder: Path, batches: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Execute an example of `examples` in a process that cannot import this project.

    Args:
        example: code that makes `logits` and `probabilities` of `chips`.
        folder: folder of the exported files, in which it starts.
        batches: chips (n, bands, side, side) by name.

    Returns:
        Arrays by name: `logits_<name>` and `probabilities_<name>` of each batch.

    Raises:
        StudyError: the code failed.
    """
    with tempfile.TemporaryDirectory() as temporary:
        source, target = Path(temporary, "chips.npz"), Path(temporary, "results.npz")
        np.savez(source, **batches)  # type: ignore[arg-type]  # its stub takes the names for options
        # -I: without PYTHONPATH, in which the project may be.
        command = [sys.executable, "-I", "-c", _RUN, str(source), str(target), example]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StudyError(
                "An exported file cannot be used in a new process.",
                found=(done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1],
                expected="predictions",
                remedy="report this with the log of the job; nothing was exported",
            )
        with np.load(target) as results:
            return dict(results)


def _normalise(chips: np.ndarray, config: Mapping[str, Any]) -> torch.Tensor:
    """Normalise chips with the statistics of a config.json, as its reader would."""
    mean, std, fill = (np.float32(config[name]).reshape(-1, 1, 1) for name in ("mean", "std", "fill"))
    return torch.from_numpy((np.where(np.isnan(chips), fill, chips) - mean) / std)


def _empty_model(run: TrainedRun) -> nn.Module:
    """Return a model of the architecture of a run, without adapters and with weights that loading must replace."""
    source = run.record["features"]
    encoder = terramind_registry().build(
        source["model"], modalities=[MODALITY], bands={MODALITY: list(run.bands)}, pretrained=False
    )
    scale = getattr(run.model.head.head[2], "scale", None)
    return TunedModel(encoder, run.model.setting, int(encoder.out_channels[-1]), len(run.classes), scale)


def _terratorch_model(configuration: Mapping[str, Any]) -> nn.Module:
    from terratorch.tasks import ClassificationTask

    # All of TerraTorch lowers this precision for its whole process, see `terralucas.backbones.encoder`.
    torch.set_float32_matmul_precision("highest")
    model: nn.Module = ClassificationTask(**configuration["init_args"]).model
    return model


@torch.inference_mode()
def _predict(name: str, model: nn.Module, tensors: Mapping[str, torch.Tensor], chips: torch.Tensor) -> np.ndarray:
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if missing or unexpected:
        raise StudyError(
            f"The exported weights {name} are not those of the model.",
            found=f"missing {', '.join(missing) or 'nothing'}; unexpected {', '.join(unexpected) or 'nothing'}",
            remedy="report this with the log of the job; nothing was exported",
        )
    output = model.eval()(chips)
    return np.asarray(getattr(output, "output", output).numpy())


def _require_same(name: str, difference: float) -> float:
    """Return a difference of logits or probabilities that is small enough.

    Raises:
        StudyError: it is too large.
    """
    if not difference <= TOLERANCE:
        raise StudyError(
            f"The export {name} does not predict what the selected models predict.",
            found=f"a difference of {difference:.2g}",
            expected=f"at most {TOLERANCE:g}, for logits relative to the largest one where that is above 1",
            remedy="report this with the log of the job; nothing was exported",
        )
    return difference
