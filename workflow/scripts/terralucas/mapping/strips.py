"""Predict the windows of a map in strips, which can be computed anywhere and in any order.

A strip is some rows of cells. It is read in blocks, and predicted in batches. Which windows are in a batch depends on
the plan alone, so that any number of parts gives the same bytes, and finished strips are never repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from terralucas.mapping.plan import Plan
from terralucas.mapping.scene import SceneReader
from terralucas.mapping.strip_files import PROBABILITY_STEPS, REFLECTANCE_STEPS, Strip, picture_bands, strip_path
from terralucas.mapping.windows import BlockOfWindows, WindowOfCell, WindowReader
from terralucas.predict.batches import read_batches
from terralucas.predict.predictor import Predictor


def map_strips(plan: Plan, predictor: Predictor, numbers: list[int], folder: Path, *, progress: bool = True) -> None:
    """Predict strips, and write each to its file in a folder.

    Raises:
        StudyError: a file of the scene cannot be read or has changed, or a prediction is not finite.
    """
    total = sum(len(plan.grid.strips[number]) for number in numbers) * plan.grid.columns
    with (
        SceneReader(plan.scene, plan.options.checked_by(predictor.selected.spec)) as scene,
        tqdm(total=total, unit="cell", desc="Mapping", disable=not progress) as bar,
    ):
        reader = WindowReader(plan.grid, scene)
        for number in numbers:
            rows = plan.grid.strips[number]
            strip = _predict_strip(plan, predictor, reader, rows, bar.update)
            scene.require_unchanged()
            strip.write(strip_path(folder, number), plan.fingerprint)


def _predict_strip(
    plan: Plan, predictor: Predictor, reader: WindowReader, rows: range, advance: Callable[[int], Any]
) -> Strip:
    grid, spec = plan.grid, predictor.selected.spec
    colours = picture_bands(spec.bands)
    strip = Strip.empty(len(rows), grid.columns, len(spec.classes), len(colours))
    inside = 0
    # Batches go on from block to block, because a block has few windows where the stride is large.
    windows = ((block, cell) for block in _blocks(reader, rows) for cell in block.cells)
    for batch in read_batches(_window, windows, plan.options.batch_size, predictor.threads):
        usable = [window for window in batch if window.problem is None]
        strip.reasons.update(window.problem.kind for window in batch if window.problem is not None)
        for window in batch:
            shown = window.values[colours]
            strip.picture[:, window.row - rows.start, window.column] = _mean_of_cell(shown, grid.stride)
        if usable:
            row = np.array([window.row - rows.start for window in usable])
            column = np.array([window.column for window in usable])
            _fill(strip, row, column, predictor.predict(np.stack([window.values for window in usable])))
        advance(len(batch))
        inside += len(batch)
    outside = len(rows) * grid.columns - inside
    if outside:
        strip.reasons["edge"] = outside
    advance(outside)
    return strip


def _window(place: tuple[BlockOfWindows, tuple[int, int]]) -> WindowOfCell:
    block, cell = place
    return block.window(cell)


def _blocks(reader: WindowReader, rows: range) -> Iterator[BlockOfWindows]:
    """Yield the blocks of a strip, without cells whose windows are not wholly in the scene; a thread reads ahead."""
    grid = reader.grid
    kept = _common(rows, grid.fitting_rows)
    columns = [each for block in grid.blocks if (each := _common(block, grid.fitting_columns))]
    if kept:
        for (block,) in read_batches(lambda each: reader.read(kept, each), columns, 1, 1):
            yield block


def _common(first: range, second: range) -> range:
    return range(max(first.start, second.start), min(first.stop, second.stop))


def _mean_of_cell(values: np.ndarray, stride: int) -> np.ndarray:
    """Return the mean reflectance of a window's middle, at most a cell, in steps; 0 where a band has no value."""
    side = values.shape[1]
    kept = min(stride, side)
    middle = values[:, (side - kept) // 2 : (side + kept) // 2, (side - kept) // 2 : (side + kept) // 2]
    valid = np.isfinite(middle)
    counts = valid.sum(axis=(1, 2))
    mean = np.where(valid, middle, 0).sum(axis=(1, 2)) / np.maximum(counts, 1)
    return np.clip(np.rint(mean * REFLECTANCE_STEPS), 0, np.iinfo(np.uint16).max).astype(np.uint16)


def _fill(strip: Strip, row: np.ndarray, column: np.ndarray, results: Mapping[str, np.ndarray]) -> None:
    """Write the predictions of some windows into the cells of a strip."""
    strip.label[row, column] = results["label"]
    strip.probabilities[:, row, column] = np.rint(results["probabilities"] * PROBABILITY_STEPS).T
    strip.entropy[row, column] = results["entropy"]
    strip.dissimilarity[row, column] = results["dissimilarity"]
    strip.set_size[row, column] = results["in_set"].sum(axis=1)
