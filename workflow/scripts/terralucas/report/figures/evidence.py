"""Figures of the evidence: fronts, reliability, distance to training chips, and errors on the map."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd

from terralucas.geography import ASSETS, EPSG, ground_crs
from terralucas.report.colours import fills_of, palette
from terralucas.report.figures.style import (
    MARKERS,
    blank_figure,
    caption,
    decorate,
    drawing,
    loss_legend,
    marker_style,
    panels,
    recipe_legend,
)
from terralucas.report.wording import NO_PLACES
from terralucas.tables.scores import MAIN_SCORES
from terralucas.tables.tidy_csv import by_recipe
from terralucas.tables.vocabulary import CALIBRATION_STAGES

_GREY = "#555555"
# Dark is wrong, light is right; the colours of cividis differ for every kind of colour vision.
_MAP_COLOURS = "cividis"
_MARGIN_M = 25_000
# More points are drawn as pixels; as shapes they would take 140 bytes each.
_MOST_VECTOR_POINTS, _MAP_PIXELS_PER_INCH = 5000, 200
# With fewer predictions than this, the share of hits in a bin is mostly chance, and no line is drawn to it.
_SMALLEST_LINE_BIN = 10


def fronts_figure(points: pd.DataFrame, runs: pd.DataFrame, path: Path) -> None:
    """Draw macro against micro accuracy (percent) under all prior shifts, with a panel for each backbone and decoder.

    Args:
        points: result of `fronts.points_table`; the points on the front of each recipe are drawn.
        runs: result of `fronts.front_runs_table`; its means mark the unshifted runs and the chosen shift.
        path: SVG file to write.
    """
    losses, heads, columns = _layout(points)
    colours, fills = palette(losses), fills_of(losses)
    width, height = _size(heads, columns, 3.9)
    with drawing(path, "Fronts of macro and micro accuracy", width, height) as figure:
        for head, axes in zip(heads, panels(figure, len(heads), columns), strict=True):
            for names, recipe in by_recipe(_of_head(points, head)):
                macro, micro = (recipe[recipe["on_front"] & (recipe["metric"] == score)] for score in MAIN_SCORES)
                order = np.argsort(micro["mean"].to_numpy())
                macro, height_of = macro.iloc[order], 100 * micro["mean"].iloc[order]
                colour = colours[names["loss"]]
                low, high = (100 * macro[end].clip(0, 1) for end in ("ci_low", "ci_high"))
                axes.fill_betweenx(height_of, low, high, color=colour, alpha=0.13, linewidth=0)
                line = "-" if fills[names["loss"]] else "--"
                axes.plot(100 * macro["mean"], height_of, color=colour, linewidth=1.8, linestyle=line)
            for names, group in by_recipe(_of_head(runs, head)):
                for marker, stage in (("o", "unshifted"), ("*", "shifted")):
                    macro, micro = (100 * group[f"{score}_{stage}"].mean() for score in MAIN_SCORES)
                    style = marker_style(colours[names["loss"]], True) | {"markersize": 7 if marker == "o" else 11}
                    axes.plot(macro, micro, marker=marker, markeredgewidth=0.5, zorder=3, **style)
            decorate(axes, " · ".join(head))
        known = points["ci_low"].notna().any()
        level = f"{100 * points['level'].iloc[0]:g} %"
        band = f"{level} seeds interval of macro accuracy" if known else "none, one seed has no interval"
        note = (
            "Lines: the best means over seeds when τ · log prior is subtracted from the logits, τ from −2 to 2; bands: "
            f"{band}. Dots: runs without a shift. Stars: τ chosen on {' and '.join(runs['chosen_on'].unique())} chips."
        )
        caption(figure, "Macro accuracy (%)", note)
        figure.supylabel("Micro accuracy (%)", fontsize=10)
        loss_legend(figure, losses)


def reliability_figure(reliability: pd.DataFrame, path: Path) -> None:
    """Draw the share of hits against confidence (percent) before and after temperature scaling.

    Args:
        reliability: result of `calibration.reliability_table`; there is a column of panels for each backbone and
            decoder.
        path: SVG file to write.
    """
    losses, heads, _ = _layout(reliability)
    colours, fills = palette(losses), fills_of(losses)
    # Columns that do not fit on a screen are drawn in further rows.
    columns = min(len(heads), 4)
    blocks = [heads[start : start + columns] for start in range(0, len(heads), columns)]
    places = [
        (stage, head)
        for block in blocks
        for stage in CALIBRATION_STAGES
        for head in [*block, *[None] * (columns - len(block))]
    ]
    width, height = max(6.5, 2.9 * columns + 2.6), 2.9 * len(places) / columns + 0.9
    most = reliability["n"].max()
    with drawing(path, "Reliability before and after temperature scaling", width, height) as figure:
        for (stage, head), axes in zip(places, panels(figure, len(places), columns), strict=True):
            if head is None:
                axes.remove()
                continue
            axes.plot([0, 100], [0, 100], color=_GREY, linewidth=0.8, linestyle=":")
            shown = _of_head(reliability, head)
            for names, bins in by_recipe(shown[(shown["stage"] == stage) & (shown["n"] > 0)]):
                colour = colours[names["loss"]]
                style = "-" if fills[names["loss"]] else "--"
                steady = 100 * bins.loc[bins["n"] >= _SMALLEST_LINE_BIN, ["confidence", "accuracy"]]
                axes.plot(steady["confidence"], steady["accuracy"], color=colour, linewidth=1.2, linestyle=style)
                areas = 4 + 60 * bins["n"] / most
                axes.scatter(100 * bins["confidence"], 100 * bins["accuracy"], s=areas, color=colour, linewidth=0)
            decorate(axes, f"{' · '.join(head)}: {stage}")
        note = (
            "Test predictions of all seeds in 15 bins of confidence; areas: predictions in the bin; lines join bins of "
            f"at least {_SMALLEST_LINE_BIN}. On the dotted line confidence is the share of hits. After: logits divided "
            "by a temperature fitted on validation chips."
        )
        caption(figure, "Confidence (%)", note)
        figure.supylabel("Share of hits (%)", fontsize=10)
        loss_legend(figure, losses)


def distance_figure(distances: pd.DataFrame, path: Path) -> None:
    """Draw micro accuracy (percent) by the distance to the nearest training chip, with a panel for each backbone.

    Args:
        distances: result of `leakage.distance_table`.
        path: SVG file to write.
    """
    title = "Micro accuracy by distance to the nearest training chip"
    micro = distances[(distances["metric"] == "micro_accuracy") & (distances["n"] > 0)]
    if micro.empty:
        blank_figure(path, title, NO_PLACES)
        return
    losses, decoders, backbones = (list(dict.fromkeys(micro[name])) for name in ("loss", "decoder", "backbone"))
    recipes = list(itertools.product(losses, decoders))
    colours, fills = palette(losses), fills_of(losses)
    markers = dict(zip(decoders, itertools.cycle(MARKERS), strict=False))
    bins = micro.groupby("distance_m_low")[["distance_m_high", "n_chips"]].max()
    positions = {low: place for place, low in enumerate(bins.index)}
    columns = min(2, len(backbones))
    width, height = max(7.5, 5.2 * columns + 1.6), 3.9 * np.ceil(len(backbones) / columns) + 0.8
    with drawing(path, title, width, height) as figure:
        for backbone, axes in zip(backbones, panels(figure, len(backbones), columns), strict=True):
            for names, group in by_recipe(micro[micro["backbone"] == backbone]):
                loss, decoder = names["loss"], names["decoder"]
                shift = 0.7 * ((recipes.index((loss, decoder)) + 0.5) / len(recipes) - 0.5)
                x = group["distance_m_low"].map(positions) + shift
                axes.vlines(x, 100 * group["ci_low"], 100 * group["ci_high"], color=colours[loss], alpha=0.55)
                style = marker_style(colours[loss], fills[loss]) | {"markersize": 5.5, "zorder": 3}
                axes.plot(x, 100 * group["value"], linestyle="none", marker=markers[decoder], **style)
            labels = [
                f"{_kilometres(low, row.distance_m_high)}\nn = {row.n_chips:,}"
                for low, row in zip(bins.index, bins.itertuples(), strict=True)
            ]
            axes.set_xticks(range(len(bins)), labels)
            decorate(axes, f"Backbone: {backbone}")
        level = f"{100 * micro['level'].iloc[0]:g} %"
        note = (
            f"Test predictions of all seeds. n: chips. Whiskers: {level} Wilson interval, for new chips, not new seeds."
        )
        caption(figure, "Distance to the nearest training chip (km)", note)
        figure.supylabel("Micro accuracy (%)", fontsize=10)
        recipe_legend(figure, losses, decoders)


def map_figure(points: gpd.GeoDataFrame, path: Path) -> None:
    """Draw the share of right test predictions of every point (percent), over the outline of Italy.

    Args:
        points: result of `maps.correctness_table`.
        path: SVG file to write.
    """
    if points.empty:
        blank_figure(path, "Errors on the map", "The chips have no coordinates, so that there is no map.")
        return
    crs = ground_crs(np.stack([points.geometry.x, points.geometry.y], axis=1))
    projection = crs
    if crs != f"EPSG:{EPSG}":
        points, projection = points.to_crs(crs), "Lambert azimuthal equal-area, centred on the points"
    italy = gpd.read_file(ASSETS / "italy_outline.geojson", engine="pyogrio").to_crs(crs)
    west, south, east, north = points.total_bounds
    with drawing(path, "Errors on the map", 7.2, 7.0, _MAP_PIXELS_PER_INCH) as figure:
        axes = figure.subplots()
        source = ""
        # Chips of other countries are drawn without an outline.
        if len(points.cx[slice(*italy.total_bounds[[0, 2]]), slice(*italy.total_bounds[[1, 3]])]):
            italy.plot(ax=axes, facecolor="#F4F4F4", edgecolor=_GREY, linewidth=0.8, aspect=None)
            west, south, east, north = _union(points.total_bounds, italy.total_bounds)
            source = " Outline: Natural Earth."
        # The points that are mostly wrong are drawn last, on top.
        ordered = points.sort_values("share_right", ascending=False, kind="stable")
        x, y, shares = ordered.geometry.x, ordered.geometry.y, 100 * ordered["share_right"]
        marks = axes.scatter(
            x, y, c=shares, cmap=_MAP_COLOURS, vmin=0, vmax=100, s=_dot_area(len(points)), linewidth=0,
            rasterized=len(points) > _MOST_VECTOR_POINTS,
        )  # fmt: skip
        axes.set_xlim(west - _MARGIN_M, east + _MARGIN_M)
        axes.set_ylim(south - _MARGIN_M, north + _MARGIN_M)
        axes.set_aspect("equal")
        axes.set_axis_off()
        bar = figure.colorbar(marks, ax=axes, shrink=0.6, aspect=22, pad=0.01)
        bar.set_label("Predictions that are right (%)")
        bar.outline.set_visible(False)
        least, most = points["n_predictions"].min(), points["n_predictions"].max()
        count = f"{most}" if least == most else f"{least} to {most}"
        note = f"Each of {len(points):,} points: the share of its {count} test predictions that are right."
        caption(figure, "", f"{note}{source} Projection: {projection}.")


def _layout(table: pd.DataFrame) -> tuple[list[str], list[tuple[str, str]], int]:
    """Return the losses, the (backbone, decoder) of each panel, and the number of panels in a row."""
    heads = list(table[["backbone", "decoder"]].drop_duplicates().itertuples(index=False, name=None))
    columns = len(heads) if len(heads) <= 3 else 2 if len(heads) == 4 else 3
    return list(dict.fromkeys(table["loss"])), heads, columns


def _size(heads: Sequence[object], columns: int, panel_height: float) -> tuple[float, float]:
    """Return the width and the height of a figure of panels, in inches."""
    return {1: 8.2, 2: 11.2, 3: 13.0}[columns], panel_height * np.ceil(len(heads) / columns) + 0.9


def _of_head(table: pd.DataFrame, head: tuple[str, str]) -> pd.DataFrame:
    return table[(table["backbone"] == head[0]) & (table["decoder"] == head[1])]


def _kilometres(low_m: float, high_m: float) -> str:
    return f"{low_m / 1000:.3g}–{high_m / 1000:.3g}" if np.isfinite(high_m) else f"from {low_m / 1000:.3g}"


def _union(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])


def _dot_area(points: int) -> float:
    """Return the area of a dot: large for few points, and small for many, so that they do not cover each other."""
    return float(np.clip(20_000 / points, 0.5 if points > _MOST_VECTOR_POINTS else 6, 40))
