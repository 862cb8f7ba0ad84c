"""Join the strips of a map, and write its rasters, style, picture, page and record."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS

from terralucas.data.rasters.image_files import gdal_writes
from terralucas.errors import StudyError
from terralucas.files import write_json
from terralucas.mapping.colours import class_colours
from terralucas.mapping.page import write_page
from terralucas.mapping.picture import write_picture
from terralucas.mapping.plan import Plan
from terralucas.mapping.rasters import (
    CLASSES,
    PICTURE,
    UNCERTAINTY,
    Described,
    StripRasters,
    publish,
    read_small,
)
from terralucas.mapping.small_map import SmallMap
from terralucas.mapping.strip_files import NO_CLASS, Strip, is_strip_of, picture_bands, remove_strips, strip_path
from terralucas.predict.selected import Selected
from terralucas.results_input import MAP_RECORD

# Folder of the rasters before they are cloud-optimised.
_BUILT = ".rasters.tmp"
# Rows and columns of the map on its page at most.
_PAGE_CELLS = 1600


def write_map(plan: Plan, selected: Selected, strips: Path, folder: Path) -> dict[str, Any]:
    """Write all files of a map, and delete its strips.

    Args:
        plan: the plan of the map.
        selected: the selected models.
        strips: folder of the strips.
        folder: where the files go.

    Returns:
        The content of map.json.

    Raises:
        StudyError: a strip is missing, or there is no space for the files.
    """
    record = _describe(plan, selected)
    classes = selected.spec.classes
    described = Described(
        classes, class_colours(len(classes)), selected.held_out.threshold, {"meaning": record["meaning"]}
    )
    # The name is always the same, so that a killed process leaves nothing for ever.
    built, totals = folder / _BUILT, Totals(len(classes))
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir(parents=True)
    n_picture = len(picture_bands(selected.spec.bands))
    try:
        with gdal_writes(built), StripRasters(plan, described, n_picture, built) as rasters:
            for rows, strip in _read_strips(plan, strips):
                rasters.write(rows, strip)
                totals.add(strip, described.threshold)
        publish(built, described, folder, _read_strips(plan, strips))
        (labels,), *others = (read_small(built, each, _PAGE_CELLS) for each in (CLASSES, UNCERTAINTY, PICTURE))
        small = SmallMap(labels, *others)
    finally:
        shutil.rmtree(built)
    content = {**record, **totals.as_record(selected, plan)}
    write_picture(content, small, described.colours, folder / "map.png")
    write_page(content, small, described.colours, folder / "map.html")
    write_json(folder / MAP_RECORD, content)
    remove_strips(strips)
    return content


def summary_text(content: Mapping[str, Any]) -> str:
    """Write in a sentence what was mapped, from the content of map.json."""
    classes = sorted(content["classes"], key=lambda item: -item["cells"])
    shares = ", ".join(f"{item['name']} {100 * item['share']:.1f} %" for item in classes[:5] if item["cells"])
    shares += ", …" if sum(item["cells"] > 0 for item in classes) > 5 else ""
    unlike = content["unlike_training"]
    unlike_text = f"; {unlike:,} are unlike all training chips" if unlike else ""
    predicted = f"{content['predicted']:,} of {content['cells']:,} cells of {content['stride_m']:g} m have a class"
    return f"{predicted}: {shares}{unlike_text}"


class Totals:
    """Counts of the cells of a map, strip by strip.

    Args:
        n_classes: number of classes.
    """

    def __init__(self, n_classes: int) -> None:
        self.classes = np.zeros(n_classes, dtype=np.int64)
        self.reasons: Counter[str] = Counter()
        self.unlike = self.set_sizes = 0

    def add(self, strip: Strip, threshold: float) -> None:
        """Count the cells of a strip."""
        has_class = strip.label != NO_CLASS
        self.classes += np.bincount(strip.label[has_class], minlength=len(self.classes))
        self.reasons.update(strip.reasons)
        self.unlike += int((strip.dissimilarity[has_class] > threshold).sum())
        self.set_sizes += int(strip.set_size[has_class].sum())

    def as_record(self, selected: Selected, plan: Plan) -> dict[str, Any]:
        """Return the counts for map.json."""
        predicted = int(self.classes.sum())
        return {
            "cells": plan.grid.rows * plan.grid.columns,
            "predicted": predicted,
            "without_class": dict(sorted(self.reasons.items())),
            "unlike_training": self.unlike,
            "mean_set_size": round(self.set_sizes / predicted, 3) if predicted else None,
            "classes": [
                {
                    "value": value,
                    "code": entry.code,
                    "name": entry.name,
                    "cells": int(cells),
                    "share": round(int(cells) / max(predicted, 1), 6),
                }
                for value, (entry, cells) in enumerate(zip(selected.spec.classes, self.classes, strict=True))
            ],
        }


def _read_strips(plan: Plan, strips: Path) -> Iterator[tuple[range, Strip]]:
    for number, rows in enumerate(plan.grid.strips):
        yield rows, _read_strip(plan, strips, number)


def _read_strip(plan: Plan, strips: Path, number: int) -> Strip:
    path = strip_path(strips, number)
    if not is_strip_of(path, plan):
        raise StudyError(
            f"A strip of the map is missing: {path}.",
            found="no file of this plan",
            expected=f"{len(plan.grid.strips)} strips",
            remedy="start the map again; finished strips are kept",
        )
    return Strip.read(path)


def _describe(plan: Plan, selected: Selected) -> dict[str, Any]:
    """Return what map.json says beside counts."""
    grid, scene, study = plan.grid, plan.scene, selected.record
    # Areas and scale bars are of the ground.
    window_m, stride_m = (float(f"{px * scene.ground_m:.6g}") for px in (grid.side, grid.stride))
    transform = grid.transform(scene.affine)
    left, top = transform.c, transform.f
    right, bottom = transform @ (grid.columns, grid.rows)
    return {
        "schema_version": 1,
        "meaning": f"Each cell of {stride_m:g} m has the class that the models give to the point at its centre, from "
        f"the window of {grid.side} x {grid.side} px ({window_m:g} m) around it. Other pixels of the cell may "
        "belong to other classes.",
        **plan.record,
        "scores": dict(study["scores"]),
        "conformal_goal": plan.options.coverage_of(study),
        "dissimilarity_threshold": selected.held_out.threshold,
        "window_px": grid.side,
        "stride_px": grid.stride,
        "stride_m": stride_m,
        "rows": grid.rows,
        "columns": grid.columns,
        # The short name where there is one, such as EPSG:32632.
        "crs": CRS.from_wkt(scene.crs).to_string(),
        "transform": list(transform)[:6],
        "bounds": [left, bottom, right, top],
    }
