"""All figures of a study's report, drawn from its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import geopandas as gpd
import pandas as pd

from terralucas.report.figures import evidence, results
from terralucas.report.figures.shown import keep_shown, shown_recipes
from terralucas.report.figures.spectra import spectra_figure


def draw_figures(
    read: Callable[[str], pd.DataFrame],
    points: gpd.GeoDataFrame,
    chips: pd.DataFrame,
    bands: Sequence[str],
    primary: str,
    paths: Mapping[str, Path],
) -> None:
    """Draw all figures. If there are many recipes, only those of `shown_recipes` are drawn.

    Args:
        read: returns a table by its name.
        points: result of `maps.correctness_table`.
        chips: the index of the chips, which may have older names of the classes.
        bands: names of their bands.
        primary: name of the primary score.
        paths: SVG file of each figure by name: `terralucas.report.build.FIGURES`.
    """
    summary = read("summary")
    recipes = shown_recipes(summary, primary)

    def shown(name: str) -> pd.DataFrame:
        return keep_shown(read(name), recipes)

    results.answer_figure(read("contrasts"), float(summary["level"].iloc[0]), paths["answer"])
    results.accuracy_figure(shown("summary"), paths["accuracy"])
    results.per_class_figure(shown("per_class"), paths["per_class"])
    results.confusion_figure(shown("confusion"), paths["confusion"])
    results.curves_figure(shown("curves"), paths["curves"])
    evidence.fronts_figure(shown("fronts"), shown("fronts_runs"), paths["fronts"])
    evidence.reliability_figure(shown("reliability"), paths["reliability"])
    evidence.distance_figure(shown("distance"), paths["distance"])
    evidence.map_figure(points, paths["map"])
    spectra_figure(with_names(chips, read("per_class")), bands, paths["spectra"])


def with_names(chips: pd.DataFrame, per_class: pd.DataFrame) -> pd.DataFrame:
    """Return the index of the chips with the names of the classes now: a corrected name indexes no chip again."""
    names = dict(zip(per_class["class_code"].astype(str), per_class["class_name"], strict=True))
    codes = chips["class_code"].astype(str)
    return chips.assign(class_name=codes.map(names).fillna(chips["class_name"]))
