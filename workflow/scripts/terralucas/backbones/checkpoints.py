"""Read a checkpoint without running code in it, and check that it fills an encoder with trained weights."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from terralucas.backbones.checkpoint_files import EXPECTED, advise, is_zip, python_command, refuse_other_file
from terralucas.errors import StudyError

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def read_checkpoint(path: Path, remedy: str) -> Any:
    """Return what torch.save wrote to a file: tensors and plain containers of them, and nothing that could run code.

    Args:
        path: the file. If it was written by PyTorch 1.6 or later, its tensors are memory-mapped.
        remedy: what the user can do if the file cannot be read.

    Raises:
        StudyError: the file is damaged, or contains other objects.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip(path))
    except Exception as error:  # damaged files raise RuntimeError, UnpicklingError, EOFError and others
        found, is_foreign = _describe_failure(error)
        export = (
            "load it where it was made, and save its state dict alone: torch.save(model.state_dict(), …); or "
            if is_foreign
            else ""
        )
        raise StudyError(
            f"The checkpoint {path} can't be read.", found=found, expected=EXPECTED, remedy=export + remedy
        ) from None


def check_encoder(encoder: nn.Module, path: Path, weights: Mapping[str, Any]) -> None:
    """Raise an error if a checkpoint does not fill every weight of an encoder; TerraTorch would only warn.

    Args:
        encoder: encoder for all bands of its modality. Its buffers (sine-cosine position embeddings) are computed and
            need not be in the checkpoint.
        path: the file.
        weights: the section `weights` of the backbone, or a record of it.

    Raises:
        StudyError: the file cannot be read; a weight is missing, has another shape, is no dense tensor of floats, is
            not finite, or is a matrix of one value; or the weights are part of a larger checkpoint.
    """
    refuse_other_file(path, weights)
    remedy = advise(weights)
    content = read_checkpoint(path, remedy)
    parameters = dict(encoder.named_parameters())
    described = f"all {len(parameters)} weights of {type(encoder).__name__}"
    if not isinstance(content, Mapping):
        raise StudyError(
            f"The checkpoint {path} contains no named weights.",
            found=_name_type(content),
            expected=f"a state dict with {described}",
            remedy=remedy,
        )
    section, prefix = _locate(content, parameters)
    state = content[section] if section else content
    found = {name: state[prefix + name] for name in parameters if prefix + name in state}
    missing = [name for name in parameters if name not in found]
    misfit = [
        f"{name} {tuple(value.shape)} instead of {tuple(parameters[name].shape)}"
        for name, value in found.items()
        if isinstance(value, Tensor) and value.shape != parameters[name].shape
    ]
    if missing or misfit:
        raise StudyError(
            f"The checkpoint {path} does not contain all weights of the encoder; the others would stay random.",
            found=_describe_missing(missing, state) if missing else "; ".join(misfit[:3]),
            expected=described,
            remedy=f"use the published TerraMind checkpoint of this model, or correct backbones.<name>.model; {remedy}",
        )
    if faults := [f"{name} {fault}" for name, value in found.items() if (fault := _find_fault(value))]:
        raise StudyError(
            f"The checkpoint {path} does not contain trained weights of the encoder.",
            found=faults[0] + (f"; {len(faults) - 1} other weights are unusable too" if len(faults) > 1 else ""),
            expected=f"finite floating-point numbers, as training leaves them, in {described}",
            remedy=remedy,
        )
    if section or prefix:
        raise _extraction_error(path, section, prefix)


def _locate(content: Mapping[Any, Any], names: Iterable[str]) -> tuple[str, str]:
    """Return the section of a checkpoint, and the prefix of its keys, with most of the names; of equals the first."""
    sections = {"": content} | {
        key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Mapping)
    }
    counts = Counter(
        (section, key.removesuffix(name))
        for section, state in sections.items()
        for key in state
        if isinstance(key, str)
        for name in names
        if key == name or key.endswith(f".{name}")
    )
    # The weights themselves come before a copy of them under another prefix.
    return max(counts, key=lambda place: (counts[place], place == ("", "")), default=("", ""))


def _find_fault(value: Any) -> str | None:
    """Return why an entry of a checkpoint is no trained weight, or None."""
    if not isinstance(value, Tensor):
        return f"is {_name_type(value)}"
    if value.is_meta:
        return "is a tensor without values (on the device meta)"
    if value.layout != torch.strided:
        return f"is a sparse tensor ({str(value.layout).removeprefix('torch.')})"
    if value.dtype not in _FLOATS:
        return f"has the type {str(value.dtype).removeprefix('torch.')}"
    if not torch.isfinite(value).all():
        return "contains NaN or infinity"
    # Norms and biases may have one value, as they do before training; a trained matrix never has.
    if sum(side > 1 for side in value.shape) > 1 and (value == value.flatten()[0]).all():
        # Adding 0.0 shows -0.0 as 0.
        return f"has the value {value.flatten()[0].item() + 0.0:g} everywhere"
    return None


def _describe_missing(missing: list[str], state: Mapping[Any, Any]) -> str:
    adapters = any("lora_" in str(key) for key in state)
    return f"{len(missing)} weights missing ({', '.join(missing[:3])} …)" + (
        "; there are LoRA adapters, which must be merged into the weights first" if adapters else ""
    )


def _extraction_error(path: Path, section: str, prefix: str) -> StudyError:
    """Return the error for a checkpoint that contains the encoder as one of its parts.

    The encoder is not taken from it: such a file is of a model that was trained further, perhaps on the chips of the
    study, which only the user can know.
    """
    opening = f"[{json.dumps(section)}]" if section else ""
    start = json.dumps(prefix)
    code = (
        f"import torch; state = torch.load({json.dumps(str(path))}, weights_only=True){opening}; "
        f"torch.save({{k.removeprefix({start}): v for k, v in state.items() if k.startswith({start})}}, "
        '"encoder.pt")'
    )
    place = [f"the keys {prefix}…"] * bool(prefix) + [f"the section {section}"] * bool(section)
    return StudyError(
        f"The checkpoint {path} is of a larger model, which may be fine-tuned; the encoder is only a part of it.",
        found=f"the weights of the encoder in {' of '.join(place)}",
        expected="a state dict of the encoder",
        remedy="only if it was not trained on chips of this study, whose scores would then be too high: take out the "
        f"encoder with {python_command(code)} and use weights: {{source: file, path: encoder.pt}}",
    )


def _describe_failure(error: Exception) -> tuple[str, bool]:
    """Return an error of torch.load in words, and whether the file has objects that are not read.

    PyTorch's own text advises to switch the protection off (weights_only=False), which would run code in the file.
    """
    text = str(error)
    if match := re.search(r"GLOBAL (\S+)", text):
        return f"beside tensors, an object of {match[1]}, which is not read because reading it could run code", True
    if "TorchScript" in text:
        return "a TorchScript archive, which contains code", True
    if match := re.search(r"WeightsUnpickler error: (.*)", text):
        text = match[1]
    line = next(iter(text.strip().splitlines()), "")
    sentences = [part for part in re.split(r"(?<=[.:]) ", line) if "weights_only" not in part]
    return ": ".join(filter(None, [type(error).__name__, " ".join(sentences)])), False


def _name_type(value: Any) -> str:
    names = {Tensor: "one tensor without a name", list: "a list", tuple: "a tuple", dict: "a dictionary"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), f"one {type(value).__name__}")
