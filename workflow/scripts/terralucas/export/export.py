"""Write the folder `exported/` of a study, whose files were all loaded again and compared with the selected models."""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from terralucas.contents import are_random_weights
from terralucas.export.graph import ChipFormat, EnsembleGraph
from terralucas.export.graph_files import InputShape, trace, write_onnx, write_pt2
from terralucas.export.model_card import StudyTables, make_card
from terralucas.export.parity import Reference, check_graph_file, check_weights
from terralucas.export.stac_item import make_item
from terralucas.export.terratorch_model import TerraTorchModel, describe_for_terratorch
from terralucas.export.weights import write_weights
from terralucas.files import check_before_deletion, sha256_of_file, write_json, write_text
from terralucas.predict.ensemble import Ensemble
from terralucas.predict.selected import Selected

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
# Chips of the study that all files must classify as the selected models do.
COMPARED_CHIPS = 16
_LIBRARIES = ("torch", "terratorch", "onnx", "onnxscript", "onnxruntime", "safetensors", "pystac-core")


def export_models(
    selected: Selected,
    tables: StudyTables,
    chips: np.ndarray,
    places: np.ndarray,
    threads: int,
    target: Path,
    *,
    has_tags: bool,
) -> dict[str, Any]:
    """Export the selected models, and compare each file with them.

    Args:
        selected: the selected models.
        tables: tables of the study, for the model card.
        chips: (n, bands, side, side) reflectance of some chips of the study, with NaN where a pixel is missing.
        places: (m, 2) easting and northing of the chips of the study that have a place, in ETRS89-LAEA.
        threads: threads of PyTorch.
        target: folder to make; it is made whole or not at all.
        has_tags: whether chips of the study have tags of scale and offset.

    Returns:
        Content of export.json.

    Raises:
        StudyError: a file cannot be loaded, or predicts something else.
    """
    torch.set_num_threads(threads)
    # On the CPU and in float32, as the files will be used; a GPU would have other last digits.
    ensemble = Ensemble(selected.models, torch.device("cpu"))
    chip_format = ChipFormat.of(selected.spec, has_tags=has_tags)
    reference = Reference.of(ensemble, chips, chip_format.scale)
    for left in target.parent.glob(f".{target.name}.*.tmp"):  # by a job that was killed
        shutil.rmtree(left)
    # Beside the target, and renamed to it in the end.
    folder = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")
    folder.mkdir(parents=True)
    try:
        content = _write_all(selected, ensemble, chip_format, reference, tables, places, folder)
        check_before_deletion()
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return content


def describe(selected: Selected, ensemble: Ensemble, chip_format: ChipFormat) -> dict[str, Any]:
    """Return what a reader of the files must know: recipe, bands, unit, missing pixels, side and classes."""
    spec = selected.spec
    missing = "NaN or infinite" if chip_format.nodata is None else f"NaN, infinite or {chip_format.nodata:g}"
    replaced = f"A pixel that is {missing} is replaced by the mean of its band, as in training."
    if spec.nodata != chip_format.nodata:
        replaced += f" Set stored values of {spec.nodata:g} to NaN before tags of scale and offset are applied."
    return {
        "study": selected.record["study"],
        "recipe": dict(selected.record["recipe"]),
        "backbone": ensemble.runs[0].record["features"]["model"],
        "bands": list(ensemble.bands),
        "unit": spec.unit,
        "unit_in_words": "DN (reflectance × 10,000)" if spec.unit == "dn" else "0 to 1",
        "missing_pixels": replaced,
        "side_px": ensemble.side_px,
        "pixel_size_m": selected.record["dataset"]["pixel_size_m"],
        "classes": [{"code": entry.code, "name": entry.name} for entry in spec.classes],
    }


def _write_all(
    selected: Selected,
    ensemble: Ensemble,
    chip_format: ChipFormat,
    reference: Reference,
    tables: StudyTables,
    places: np.ndarray,
    folder: Path,
) -> dict[str, Any]:
    description = describe(selected, ensemble, chip_format)
    names = [path.name for path in selected.models]
    seconds: dict[str, float] = {}

    def timed(name: str, write: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = write()
        seconds[name] = round(time.perf_counter() - started, 2)
        return result

    terratorch = describe_for_terratorch(ensemble.runs[0], ensemble.side_px)
    timed("weights", lambda: write_weights(ensemble, names, chip_format, description, folder))
    if terratorch.configuration is not None:
        write_text(folder / "terratorch.yaml", yaml.safe_dump({"model": terratorch.configuration}, sort_keys=False))
    differences = check_weights(folder, names, ensemble, terratorch, reference)
    graph = EnsembleGraph(ensemble, chip_format)
    program = timed("trace", lambda: trace(graph, InputShape(len(ensemble.bands), ensemble.side_px)))
    timed("model.pt2", lambda: write_pt2(program, folder / "model.pt2"))
    timed("model.onnx", lambda: write_onnx(program, description, folder / "model.onnx"))
    for name in ("model.pt2", "model.onnx"):
        differences[name] = check_graph_file(folder, name, reference)
    tuning = ensemble.runs[0].record["settings"]["training"].get("tuning", "frozen")
    write_text(folder / "README.md", make_card(selected.record, description, tuning, tables, terratorch))
    parameters = sum(value.numel() for value in graph.parameters())
    source = _pretrained_source(selected.record["weights"])
    write_json(folder / "stac_item.json", make_item(description, len(names), parameters, source, places))
    content = {
        "schema_version": SCHEMA_VERSION,
        "study": selected.record["study"],
        "selection": selected.fingerprint,
        "models": len(names),
        "parameters": parameters,
        "compared_chips": len(reference.chips),
        "largest_difference": {name: float(f"{value:.3g}") for name, value in differences.items()},
        "not_exported": _not_exported(terratorch),
        "seconds": seconds,
        "versions": {name: version(name) for name in _LIBRARIES},
        "files": _files(folder),
    }
    write_json(folder / "export.json", content)
    return content


def _not_exported(terratorch: TerraTorchModel) -> dict[str, str]:
    return {} if terratorch.reason is None else {"terratorch.yaml": terratorch.reason}


def _pretrained_source(weights: Mapping[str, Any]) -> str | None:
    if are_random_weights(weights):
        return None
    return str(weights.get("repo") or f"file with sha256 {weights['sha256']}")


def _files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return sha256 and bytes of each file, by its path in the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of_file(path), "bytes": path.stat().st_size}
        for path in paths
    }
