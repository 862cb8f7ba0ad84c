"""The plan of a map: the scene, cells and options that all its parts share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from terralucas.contents import are_random_weights
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json, write_json
from terralucas.mapping.band_files import name_bands
from terralucas.mapping.grid import Grid
from terralucas.mapping.scene import SAME_SIZE, Scene, SceneReader, find_scene
from terralucas.mapping.windows import WindowReader, check_windows
from terralucas.predict.options import PredictOptions
from terralucas.predict.selected import Selected
from terralucas.results_input import MAP_RECORD, refuse_results_of_others
from terralucas.stored import read_json

# Labels are stored as bytes, of which the last value means that a cell has no class.
MAX_CLASSES = 255
# Side of a cell in pixels, if no stride is given.
DEFAULT_STRIDE_PX = 8
# More than the side of any scene.
_MAX_STRIDE_PX = 10**7
# Share by which a stride may differ from a whole number of pixels: 240 m are 8 pixels of 30.003 x 29.999 m.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Plan:
    """The plan of a map.

    Attributes:
        scene: the scene.
        grid: the cells of the map.
        options: options of the prediction.
        fingerprint: fingerprint of the models, scene, cells and options, and of the code that makes strips.
        record: what is written of the plan into map.json.
    """

    scene: Scene
    grid: Grid
    options: PredictOptions
    fingerprint: str
    record: Mapping[str, Any]


def make_plan(
    paths: Sequence[Path],
    selected: Selected,
    stride_m: float | None,
    options: PredictOptions,
    path: Path,
    code_of_parts: str = "",
) -> Plan:
    """Find the bands of the scene, look at some of its windows, and write the plan.

    Args:
        paths: see `terralucas.mapping.scene.find_scene`.
        selected: the selected models.
        stride_m: side of a cell in metres on the ground, a whole number of pixels; None for 8 pixels.
        options: options of the prediction.
        path: JSON file of the plan.
        code_of_parts: fingerprint of the code that makes strips; strips of other code are made again.

    Raises:
        StudyError: bands, size, place or scale of the scene cannot be right, the stride is no whole number of pixels,
            or the folder has the map of another scene.
    """
    refuse_results_of_others(path.parent / MAP_RECORD, paths, "name another folder for this map")
    if len(selected.spec.classes) > MAX_CLASSES:
        raise StudyError(
            "The study has too many classes for a map.",
            found=f"{len(selected.spec.classes)} classes",
            expected=f"at most {MAX_CLASSES}: classes.tif has one byte for the class of a cell",
            remedy="cut the scene into chips and predict them (snakemake -- predict), which has no such limit",
        )
    study = selected.record
    scene = find_scene(paths, selected.spec, study["dataset"]["pixel_size_m"])
    grid = Grid(scene.width, scene.height, study["chip_side_px"], _stride_px(stride_m, scene))
    with SceneReader(scene, options.checked_by(selected.spec)) as reader:
        looked_at = check_windows(WindowReader(grid, reader), selected.training, options)
    record = {
        "study": study["study"],
        "recipe": study["recipe"],
        "models": len(selected.models),
        "simulated_chips": study["chips"]["simulated"],
        "random_weights": are_random_weights(study["weights"]),
        "input": [str(each) for each in paths],
        "bands": name_bands(scene.bands, selected.spec.bands),
        "looked_at": looked_at,
        "options": asdict(options),
    }
    # Strips have the classes in the conformal set, and the fingerprint of the selection says nothing of its coverage.
    with_coverage = asdict(options) | {"coverage": options.coverage_of(study)}
    of = [selected.fingerprint, with_coverage, asdict(grid), asdict(scene), code_of_parts]
    fingerprint = sha256_of_json(of)
    plan = Plan(scene, grid, options, fingerprint, record)
    write_json(path, asdict(plan))
    return plan


def read_plan(path: Path) -> Plan:
    """Read a plan of `make_plan`."""
    content = read_json(path)
    return Plan(
        Scene.from_json(content["scene"]),
        Grid(**content["grid"]),
        PredictOptions(**content["options"]),
        content["fingerprint"],
        content["record"],
    )


def _stride_px(stride_m: float | None, scene: Scene) -> int:
    """Return the side of a cell in pixels."""
    if stride_m is None:
        return DEFAULT_STRIDE_PX
    pixel_m = scene.ground_m
    stride = stride_m / pixel_m
    rounding = _ROUNDING if pixel_m == scene.pixel_m else SAME_SIZE
    # Also without a number (NaN) or with infinity.
    is_possible = math.isfinite(stride) and stride <= _MAX_STRIDE_PX
    if not is_possible or round(stride) < 1 or abs(stride - round(stride)) > rounding * stride:
        nearest = max(1, round(stride)) * pixel_m if is_possible else DEFAULT_STRIDE_PX * pixel_m
        raise StudyError(
            "The stride of the map is no whole number of pixels, or larger than any scene.",
            found=f"map.stride_m: {stride_m:g} with pixels of {pixel_m:g} m on the ground",
            expected=f"a multiple of {pixel_m:g} m",
            remedy=f"set map.stride_m: {nearest:g}",
        )
    return round(stride)
