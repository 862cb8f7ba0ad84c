"""The parts that all figures share: style, panels, legends, captions and whiskers."""

from __future__ import annotations

import itertools
import math
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from terralucas.files import atomic_path
from terralucas.report.colours import fills_of, palette
from terralucas.report.wording import no_seeds_interval
from terralucas.tables.vocabulary import CROSSED_MEANING, crossed_kind

# A figure of more inches than this is higher than a screen, so its legend is drawn at both ends.
TALL = 9.0
MARKERS = ("o", "s", "^", "D", "v", "P")
CROSSED_NAMES = {
    "crossed": f"crossed, for {CROSSED_MEANING['crossed']}",
    "chips": f"for {CROSSED_MEANING['chips']}, one seed",
}
SEEDS_NAMES = {
    "nadeau_bengio_t": "seeds, Nadeau–Bengio t for new seeds",
    "t_fixed_split": "seeds, t for new seeds on the same split",
}

STYLE = {
    **sns.axes_style("ticks"),
    "font.family": ["sans-serif"],
    # Matplotlib contains this font, so that layout and bytes do not depend on the fonts of the machine.
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "terralucas",
    # The name of a class or loss may contain a dollar sign, which must not start a formula.
    "text.parse_math": False,
}


@contextmanager
def drawing(
    path: Path, title: str, width: float, height: float, pixels_per_inch: float | str = "figure"
) -> Iterator[Figure]:
    """Yield an empty figure of `width` by `height` inches; write it to `path` as SVG if the block raises no error.

    What is drawn as pixels inside the SVG has so many of them per inch.
    """
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # Text is stored as text in the SVG. If a letter is missing in this font, the reader's font has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Title": title, "Date": None}, dpi=pixels_per_inch)


def panels(figure: Figure, count: int, columns: int) -> list[Axes]:
    """Make `count` axes with shared scales, in rows of `columns`; only the outer axes have tick labels."""
    rows = math.ceil(count / columns)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)
    return list(grid[:count])


def decorate(axes: Axes, title: str) -> None:
    """Set the title, the grid and the spines of a panel."""
    # Left-aligned, so that a long title extends into free space and does not overlap the title of the next panel.
    axes.set_title(title, loc="left")
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    sns.despine(ax=axes)


def caption(figure: Figure, label: str, note: str) -> None:
    """Write the shared label of the horizontal axes and, below it, the explanation of the marks."""
    lines = textwrap.fill(note, int(11 * figure.get_figwidth()))
    figure.supxlabel(f"{label}\n{lines}", fontsize=10)


def marker_style(colour: str, filled: bool) -> dict[str, Any]:
    """Return the keyword arguments of `plot` for a filled or hollow marker."""
    return {"color": colour, "markerfacecolor": colour if filled else "white", "markeredgecolor": colour}


def recipe_legend(figure: Figure, losses: Sequence[str], decoders: Sequence[str]) -> None:
    """Draw the legend of losses (colours) and decoders (markers), to the right of the panels."""
    colours, fills = palette(losses), fills_of(losses)
    entries: list[tuple[Line2D | None, str]] = [(None, "Loss (colour)")]
    entries += [
        (Line2D([], [], marker="o", linewidth=1.6, markersize=6, **marker_style(colours[name], fills[name])), name)
        for name in losses
    ]
    entries += [(None, ""), (None, "Decoder (marker)")]
    markers = dict(zip(decoders, itertools.cycle(MARKERS), strict=False))
    entries += [
        (Line2D([], [], linestyle="none", marker=markers[name], markersize=6.5, color="#555555"), name)
        for name in decoders
    ]
    _place_legend(figure, entries)


def loss_legend(figure: Figure, losses: Sequence[str]) -> None:
    """Draw the legend of losses (colours and, with many losses, dashes), to the right of the panels."""
    colours, fills = palette(losses), fills_of(losses)
    entries: list[tuple[Line2D | None, str]] = [(None, "Loss (colour)")]
    entries += [
        (Line2D([], [], linewidth=2.2, color=colours[name], linestyle="-" if fills[name] else "--"), name)
        for name in losses
    ]
    _place_legend(figure, entries)


def verdict_legend(figure: Figure, styles: Mapping[str, tuple[str, str, bool]]) -> None:
    """Draw the legend of verdicts (colours and markers), to the right of the panels."""
    entries: list[tuple[Line2D | None, str]] = [(None, "Verdict")]
    entries += [
        (Line2D([], [], linestyle="none", marker=marker, markersize=7, **marker_style(colour, filled)), name)
        for name, (colour, marker, filled) in styles.items()
    ]
    _place_legend(figure, entries)


def _place_legend(figure: Figure, entries: list[tuple[Line2D | None, str]]) -> None:
    """Draw a legend from (handle, label) entries; an entry without a handle is a heading."""
    handles = [handle or Line2D([], [], linestyle="none") for handle, _ in entries]
    legends = [figure.legend(handles, [""] * len(entries), loc="outside right upper")]
    if figure.get_figheight() > TALL:
        above_caption = (1, 0.9 / figure.get_figheight())
        legends.append(figure.legend(handles, [""] * len(entries), loc="lower right", bbox_to_anchor=above_caption))
        legends[-1].set_in_layout(False)
    for legend, (number, (handle, label)) in itertools.product(legends, enumerate(entries)):
        # Labels are set afterwards, because matplotlib leaves out a legend entry whose label starts with an underscore.
        text = legend.get_texts()[number]
        text.set_text(textwrap.fill(label, 26))
        text.set_fontweight("bold" if handle is None else "normal")


def _seeds(table: pd.DataFrame) -> str:
    fewest, most = int(table["n_seeds"].min()), int(table["n_seeds"].max())
    if fewest != most:
        return f"{fewest}–{most} seeds"
    return "1 seed" if most == 1 else f"{most} seeds"


def interval_note(table: pd.DataFrame) -> str:
    """Explain the points and whiskers of a figure of pooled scores, from the columns of its table."""
    known = [table.dropna(subset=[f"{kind}_low", f"{kind}_high"]) for kind in ("crossed", "seeds")]
    note = f"Points: all test chips of {_seeds(table)} pooled."
    if known[0].empty and known[1].empty:
        return f"{note} No intervals: nothing varies, or a class has too few chips."
    level = f"{100 * table['level'].iloc[0]:g} %"
    kinds = []
    if len(known[0]):
        methods = (crossed_kind(name) for name in known[0]["crossed_interval"])
        kinds.append(f"thick {_joined(CROSSED_NAMES[name] for name in methods)}")
    if len(known[1]):
        kinds.append(f"thin {_joined(SEEDS_NAMES[name] for name in known[1]['seeds_interval'])}")
    missing = "" if len(known[1]) else f" {no_seeds_interval(table)}."
    return f"{note} Whiskers: {level} intervals, {'; '.join(kinds)}.{missing}"


def _joined(names: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(names))


def whisker(axes: Axes, place: float, limits: Sequence[float], colour: str, *, thick: bool, upright: bool) -> None:
    """Draw an interval, in the units of the axis: thick for the crossed interval, thin for the seeds interval."""
    if not np.isfinite(limits).all():
        return
    along, across = list(limits), [place, place]
    style: dict[str, Any] = {"linewidth": 3.2, "alpha": 0.45} if thick else {"linewidth": 1.0, "alpha": 0.9}
    axes.plot(*((across, along) if upright else (along, across)), color=colour, solid_capstyle="butt", **style)


def blank_figure(path: Path, title: str, sentence: str) -> None:
    """Draw a figure with a sentence that says why there is nothing to draw."""
    with drawing(path, title, 6.5, 1.0) as figure:
        figure.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=10)
