"""Figures of the results, drawn from the tidy tables as SVG files; equal tables give files with equal bytes.

Every accuracy, recall and share in the tables is a fraction from 0 to 1; every axis shows percent.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from terralucas.report.colours import fills_of, palette
from terralucas.report.figures.style import (
    CROSSED_NAMES,
    MARKERS,
    blank_figure,
    caption,
    decorate,
    drawing,
    interval_note,
    loss_legend,
    marker_style,
    panels,
    recipe_legend,
    verdict_legend,
    whisker,
)
from terralucas.report.wording import no_seeds_interval
from terralucas.tables.scores import PERCENT
from terralucas.tables.vocabulary import AVERAGED, CONTROL, EQUIVALENT, INCONCLUSIVE, RECIPE, SHOWN

ALL_CLASSES = "all"
_RECALL_ENDS = ["wilson_low", "wilson_high", "seeds_low", "seeds_high"]
# Colour, marker and filling of each verdict.
_VERDICT_STYLES = {
    SHOWN: ("#0072B2", "o", True),
    EQUIVALENT: ("#009E73", "s", True),
    INCONCLUSIVE: ("#555555", "o", False),
}
# With more classes than this, the numbers in a confusion matrix would touch.
MOST_NUMBERED_CLASSES = 12


def answer_figure(contrasts: pd.DataFrame, level: float, path: Path) -> None:
    """Draw the averaged contrasts in macro and micro accuracy (points), with both intervals and the margin as a band.

    Args:
        contrasts: contrasts.csv; only the contrasts of the family `averaged` are drawn.
        level: confidence level of the intervals.
        path: SVG file to write.
    """
    averaged = contrasts[(contrasts["family"] == AVERAGED) & (contrasts["classes"] == ALL_CLASSES)]
    metrics = {"macro_accuracy": "Macro accuracy", "micro_accuracy": "Micro accuracy"}
    averaged = averaged[averaged["metric"].isin(metrics)]
    title = "Averaged contrasts and the margin within which a difference would not matter"
    if averaged.empty:
        blank_figure(
            path, title, "The configuration names no contrasts (report.contrasts), or too few recipes are left."
        )
        return
    names = list(dict.fromkeys(averaged["contrast"]))
    with drawing(path, title, 11.2, 0.62 * len(names) + 1.9) as figure:
        grid = panels(figure, 2, 2)
        for (metric, label), axes in zip(metrics.items(), grid, strict=True):
            _forest_panel(axes, averaged[averaged["metric"] == metric].set_index("contrast").loc[names])
            decorate(axes, label)
            axes.grid(visible=False, axis="y")
        grid[0].set_yticks(range(len(names)), [name.replace(" − ", "\n− ") for name in names])
        grid[0].set_ylim(len(names) - 0.45, -0.65)
        caption(figure, "Difference (percentage points)", _contrast_note(averaged, level))
        verdict_legend(figure, {name: _VERDICT_STYLES[name] for name in _VERDICT_STYLES})


def _forest_panel(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the differences of one score from top to bottom, each with its numbers above it."""
    margin = 100 * rows["margin"].max()
    if np.isfinite(margin):
        axes.axvspan(-margin, margin, color="#EFEFEF", linewidth=0, zorder=0)
    axes.axvline(0, color="#555555", linewidth=0.9, linestyle=":")
    axes.tick_params(axis="y", length=0)
    for place, row in enumerate(rows.to_dict("records")):
        colour, marker, filled = _VERDICT_STYLES[row["verdict"]]
        for kind in ("crossed", "seeds"):
            limits = [100 * row[f"{kind}_{end}"] for end in ("low", "high")]
            whisker(axes, place, limits, colour, thick=kind == "crossed", upright=False)
        style = marker_style(colour, filled) | {"markersize": 8, "zorder": 3}
        axes.plot(100 * row["difference"], place, marker=marker, **style)
        text = PERCENT.signed(row["difference"])
        if np.isfinite(row["crossed_low"]):
            text += f" [{PERCENT.signed(row['crossed_low'])}, {PERCENT.signed(row['crossed_high'])}]"
        if np.isfinite(row["difference"]):
            axes.annotate(
                text,
                (100 * row["difference"], place),
                (0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
            )


def _contrast_note(contrasts: pd.DataFrame, level: float) -> str:
    """Explain the marks of the contrasts."""
    if contrasts["crossed_low"].isna().all():
        return "Points: pooled differences. No intervals: nothing varies, or a class has too few chips."
    both = contrasts["seeds_low"].notna().any()
    crossed = CROSSED_NAMES["crossed" if contrasts["n_seeds"].max() > 1 else "chips"]
    seeds = "; thin seeds, for new seeds" if both else f". {no_seeds_interval(contrasts)}"
    band = " Grey band: the margin." if contrasts["margin"].notna().any() else ""
    return (
        f"Points and numbers: pooled differences, averaged over all other settings. Whiskers: {100 * level:g} % "
        f"intervals, thick {crossed}{seeds}.{band} The verdicts are Holm-adjusted."
    )


def accuracy_figure(summary: pd.DataFrame, path: Path) -> None:
    """Draw macro against micro accuracy (percent) of every recipe, with both intervals, in a panel for each backbone.

    Args:
        summary: summary.csv; only the scores over all classes are drawn.
        path: SVG file to write.
    """
    summary = summary[summary["classes"] == ALL_CLASSES]
    losses, decoders = list(dict.fromkeys(summary["loss"])), list(dict.fromkeys(summary["decoder"]))
    backbones = list(dict.fromkeys(summary["backbone"]))
    colours, fills = palette(losses), fills_of(losses)
    markers = dict(zip(decoders, itertools.cycle(MARKERS), strict=False))
    columns = min(3, len(backbones))
    width = {1: 8.2, 2: 11.2, 3: 13.0}[columns]
    height = max(4.6 * math.ceil(len(backbones) / columns), 0.24 * (len(losses) + len(decoders) + 4))
    ends = ["crossed_low", "crossed_high", "seeds_low", "seeds_high"]
    scores = summary.set_index("metric")[[*RECIPE, "pooled", *ends]]
    both = scores.loc[["macro_accuracy"]].merge(
        scores.loc[["micro_accuracy"]], on=RECIPE, suffixes=("_macro", "_micro")
    )
    chosen = summary[summary["metric"].isin(["macro_accuracy", "micro_accuracy"])]
    with drawing(path, "Macro against micro accuracy of every recipe", width, height) as figure:
        for backbone, axes in zip(backbones, panels(figure, len(backbones), columns), strict=True):
            for row in both[both["backbone"] == backbone].to_dict("records"):
                colour = colours[row["loss"]]
                macro, micro = 100 * row["pooled_macro"], 100 * row["pooled_micro"]
                for kind in ("crossed", "seeds"):
                    for score, place in (("macro", micro), ("micro", macro)):
                        limits = [100 * row[f"{kind}_{end}_{score}"] for end in ("low", "high")]
                        whisker(axes, place, limits, colour, thick=kind == "crossed", upright=score == "micro")
                style = marker_style(colour, fills[row["loss"]]) | {"zorder": 3, "markersize": 7.5}
                axes.plot(macro, micro, marker=markers[row["decoder"]], **style)
            decorate(axes, f"Backbone: {backbone}")
        caption(figure, "Macro accuracy (%)", interval_note(chosen))
        figure.supylabel("Micro accuracy (%)", fontsize=10)
        recipe_legend(figure, losses, decoders)


def _wrapped(name: str, width: int = 24, lines: int = 3) -> str:
    return "\n".join(textwrap.wrap(name, width, max_lines=lines, placeholder=" …"))


def per_class_figure(per_class: pd.DataFrame, path: Path) -> None:
    """Draw the recall (percent) of every class and recipe, in a panel for each backbone, the most common class on top.

    Args:
        per_class: per_class.csv; only `recall` over all classes is drawn. Thick whiskers are Wilson's intervals, which
            are valid for rare classes, for which the crossed interval has few distinct draws.
        path: SVG file to write.
    """
    recall = per_class[(per_class["metric"] == "recall") & (per_class["classes"] == ALL_CLASSES)]
    recall = recall[recall["loss"] != CONTROL]
    losses, decoders = list(dict.fromkeys(recall["loss"])), list(dict.fromkeys(recall["decoder"]))
    backbones = list(dict.fromkeys(recall["backbone"]))
    recipes = list(itertools.product(losses, decoders))
    counts = recall.groupby(["class_code", "class_name"], sort=False)["n"].max().reset_index()
    counts = counts.sort_values("n", ascending=False, kind="stable")
    columns = min(3, len(backbones))
    rows = math.ceil(len(backbones) / columns)
    pitch = 9.5 if len(recipes) <= 12 else max(3.5, 114 / len(recipes))
    band = max(46.0, pitch * (len(recipes) + 1))
    panel_height = max(2.2, (band * len(counts) + 30) / 72)
    width = {1: 8.6, 2: 11.4, 3: 13.4}[columns]
    with drawing(path, "Recall of every class and recipe", width, rows * panel_height + 0.9) as figure:
        for number, (backbone, axes) in enumerate(zip(backbones, panels(figure, len(backbones), columns), strict=True)):
            _recall_panel(
                axes, recall[recall["backbone"] == backbone], recipes, list(counts["class_code"]), pitch / band
            )
            decorate(axes, f"Backbone: {backbone}")
            axes.grid(visible=False, axis="y")
            if number == 0:
                labels = [f"{_wrapped(row.class_name)}\nn = {row.n:,.0f}" for row in counts.itertuples()]
                axes.set_yticks(range(len(counts)), labels)
                axes.set_ylim(len(counts) - 0.5, -0.5)
                axes.set_xlim(-2, 102)
            axes.tick_params(axis="y", length=0)
            # The panel is taller than a screen, so the scale is drawn at both ends.
            axes.tick_params(axis="x", top=True, labeltop=True)
        caption(figure, "Recall (%)", f"{_recall_note(recall)} n: test chips, all seeds together.")
        recipe_legend(figure, losses, decoders)


def _recall_panel(
    axes: Axes, recall: pd.DataFrame, recipes: list[tuple[str, str]], codes: list[str], pitch: float
) -> None:
    """Draw the dots and whiskers of one backbone; `pitch` is the distance between recipes, in heights of a row."""
    losses, decoders = (list(dict.fromkeys(names)) for names in zip(*recipes, strict=True))
    colours, fills = palette(losses), fills_of(losses)
    markers = dict(zip(decoders, itertools.cycle(MARKERS), strict=False))
    for row in range(0, len(codes), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
    for place, (loss, decoder) in enumerate(recipes):
        chosen = recall[(recall["loss"] == loss) & (recall["decoder"] == decoder)]
        values = 100 * chosen.set_index("class_code")[["pooled", *_RECALL_ENDS]].reindex(codes)
        heights = np.arange(len(codes)) + (place - (len(recipes) - 1) / 2) * pitch
        for height, limits in zip(heights, values[_RECALL_ENDS].to_numpy(), strict=True):
            for ends, thick in ((limits[:2], True), (limits[2:], False)):
                whisker(axes, height, ends, colours[loss], thick=thick, upright=False)
        style = marker_style(colours[loss], fills[loss]) | {"linestyle": "none", "markersize": 4.8, "zorder": 3}
        axes.plot(values["pooled"], heights, marker=markers[decoder], clip_on=False, **style)


def _recall_note(recall: pd.DataFrame) -> str:
    """Return the note of `interval_note` with Wilson's interval in place of the crossed interval."""
    wilson = recall.assign(crossed_low=recall["wilson_low"], crossed_high=recall["wilson_high"])
    note = interval_note(wilson)
    for name in CROSSED_NAMES.values():
        note = note.replace(f"thick {name}", f"thick Wilson, {name.removeprefix('crossed, ')}")
    return note


def confusion_figure(confusion: pd.DataFrame, path: Path) -> None:
    """Draw the confusion matrix of each recipe, in percent of the true class.

    Args:
        confusion: confusion.csv, the counts over the test chips of all seeds.
        path: SVG file to write.
    """
    recipes = confusion[RECIPE].drop_duplicates()
    losses = list(dict.fromkeys(recipes["loss"]))
    heads = list(recipes[["backbone", "decoder"]].drop_duplicates().itertuples(index=False, name=None))
    chosen_recipes = [
        (backbone, loss, decoder)
        for loss in losses
        for backbone, decoder in heads
        if ((recipes["backbone"] == backbone) & (recipes["loss"] == loss) & (recipes["decoder"] == decoder)).any()
    ]
    names = dict(zip(confusion["true_code"], confusion["true_name"], strict=True))
    names |= dict(zip(confusion["predicted_code"], confusion["predicted_name"], strict=True))
    codes = list(names)
    columns = len(heads) if 2 <= len(heads) <= 4 else min(4, len(chosen_recipes))
    side = min(4.2, max(2.4, 0.24 * len(codes)))
    rows = math.ceil(len(chosen_recipes) / columns)
    # Codes of more than three letters, such as names of folders, stand upright below each matrix.
    ticks = [_shortened(code, 24) for code in codes]
    longest = max(map(len, ticks))
    is_upright = longest > 3 or len(codes) > MOST_NUMBERED_CLASSES
    below = 0.09 * longest if is_upright else 0.0
    width, height = max(6.5, columns * (side + 0.1) + 2.5), rows * (side + 0.58 + below) + 0.7
    with drawing(path, "Confusion matrices of every recipe", width, height) as figure:
        grid = panels(figure, len(chosen_recipes), columns)
        for recipe, axes in zip(chosen_recipes, grid, strict=True):
            chosen = confusion[(confusion[RECIPE] == list(recipe)).all(axis="columns")]
            counts = chosen.pivot_table(index="true_code", columns="predicted_code", values="count", aggfunc="sum")
            counts = counts.reindex(index=codes, columns=codes).fillna(0).to_numpy(dtype=float)
            totals = counts.sum(axis=1, keepdims=True)
            shares = np.divide(100 * counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
            image = _confusion_panel(axes, shares)
            axes.set_title(textwrap.fill(" · ".join(recipe), int(13 * side)), fontsize=9.5, loc="left")
            axes.tick_params(axis="x", labelrotation=90 if is_upright else 0)
            # Labels of many classes are as small as their rows.
            axes.tick_params(labelsize=min(8.5, 0.85 * 72 * side / len(codes)))
        grid[0].set_xticks(range(len(codes)), ticks)
        labels = [
            tick if names[code] == code else f"{_shortened(names[code], 36)} ({tick})"
            for code, tick in zip(codes, ticks, strict=True)
        ]
        grid[0].set_yticks(range(len(codes)), labels)
        if len(codes) > MOST_NUMBERED_CLASSES:
            bar = figure.colorbar(image, ax=grid, shrink=min(1.0, 2.6 / height), aspect=14, anchor=(0, 1), pad=0.01)
            bar.set_label("Share of the true class (%)")
            bar.outline.set_visible(False)
        note = "Colour and numbers: percent of the true class, test chips of all seeds together; blank is below 0.5 %."
        caption(figure, "Predicted class (code)", note)
        figure.supylabel("True class", fontsize=10)


def _shortened(text: str, most: int) -> str:
    """Cut a text after `most` letters; unlike `textwrap.shorten`, keep the start of a long word."""
    return text if len(text) <= most else f"{text[: most - 2].rstrip()} …"


def _confusion_panel(axes: Axes, shares: np.ndarray) -> mpl.image.AxesImage:
    """Draw one matrix of percentages (true × predicted); rows of classes without test chips stay grey."""
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_facecolor("#DDDDDD")
    size = len(shares)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(visible=True, which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0, labelbottom=True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if size <= MOST_NUMBERED_CLASSES:
        for true, predicted in np.argwhere(np.nan_to_num(shares) >= 0.5):
            share = shares[true, predicted]
            colour = "white" if share > 55 else "#222222"
            axes.text(predicted, true, f"{share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    return image


def curves_figure(curves: pd.DataFrame, path: Path) -> None:
    """Draw the validation macro accuracy (percent) by epoch: the mean over seeds, and the range over seeds as a band.

    Args:
        curves: curves.csv, with one row for each recipe and epoch.
        path: SVG file to write.
    """
    losses = list(dict.fromkeys(curves["loss"]))
    colours, fills = palette(losses), fills_of(losses)
    heads = list(curves[["backbone", "decoder"]].drop_duplicates().itertuples(index=False, name=None))
    columns = len(heads) if len(heads) <= 3 else 2 if len(heads) == 4 else 3
    width = {1: 8.2, 2: 11.2, 3: 13.0}[columns]
    height = max(3.3 * math.ceil(len(heads) / columns), 0.24 * (len(losses) + 3)) + 0.5
    with drawing(path, "Validation macro accuracy by epoch", width, height) as figure:
        for (backbone, decoder), axes in zip(heads, panels(figure, len(heads), columns), strict=True):
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
                    # With a single epoch, a marker is drawn, because a line through one point is invisible.
                    marker="o" if len(run) == 1 else None,
                )
            decorate(axes, f"{backbone} · {decoder}")
        spread = curves["validation_macro_accuracy_max"] > curves["validation_macro_accuracy_min"]
        band = " Band: lowest to highest seed." if spread.any() else ""
        caption(figure, "Epoch", f"Line: mean over the seeds.{band}")
        figure.supylabel("Validation macro accuracy (%)", fontsize=10)
        loss_legend(figure, losses)
