"""Read a checkpoint without running code in it, and check that it fills an encoder with trained weights."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from terralucas.backbones.checkpoint_files import EXPECTED, advise, is_zip, python_command, refuse_other_file
from terralucas.errors import StudyError

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# The keys that lead to a section of a checkpoint, from the outermost to it; and how many of them are followed.
Sections: TypeAlias = tuple[str | int, ...]
_DEPTH = 4


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


def check_encoder(encoder: nn.Module, path: Path, weights: Mapping[str, Any]) -> bool:
    """Raise an error if a checkpoint does not fill every weight of an encoder; TerraTorch would only warn.

    Args:
        encoder: encoder for all bands of its modality. Its buffers (sine-cosine position embeddings) are computed and
            need not be in the checkpoint; those that are in it replace the computed ones, and must fit.
        path: the file.
        weights: the section `weights` of the backbone, or a record of it.

    Returns:
        Whether the weights were ever trained: before, all norms have the weight 1, and all biases are 0.

    Raises:
        StudyError: the file cannot be read; a weight is missing, has another shape, is no dense tensor of floats, is
            not finite in float32, or is a matrix of one value or a norm of zeros; parts of the encoder have more
            weights than TerraMind's; the weights are part of a larger checkpoint; or there are keys that are no names.
    """
    refuse_other_file(path, weights)
    remedy = advise(weights)
    content = read_checkpoint(path, remedy)
    parameters, tensors = dict(encoder.named_parameters()), encoder.state_dict()
    described = f"all {len(parameters)} weights of {type(encoder).__name__}"
    if not isinstance(content, Mapping):
        raise StudyError(
            f"The checkpoint {path} contains no named weights.",
            found=_name_type(content),
            expected=f"a state dict with {described}",
            remedy=remedy,
        )
    sections, prefix = _locate(content, parameters)
    state = _open(content, sections)
    found = {name: state[prefix + name] for name in tensors if prefix + name in state}
    missing = [name for name in parameters if name not in found]
    misfit = [
        f"{name} {tuple(value.shape)} instead of {tuple(tensors[name].shape)}"
        for name, value in found.items()
        if isinstance(value, Tensor) and value.shape != tensors[name].shape
    ]
    if missing or misfit:
        raise StudyError(
            f"The checkpoint {path} does not contain all weights of the encoder; the others would stay random.",
            found=_describe_missing(missing, state) if missing else "; ".join(misfit[:3]),
            expected=described,
            remedy=f"use the published TerraMind checkpoint of this model, or correct backbones.<name>.model; {remedy}",
        )
    if surplus := _find_surplus(state, prefix, tensors):
        raise StudyError(
            f"The checkpoint {path} is of an encoder with more weights than TerraMind has, which would be left out.",
            found=surplus[0] + (f" and {len(surplus) - 1} more" if surplus[1:] else ""),
            expected=described,
            remedy="merge adapters into the weights before (merge_and_unload of PEFT, eval() of loralib), or use "
            f"weights of TerraMind itself; {remedy}",
        )
    if faults := [f"{name} {fault}" for name, value in found.items() if (fault := _find_fault(name, value))]:
        raise StudyError(
            f"The checkpoint {path} does not contain trained weights of the encoder.",
            found=faults[0] + (f"; {len(faults) - 1} other weights are unusable too" if len(faults) > 1 else ""),
            expected=f"finite floating-point numbers, as training leaves them, in {described}",
            remedy=remedy,
        )
    if sections or prefix:
        raise _extraction_error(path, sections, prefix)
    # TerraTorch takes every key for a name, and ends with an error of Python.
    if others := [key for key in state if not isinstance(key, str)]:
        raise StudyError(
            f"The checkpoint {path} has keys that are no names.",
            found=f"{others[0]!r} ({_name_type(others[0])})" + (f" and {len(others) - 1} more" if others[1:] else ""),
            expected="a state dict, whose keys are names of weights",
            remedy=f"save the named weights alone with {_extraction_command(path, (), '')} and use weights: "
            f"{{source: file, path: encoder.pt}}; or {remedy}",
        )
    return not all(
        bool((found[name] == (1 if name.endswith("weight") else 0)).all())
        for name, value in parameters.items()
        if value.ndim == 1 and name.endswith(("weight", "bias"))
    )


def _locate(content: Mapping[Any, Any], names: Iterable[str]) -> tuple[Sections, str]:
    """Return the sections of a checkpoint, and the prefix of the keys in them, with most of the names.

    Of equal ones, it is the outermost, and the first of these.
    """
    suffixes = {name: f".{name}" for name in names}
    counts = Counter(
        (sections, key.removesuffix(name))
        for sections, state in _walk(content, ())
        for key in state
        if isinstance(key, str)
        for name, suffix in suffixes.items()
        if key == name or key.endswith(suffix)
    )
    # The weights themselves come before a copy of them under another prefix.
    return max(counts, key=lambda place: (counts[place], -len(place[0]), place[1] == ""), default=((), ""))


def _walk(content: Mapping[Any, Any], sections: Sections) -> Iterator[tuple[Sections, Mapping[Any, Any]]]:
    """Yield a mapping, and the mappings in it down to a small depth, each with the keys that lead to it."""
    yield sections, content
    if len(sections) < _DEPTH:
        for key, value in content.items():
            if isinstance(key, str | int) and isinstance(value, Mapping):
                yield from _walk(value, (*sections, key))


def _open(content: Mapping[Any, Any], sections: Sections) -> Mapping[Any, Any]:
    for key in sections:
        content = content[key]
    return content


def _find_surplus(state: Mapping[Any, Any], prefix: str, names: Iterable[str]) -> list[str]:
    """Return the names of weights in parts of the encoder that these parts do not have; zeros change nothing.

    The parts are its blocks, its last norm and the embedding of its modality. Other modalities and the decoder of a
    whole TerraMind are left out.
    """
    known = set(names)
    # Also blocks that the encoder does not have: encoder.<number>.
    parts = {"encoder", *(name.rpartition(".")[0] for name in known)}
    surplus = []
    for key, value in state.items():
        name = key.removeprefix(prefix) if isinstance(key, str) and key.startswith(prefix) else ""
        above = {name[: place.start()] for place in re.finditer(r"\.", name)}
        if name in known or parts.isdisjoint(above) or not isinstance(value, Tensor):
            continue
        has_values = value.layout == torch.strided and not value.is_meta
        if value.is_floating_point() and (not has_values or bool(value.any())):
            surplus.append(name)
    return surplus


def _find_fault(name: str, value: Any) -> str | None:
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
    # The encoder computes in float32; only float64 has larger numbers.
    single = value.float()
    if not torch.isfinite(single).all():
        return f"has values that float32 cannot hold (up to {value.abs().max().item():.3g})"
    value = single
    # Norms and biases may have one value, as they do before training; a trained matrix never has. A norm that
    # multiplies by 0 lets nothing of a chip through.
    is_matrix = sum(side > 1 for side in value.shape) > 1
    is_factor = name.endswith("weight") and not value.any()
    if (is_matrix or is_factor) and (value == value.flatten()[0]).all():
        # Adding 0.0 shows -0.0 as 0.
        return f"has the value {value.flatten()[0].item() + 0.0:g} everywhere"
    return None


def _describe_missing(missing: list[str], state: Mapping[Any, Any]) -> str:
    adapters = any("lora_" in str(key) for key in state)
    return f"{len(missing)} weights missing ({', '.join(missing[:3])} …)" + (
        "; there are LoRA adapters, which must be merged into the weights first" if adapters else ""
    )


def _extraction_error(path: Path, sections: Sections, prefix: str) -> StudyError:
    """Return the error for a checkpoint that contains the encoder as one of its parts.

    The encoder is not taken from it: such a file is of a model that was trained further, perhaps on the chips of the
    study, which only the user can know.
    """
    named = [f"the keys {prefix}…"] * bool(prefix) + [f"the section {key}" for key in reversed(sections)]
    return StudyError(
        f"The checkpoint {path} is of a larger model, which may be fine-tuned; the encoder is only a part of it.",
        found=f"the weights of the encoder in {' of '.join(named)}",
        expected="a state dict of the encoder",
        remedy="only if it was not trained on chips of this study, whose scores would then be too high: take out the "
        f"encoder with {_extraction_command(path, sections, prefix)} and use weights: "
        "{source: file, path: encoder.pt}",
    )


def _extraction_command(path: Path, sections: Sections, prefix: str) -> str:
    """Return the line of a shell that saves the named weights in a part of a checkpoint as encoder.pt."""
    opening, start = "".join(f"[{json.dumps(key)}]" for key in sections), json.dumps(prefix)
    return python_command(
        f"import torch; state = torch.load({json.dumps(str(path))}, weights_only=True){opening}; "
        f"torch.save({{k.removeprefix({start}): v for k, v in state.items() "
        f'if isinstance(k, str) and k.startswith({start})}}, "encoder.pt")'
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
