"""The figures of a study, drawn from its tidy tables as SVG files whose bytes depend on the tables alone.

Every accuracy, recall and share in the tables is a fraction in 0..1; every axis shows percent.
"""

from __future__ import annotations

import itertools
import math
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from terralucas.files import atomic_path
from terralucas.tidy import RECIPE

# Okabe & Ito (2008) without yellow, which vanishes on white, then five colours of Paul Tol's "muted" set.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#000000", "#882255", "#999933", "#332288", "#7F7F7F", "#AA6644"),
)
# Past this many colours hue alone is no longer safe: later names are drawn hollow or dashed as well.
SAFE_COLOURS = 6
# A figure of more inches than this does not fit a screen: its legend is drawn at both ends.
TALL = 9.0
MARKERS = ("o", "s", "^", "D", "v", "P")
# With more classes than this, the numbers in a confusion matrix would touch.
MOST_NUMBERED_CLASSES = 12
INTERVAL_NAMES = {"nadeau_bengio_t": "Nadeau–Bengio t interval", "t_fixed_split": "t interval, one fixed split"}

STYLE = {
    **sns.axes_style("ticks"),
    "font.family": ["sans-serif"],
    # Shipped with matplotlib: the layout, and so the bytes, do not depend on the fonts of the machine.
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
    # A class or loss may be named with a dollar sign.
    "text.parse_math": False,
}


def palette(names: Iterable[str]) -> dict[str, str]:
    """Colour-blind-safe hex colour of each name, in the order the names first appear (the study's order)."""
    return dict(zip(dict.fromkeys(names), itertools.cycle(COLOURS), strict=False))


@contextmanager
def _drawing(path: Path, title: str, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure of `width` by `height` inches; write it to `path` as SVG when the block ends well."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # Text stays text in the SVG, so a letter that is missing here is drawn with a font of the reader.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
        yield figure
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Title": title, "Date": None})


def _panels(figure: Figure, count: int, columns: int) -> list[Axes]:
    """`count` axes with shared scales in rows of `columns`; only outer axes carry tick labels."""
    rows = math.ceil(count / columns)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.remove()
    for axes in grid[max(0, count - columns) : count]:
        axes.tick_params(labelbottom=True)
    return list(grid[:count])


def _decorate(axes: Axes, title: str) -> None:
    # Left-aligned: a long title then runs into free space and not over its neighbour's.
    axes.set_title(title, loc="left")
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    sns.despine(ax=axes)


def _caption(figure: Figure, label: str, note: str) -> None:
    """The shared label of the horizontal axes and, below it, what the marks stand for."""
    lines = textwrap.fill(note, int(11 * figure.get_figwidth()))
    figure.supxlabel(f"{label}\n{lines}", fontsize=10)


def _fills(names: Sequence[str]) -> dict[str, bool]:
    return {name: index < SAFE_COLOURS for index, name in enumerate(names)}


def _marker_style(colour: str, filled: bool) -> dict[str, object]:
    return {"color": colour, "markerfacecolor": colour if filled else "white", "markeredgecolor": colour}


def _legend(figure: Figure, losses: Sequence[str], decoders: Sequence[str]) -> None:
    """Losses by colour and decoders by marker, to the right of the panels."""
    colours, fills = palette(losses), _fills(losses)
    entries: list[tuple[Line2D | None, str]] = [(None, "Loss (colour)")]
    entries += [
        (Line2D([], [], marker="o", linewidth=1.6, markersize=6, **_marker_style(colours[name], fills[name])), name)
        for name in losses
    ]
    entries += [(None, ""), (None, "Decoder (marker)")]
    markers = dict(zip(decoders, itertools.cycle(MARKERS), strict=False))
    entries += [
        (Line2D([], [], linestyle="none", marker=markers[name], markersize=6.5, color="#555555"), name)
        for name in decoders
    ]
    _place_legend(figure, entries)


def _place_legend(figure: Figure, entries: list[tuple[Line2D | None, str]]) -> None:
    """Draw (handle, label) entries; one without a handle is a heading."""
    handles = [handle or Line2D([], [], linestyle="none") for handle, _ in entries]
    legends = [figure.legend(handles, [""] * len(entries), loc="outside right upper")]
    if figure.get_figheight() > TALL:
        above_caption = (1, 0.9 / figure.get_figheight())
        legends.append(figure.legend(handles, [""] * len(entries), loc="lower right", bbox_to_anchor=above_caption))
        legends[-1].set_in_layout(False)
    for legend, (number, (handle, label)) in itertools.product(legends, enumerate(entries)):
        # Set afterwards: matplotlib drops a legend entry whose label starts with an underscore.
        text = legend.get_texts()[number]
        text.set_text(textwrap.fill(label, 26))
        text.set_fontweight("bold" if handle is None else "normal")


def _seeds(table: pd.DataFrame) -> str:
    fewest, most = int(table["n_seeds"].min()), int(table["n_seeds"].max())
    if fewest != most:
        return f"{fewest}–{most} seeds"
    return "1 seed" if most == 1 else f"{most} seeds"


def interval_note(table: pd.DataFrame) -> str:
    """What the points and whiskers of a figure stand for, from the table's own columns."""
    known = table.dropna(subset=["ci_low", "ci_high"])
    if known.empty:
        return f"Points: {_seeds(table)}. No intervals: they need at least two seeds."
    kinds = " and ".join(INTERVAL_NAMES.get(kind, kind) for kind in dict.fromkeys(known["interval"]))
    level = f"{100 * known['level'].iloc[0]:g} %"
    return f"Points: mean over {_seeds(table)}. Whiskers: {level} interval of that mean ({kinds})."


def accuracy_figure(summary: pd.DataFrame, path: Path) -> None:
    """Macro against micro accuracy (percent) of every recipe, a panel per backbone, with both intervals as a cross.

    Args:
        summary: tidy table with one row per recipe and metric.
        path: SVG file to write.
    """
    losses, decoders = list(dict.fromkeys(summary["loss"])), list(dict.fromkeys(summary["decoder"]))
    backbones = list(dict.fromkeys(summary["backbone"]))
    colours, fills = palette(losses), _fills(losses)
    markers = dict(zip(decoders, itertools.cycle(MARKERS), strict=False))
    columns = min(3, len(backbones))
    width = {1: 8.2, 2: 11.2, 3: 13.0}[columns]
    height = max(4.6 * math.ceil(len(backbones) / columns), 0.24 * (len(losses) + len(decoders) + 4))
    scores = summary.set_index("metric")[[*RECIPE, "mean", "ci_low", "ci_high"]]
    both = scores.loc[["macro_accuracy"]].merge(
        scores.loc[["micro_accuracy"]], on=RECIPE, suffixes=("_macro", "_micro")
    )
    chosen = summary[summary["metric"].isin(["macro_accuracy", "micro_accuracy"])]
    with _drawing(path, "Macro against micro accuracy of every recipe", width, height) as figure:
        for backbone, axes in zip(backbones, _panels(figure, len(backbones), columns), strict=True):
            for row in both[both["backbone"] == backbone].to_dict("records"):
                colour = colours[row["loss"]]
                low, high = np.clip([100 * row["ci_low_macro"], 100 * row["ci_high_macro"]], 0, 100)
                axes.plot([low, high], [100 * row["mean_micro"]] * 2, color=colour, linewidth=1.6, alpha=0.55)
                low, high = np.clip([100 * row["ci_low_micro"], 100 * row["ci_high_micro"]], 0, 100)
                axes.plot([100 * row["mean_macro"]] * 2, [low, high], color=colour, linewidth=1.6, alpha=0.55)
                style = _marker_style(colour, fills[row["loss"]]) | {"zorder": 3, "markersize": 7.5}
                axes.plot(100 * row["mean_macro"], 100 * row["mean_micro"], marker=markers[row["decoder"]], **style)
            _decorate(axes, f"Backbone: {backbone}")
        _caption(figure, "Macro accuracy (%)", interval_note(chosen))
        figure.supylabel("Micro accuracy (%)", fontsize=10)
        _legend(figure, losses, decoders)


def _wrapped(name: str, width: int = 24, lines: int = 3) -> str:
    return "\n".join(textwrap.wrap(name, width, max_lines=lines, placeholder=" …"))


def per_class_figure(per_class: pd.DataFrame, path: Path) -> None:
    """Recall (percent) of every class and recipe as dot and whisker, a panel per backbone, commonest class on top.

    Args:
        per_class: tidy table with one row per recipe, class and metric; only `recall` is drawn.
        path: SVG file to write.
    """
    recall = per_class[per_class["metric"] == "recall"]
    losses, decoders = list(dict.fromkeys(recall["loss"])), list(dict.fromkeys(recall["decoder"]))
    backbones = list(dict.fromkeys(recall["backbone"]))
    recipes = list(itertools.product(losses, decoders))
    counts = recall.groupby(["class_code", "class_name"])["n_test"].max().reset_index()
    counts = counts.sort_values(["n_test", "class_code"], ascending=[False, True])
    columns = min(3, len(backbones))
    rows = math.ceil(len(backbones) / columns)
    pitch = 9.5 if len(recipes) <= 12 else max(3.5, 114 / len(recipes))
    band = max(46.0, pitch * (len(recipes) + 1))
    panel_height = max(2.2, (band * len(counts) + 30) / 72)
    width = {1: 8.6, 2: 11.4, 3: 13.4}[columns]
    with _drawing(path, "Recall of every class and recipe", width, rows * panel_height + 0.9) as figure:
        for number, (backbone, axes) in enumerate(
            zip(backbones, _panels(figure, len(backbones), columns), strict=True)
        ):
            _recall_panel(
                axes, recall[recall["backbone"] == backbone], recipes, list(counts["class_code"]), pitch / band
            )
            _decorate(axes, f"Backbone: {backbone}")
            axes.grid(visible=False, axis="y")
            if number == 0:
                labels = [f"{_wrapped(row.class_name)}\nn = {row.n_test:,.0f}" for row in counts.itertuples()]
                axes.set_yticks(range(len(counts)), labels)
                axes.set_ylim(len(counts) - 0.5, -0.5)
                axes.set_xlim(-2, 102)
            axes.tick_params(axis="y", length=0)
            # The panel is taller than a screen: the scale must be in sight from both ends.
            axes.tick_params(axis="x", top=True, labeltop=True)
        cut = " Whiskers are cut at 0 and 100 %." if recall["ci_low"].notna().any() else ""
        _caption(figure, "Recall (%)", f"{interval_note(recall)}{cut} n: test chips, all seeds together.")
        _legend(figure, losses, decoders)


def _recall_panel(
    axes: Axes, recall: pd.DataFrame, recipes: list[tuple[str, str]], codes: list[int], pitch: float
) -> None:
    """Dots and whiskers of one backbone; `pitch` is the step between recipes in units of a class's row."""
    losses, decoders = (list(dict.fromkeys(names)) for names in zip(*recipes, strict=True))
    colours, fills = palette(losses), _fills(losses)
    markers = dict(zip(decoders, itertools.cycle(MARKERS), strict=False))
    for row in range(0, len(codes), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
    for place, (loss, decoder) in enumerate(recipes):
        chosen = recall[(recall["loss"] == loss) & (recall["decoder"] == decoder)]
        values = chosen.set_index("class_code")[["mean", "ci_low", "ci_high"]].reindex(codes)
        values = (100 * values).clip(0, 100)
        heights = np.arange(len(codes)) + (place - (len(recipes) - 1) / 2) * pitch
        shown = values["ci_low"].notna().to_numpy()
        if shown.any():
            limits = values[["ci_low", "ci_high"]].to_numpy()[shown]
            axes.hlines(heights[shown], limits[:, 0], limits[:, 1], color=colours[loss], linewidth=1.5, alpha=0.6)
        style = _marker_style(colours[loss], fills[loss]) | {"linestyle": "none", "markersize": 4.8, "zorder": 3}
        axes.plot(values["mean"], heights, marker=markers[decoder], clip_on=False, **style)


def confusion_figure(confusion: pd.DataFrame, path: Path) -> None:
    """Row-normalised confusion matrices (percent of the true class), one small panel per recipe.

    Args:
        confusion: tidy table of counts, pooled out of fold over the seeds.
        path: SVG file to write.
    """
    recipes = confusion[RECIPE].drop_duplicates()
    losses = list(dict.fromkeys(recipes["loss"]))
    heads = list(recipes[["backbone", "decoder"]].drop_duplicates().itertuples(index=False, name=None))
    panels = [
        (backbone, loss, decoder)
        for loss in losses
        for backbone, decoder in heads
        if ((recipes["backbone"] == backbone) & (recipes["loss"] == loss) & (recipes["decoder"] == decoder)).any()
    ]
    names = dict(zip(confusion["true_code"], confusion["true_name"], strict=True))
    names |= dict(zip(confusion["predicted_code"], confusion["predicted_name"], strict=True))
    codes = sorted(names)
    columns = len(heads) if 2 <= len(heads) <= 4 else min(4, len(panels))
    side = min(4.2, max(2.4, 0.24 * len(codes)))
    rows = math.ceil(len(panels) / columns)
    width, height = max(6.5, columns * (side + 0.1) + 2.5), rows * (side + 0.58) + 0.7
    with _drawing(path, "Confusion matrices of every recipe", width, height) as figure:
        grid = _panels(figure, len(panels), columns)
        for recipe, axes in zip(panels, grid, strict=True):
            chosen = confusion[(confusion[RECIPE] == list(recipe)).all(axis="columns")]
            counts = chosen.pivot_table(index="true_code", columns="predicted_code", values="count", aggfunc="sum")
            counts = counts.reindex(index=codes, columns=codes).fillna(0).to_numpy(dtype=float)
            totals = counts.sum(axis=1, keepdims=True)
            shares = np.divide(100 * counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
            image = _confusion_panel(axes, shares)
            axes.set_title(textwrap.fill(" · ".join(recipe), int(13 * side)), fontsize=9.5, loc="left")
        grid[0].set_xticks(range(len(codes)), codes)
        labels = [f"{textwrap.shorten(str(names[code]), 36, placeholder=' …')} ({code})" for code in codes]
        grid[0].set_yticks(range(len(codes)), labels)
        if len(codes) > MOST_NUMBERED_CLASSES:
            bar = figure.colorbar(image, ax=grid, shrink=min(1.0, 2.6 / height), aspect=14, anchor=(0, 1), pad=0.01)
            bar.set_label("Share of the true class (%)")
            bar.outline.set_visible(False)
        note = "Colour and numbers: percent of the true class, test chips of all seeds together; blank is below 0.5 %."
        _caption(figure, "Predicted class (code)", note)
        figure.supylabel("True class", fontsize=10)


def _confusion_panel(axes: Axes, shares: np.ndarray) -> mpl.image.AxesImage:
    """Draw one matrix of percentages (true × predicted); classes without test chips stay grey."""
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_facecolor("#DDDDDD")
    size = len(shares)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(visible=True, which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0, labelbottom=True, labelsize=8.5)
    axes.tick_params(axis="x", labelrotation=0 if size <= MOST_NUMBERED_CLASSES else 90)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if size <= MOST_NUMBERED_CLASSES:
        for true, predicted in np.argwhere(np.nan_to_num(shares) >= 0.5):
            share = shares[true, predicted]
            colour = "white" if share > 55 else "#222222"
            axes.text(predicted, true, f"{share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    return image


def curves_figure(curves: pd.DataFrame, path: Path) -> None:
    """Validation macro accuracy (percent) by epoch: mean over seeds and the range from minimum to maximum.

    Args:
        curves: tidy table with one row per recipe and epoch.
        path: SVG file to write.
    """
    losses = list(dict.fromkeys(curves["loss"]))
    colours, fills = palette(losses), _fills(losses)
    heads = list(curves[["backbone", "decoder"]].drop_duplicates().itertuples(index=False, name=None))
    columns = len(heads) if len(heads) <= 3 else 2 if len(heads) == 4 else 3
    width = {1: 8.2, 2: 11.2, 3: 13.0}[columns]
    height = max(3.3 * math.ceil(len(heads) / columns), 0.24 * (len(losses) + 3)) + 0.5
    with _drawing(path, "Validation macro accuracy by epoch", width, height) as figure:
        for (backbone, decoder), axes in zip(heads, _panels(figure, len(heads), columns), strict=True):
            panel = curves[(curves["backbone"] == backbone) & (curves["decoder"] == decoder)]
            for loss, run in panel.sort_values("epoch").groupby("loss", sort=False):
                low, high = (100 * run[f"validation_macro_accuracy_{end}"] for end in ("min", "max"))
                axes.fill_between(run["epoch"], low, high, color=colours[loss], alpha=0.13, linewidth=0)
                axes.plot(
                    run["epoch"],
                    100 * run["validation_macro_accuracy_mean"],
                    color=colours[loss],
                    linewidth=1.8,
                    linestyle="-" if fills[loss] else "--",
                    # A single epoch is a point, and a line through one point is invisible.
                    marker="o" if len(run) == 1 else None,
                )
            _decorate(axes, f"{backbone} · {decoder}")
        spread = curves["validation_macro_accuracy_max"] > curves["validation_macro_accuracy_min"]
        band = " Band: lowest to highest seed." if spread.any() else ""
        _caption(figure, "Epoch", f"Line: mean over the seeds.{band}")
        figure.supylabel("Validation macro accuracy (%)", fontsize=10)
        entries: list[tuple[Line2D | None, str]] = [(None, "Loss (colour)")]
        entries += [
            (Line2D([], [], linewidth=2.2, color=colours[name], linestyle="-" if fills[name] else "--"), name)
            for name in losses
        ]
        _place_legend(figure, entries)
