"""The figure of the importance of bands, drawn from its table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from terralucas.report.colours import COLOURS
from terralucas.report.figures.style import caption, decorate, drawing
from terralucas.tables.scores import SCORES
from terralucas.tables.vocabulary import BAND_GROUP


def importance_figure(by_seed: pd.DataFrame, path: Path) -> None:
    """Draw the loss of each score with permuted bands: a dot for each seed, and a diamond for their mean.

    Args:
        by_seed: importance_by_seed.csv.
        path: SVG file to write.
    """
    names = by_seed[["kind", "name"]].drop_duplicates().itertuples(index=False, name=None)
    places = {name: number + (0.6 if name[0] != BAND_GROUP else 0.0) for number, name in enumerate(names)}
    metrics = list(dict.fromkeys(by_seed["metric"]))
    with drawing(path, "Loss of the scores with permuted bands", 11.2, 0.3 * len(places) + 1.9) as figure:
        grid = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for metric, axes in zip(metrics, grid, strict=True):
            _panel(axes, by_seed[by_seed["metric"] == metric], places)
            score = SCORES[metric]
            decorate(axes, f"{score.label}{' (points)' if score.percent else ''}")
            axes.grid(visible=False, axis="y")
        grid[0].set_yticks(list(places.values()), [name for _, name in places])
        grid[0].set_ylim(max(places.values()) + 0.6, -0.6)
        note = "Small dots: seeds, each model on its own test chips. Diamonds and lines: their mean and range."
        caption(figure, "Loss with permuted values (to the right: worse)", note)


def _panel(axes: Axes, rows: pd.DataFrame, places: dict[tuple[str, str], float]) -> None:
    factor = 100.0 if SCORES[rows["metric"].iloc[0]].percent else 1.0
    axes.axvline(0, color="#555555", linewidth=0.9, linestyle=":")
    axes.tick_params(axis="y", length=0)
    for name, group in rows.groupby(["kind", "name"], sort=False):
        height, losses = places[name], factor * group["loss"]
        colour = COLOURS[1] if name[0] == BAND_GROUP else COLOURS[0]
        axes.plot([losses.min(), losses.max()], [height, height], color=colour, linewidth=1.6, alpha=0.6)
        axes.plot(losses, [height] * len(losses), "o", color=colour, markersize=3.2, alpha=0.5)
        axes.plot(losses.mean(), height, "D", color=colour, markersize=6.5, zorder=3)
