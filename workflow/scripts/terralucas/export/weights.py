"""Weights of the selected models as safetensors, with the names of TerraTorch's `ScalarOutputModel`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from terralucas.export.graph import ChipFormat, has_one_encoder, plain_encoders
from terralucas.files import atomic_path, write_json
from terralucas.predict.ensemble import Ensemble
from terralucas.training.trained_run import TrainedRun

MODELS, ENCODER, MODEL, ADAPTERS, CONFIG = (
    "models", "encoder.safetensors", "model.safetensors", "adapters.safetensors", "config.json",
)  # fmt: skip


def write_weights(
    ensemble: Ensemble, names: Sequence[str], chip_format: ChipFormat, description: Mapping[str, Any], folder: Path
) -> None:
    """Write model.safetensors and config.json of each model.

    A frozen encoder, which all models share, is in one file beside them; a tuned encoder is in the file of its model.
    LoRA adapters are merged into the weights, and also in a file of their own, with PEFT's names.

    Args:
        ensemble: the models.
        names: name of each model's folder.
        chip_format: what the values of a chip mean.
        description: bands, unit, classes and the like; part of each config.json.
        folder: folder of the exported files.
    """
    encoders, is_shared = plain_encoders(ensemble), has_one_encoder(ensemble)
    if is_shared:
        _save(_encoder_weights(encoders[0]), folder / ENCODER)
    place = {member: number for number, group in enumerate(ensemble.groups) for member in group.members}
    for member, (run, name) in enumerate(zip(ensemble.runs, names, strict=True)):
        files = [f"{MODELS}/{name}/{MODEL}"]
        tensors = {key: value for key, value in run.model.state_dict().items() if not key.startswith("encoder.")}
        if is_shared:
            files.insert(0, ENCODER)
        else:
            tensors |= _encoder_weights(encoders[place[member]])
        _save(tensors, folder / files[-1])
        if adapters := adapters_of(run):
            _save(adapters, folder / MODELS / name / ADAPTERS)
        write_json(folder / MODELS / name / CONFIG, _configuration(run, chip_format, description, files))


def adapters_of(run: TrainedRun) -> dict[str, Tensor]:
    """Return the LoRA adapters of a run with PEFT's names; empty if it has none."""
    from peft import PeftModel, get_peft_model_state_dict

    encoder = run.model.encoder
    return dict(get_peft_model_state_dict(encoder)) if isinstance(encoder, PeftModel) else {}


def _configuration(
    run: TrainedRun, chip_format: ChipFormat, description: Mapping[str, Any], files: Sequence[str]
) -> dict[str, Any]:
    training = run.record["settings"]["training"]
    statistics = {
        name: [float(value) for value in getattr(run.normaliser, name) * chip_format.scale]
        for name in ("mean", "std", "fill")
    }
    head = run.model.head.head[2]
    return {
        **description,
        "decoder": dict(run.model.setting),
        "normalised_head_scale": getattr(head, "scale", None),
        "tuning": training.get("tuning", "frozen"),
        "lora": (training.get("end_to_end") or {}).get("lora"),
        **statistics,
        "weights": list(files),
    }


def _encoder_weights(encoder: nn.Module) -> dict[str, Tensor]:
    return {f"encoder.{name}": value for name, value in encoder.state_dict().items()}


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    # Copied, because a part of another tensor, or one that is not contiguous, cannot be saved. `save_file` would make a
    # file that only its owner can read.
    with atomic_path(path) as temporary:
        temporary.write_bytes(save({name: value.detach().clone().contiguous() for name, value in tensors.items()}))
