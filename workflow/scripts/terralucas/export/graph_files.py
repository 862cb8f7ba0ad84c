"""The files model.pt2 (`torch.export`) and model.onnx of a graph."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

logger = logging.getLogger(__name__)

# Names of the input and the outputs of a graph, in all formats.
INPUT, OUTPUTS = "chips", ("logits", "probabilities")
# A graph that is traced with one chip may take the number of chips as a constant.
_TRACED_CHIPS = 2


@dataclass(frozen=True)
class InputShape:
    """Shape of a chip: number of bands, and side in pixels."""

    bands: int
    side_px: int


def trace(graph: nn.Module, shape: InputShape) -> ExportedProgram:
    """Trace a graph with `torch.export`, for any number of chips.

    Args:
        graph: maps chips (n, bands, side, side) to logits and probabilities.
        shape: shape of a chip.
    """
    chips = torch.zeros(_TRACED_CHIPS, shape.bands, shape.side_px, shape.side_px)
    return torch.export.export(graph, (chips,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False)


def write_pt2(program: ExportedProgram, path: Path) -> None:
    """Write the file of a traced graph for `torch.export.load`."""
    torch.export.save(program, path)


def write_onnx(program: ExportedProgram, description: Mapping[str, Any], path: Path) -> None:
    """Write a traced graph as ONNX. Weights above 2 GB, the limit of the format, are in a second file beside it.

    Args:
        program: the traced graph.
        description: bands, unit, classes and the like; entries of the file's metadata.
        path: file to write.
    """
    exported = torch.onnx.export(
        program,
        dynamo=True,
        dynamic_shapes=({0: "batch"},),
        input_names=[INPUT],
        output_names=list(OUTPUTS),
        verbose=False,
    )
    assert exported is not None, "with dynamo=True and no file, the program is returned"
    for name, value in description.items():
        exported.model.metadata_props[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    exported.save(path)
