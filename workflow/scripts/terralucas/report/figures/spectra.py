"""The figure of the chips themselves: how bright each class is in each band."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from terralucas.report.figures.style import caption, decorate, drawing, panels

# What the figure needs of the index of the chips.
SPECTRA_COLUMNS = ("label", "class_code", "class_name", "band_mean")
_CLASS, _ALL = "#2F6B9A", "#8A8A8A"
_COLUMNS = 4
# Of a line above a panel.
_LETTERS = 28
# Of the chips of a class, from the 10 % to the 90 % quantile.
_MIDDLE = (0.1, 0.9)


def spectra_figure(chips: pd.DataFrame, bands: Sequence[str], path: Path) -> None:
    """Draw the mean reflectance of the chips of each class in each band, one panel for each class.

    Args:
        chips: the columns `SPECTRA_COLUMNS` of the index of the chips; `band_mean` has a mean for each band.
        bands: names of the bands.
        path: SVG file to write.
    """
    means, labels = np.stack(chips["band_mean"].tolist()), chips["label"].to_numpy()
    named = chips.drop_duplicates("label").sort_values("label")
    place, of_all = np.arange(len(bands)), np.median(means, axis=0)
    columns = min(_COLUMNS, len(named))
    rows = -(-len(named) // columns)
    with drawing(path, "Reflectance of each class", 2.4 * columns + 0.8, 1.8 * rows + 1.9) as figure:
        grid = panels(figure, len(named), columns)
        for axes, (_, entry) in zip(grid, named.iterrows(), strict=True):
            own = means[labels == entry["label"]]
            low, high = np.quantile(own, _MIDDLE, axis=0)
            axes.fill_between(place, low, high, color=_CLASS, alpha=0.25, linewidth=0)
            axes.plot(place, of_all, color=_ALL, linewidth=1.2, linestyle="--")
            axes.plot(place, np.median(own, axis=0), color=_CLASS, linewidth=1.8, marker="o", markersize=3)
            decorate(axes, _name_of(entry["class_code"], entry["class_name"]))
            axes.title.set_fontsize(9)
            axes.set_xticks(place, bands, rotation=90, fontsize=7.5)
            axes.text(0.03, 0.95, f"n = {len(own):,}", transform=axes.transAxes, va="top", fontsize=8.5)
        grid[0].set_ylim(bottom=min(0.0, float(np.quantile(means, 0.001))))
        figure.supylabel("Mean reflectance of a chip", fontsize=10)
        note = (
            "Line: median of the chips of the class. Shaded: the middle 80\u00a0% of them. Dashed: median of all "
            "chips. Bands are in the order of the files."
        )
        caption(figure, "Band", note)


def _name_of(code: str, name: str) -> str:
    """Return code and name of a class in at most two lines, so that they do not reach the next panel."""
    text = name if name == code else f"{code} {name}"
    return "\n".join(textwrap.wrap(text, _LETTERS, max_lines=2, placeholder=" …"))
