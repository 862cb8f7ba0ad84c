"""Intervals with chips resampled in blocks of ground: how sure the scores are if errors of neighbours are correlated.

The crossed interval takes chips as independent. Where predictions of neighbouring chips are right or wrong together,
the study has fewer independent chips than it counts, and the interval is too narrow. Here the same interval is computed
with whole squares of ground as the units of the bootstrap (block bootstrap; Lahiri 2003, Resampling methods for
dependent data), at several sizes, because nobody knows the right one. A square must be larger than the range of the
correlation, and there must be many squares; the widest interval is the cautious one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from terralucas.errors import StudyError
from terralucas.processes import compute_each
from terralucas.statistics.contrasts import Contrast, contrasts_training
from terralucas.statistics.crossed_interval import crossed, limits
from terralucas.statistics.resampling import Design, Scores, combine, make_design
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.scored_recipes import score_to_files, scores_loader
from terralucas.statistics.training_variance import TrainingVariance, training_variances
from terralucas.tables.scores import MAIN_SCORES, score_of
from terralucas.tables.vocabulary import AVERAGED, RECIPE, Recipe

COLUMNS = (*RECIPE, "contrast", "metric", "block_km", "n_blocks", "estimate", "low", "high")
# Sides of the squares in km.
BLOCKS_KM = (10.0, 25.0, 50.0, 100.0)
# With fewer squares the spread between squares is hardly known.
FEWEST_BLOCKS = 20
# Limits need fewer draws than p values.
MOST_DRAWS = 2000


def spatial_table(
    recipes: Sequence[Recipe],
    asked: Sequence[Contrast],
    load: Callable[[Recipe], Mapping[int, Part]],
    test_to_train: float,
    blocks: Mapping[float, np.ndarray],
    n_classes: int,
    level: float,
    draws: int,
    seed: int,
    folder: Path,
    processes: int = 1,
) -> pd.DataFrame:
    """Compute intervals of recipes and of averaged contrasts in the main scores, for each size of the blocks.

    Args:
        recipes: the recipes of the study.
        asked: the contrasts of the study; those averaged over the other factors are used.
        load: returns the test predictions of a recipe, by seed.
        test_to_train: n_test / n_train, or 0 if all seeds share one split.
        blocks: side of the blocks in km → (N,) block of each chip of the index. A size with fewer than
            `FEWEST_BLOCKS` blocks among the test chips, or with a single block in a test part, gives no rows.
        n_classes: number of classes of the logits.
        level: confidence level of the intervals.
        draws: number of bootstrap draws; at most `MOST_DRAWS` are used.
        seed: seed of the resampling.
        folder: folder for the resampled scores; it can be deleted afterwards.
        processes: number of processes that compute.

    Returns:
        One row for each recipe (its names in the columns of RECIPE, an empty contrast) or contrast (empty names of the
        recipe), score and size; `estimate`, `low` and `high` in the unit of the score.
    """
    rows: list[dict[str, Any]] = []
    contrasts = [contrast for contrast in asked if contrast.family == AVERAGED]
    load_scores = scores_loader(recipes, folder)
    for block_km, groups in blocks.items():
        design = _design_with_blocks(load(recipes[0]), n_classes, test_to_train, groups)
        if design is None:
            continue
        known = score_to_files(design, recipes, load, min(draws, MOST_DRAWS), seed, folder, processes)
        of_recipes = list(zip(recipes, training_variances(known, test_to_train), strict=True))
        of_contrasts = list(zip(contrasts, contrasts_training(design, contrasts, load_scores, processes), strict=True))
        size = {"block_km": block_km, "n_blocks": int(design.strata.sum())}
        rows += _rows_of_size(design, of_recipes, of_contrasts, load_scores, level, size, processes)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows_of_size(
    design: Design,
    recipes: Sequence[tuple[Recipe, TrainingVariance]],
    contrasts: Sequence[tuple[Contrast, TrainingVariance]],
    load: Callable[[Recipe], Scores],
    level: float,
    size: Mapping[str, Any],
    processes: int,
) -> list[dict[str, Any]]:
    """Return the rows of recipes, then of contrasts, for one size of the blocks."""

    def of_recipe(pair: tuple[Recipe, TrainingVariance]) -> list[dict[str, Any]]:
        recipe, training = pair
        names = {**dict(zip(RECIPE, recipe, strict=True)), "contrast": "", **size}
        return _rows(design, load(recipe), training, None, level, names)

    def of_contrast(pair: tuple[Contrast, TrainingVariance]) -> list[dict[str, Any]]:
        contrast, training = pair
        names = {**dict.fromkeys(RECIPE, ""), "contrast": contrast.name, **size}
        return _rows(design, combine(contrast.coefficients, load), training, contrast, level, names)

    rows = [*compute_each(of_recipe, recipes, processes), *compute_each(of_contrast, contrasts, processes)]
    return list(itertools.chain.from_iterable(rows))


def _design_with_blocks(
    runs: Mapping[int, Part], n_classes: int, test_to_train: float, groups: np.ndarray
) -> Design | None:
    """Make the design whose units are the blocks; None if there are too few of them."""
    try:
        design = make_design(runs, n_classes, test_to_train, groups, only=MAIN_SCORES)
    except StudyError:
        # A test part has a single block.
        return None
    return design if design.strata.sum() >= FEWEST_BLOCKS else None


def _rows(
    design: Design,
    scores: Scores,
    training: TrainingVariance,
    contrast: Contrast | None,
    level: float,
    names: Mapping[str, Any],
) -> list[dict[str, Any]]:
    low, high = limits(crossed(design, scores, training, "contrast" if contrast else "recipe"), level)
    rows = []
    for place, metric in enumerate(design.names):
        score = score_of(metric)
        ends = (-contrast.largest(metric), contrast.largest(metric)) if contrast else (score.lowest, score.highest)
        limits_of = np.clip([low[place], high[place]], *ends)
        estimate = float(scores.pooled[place])
        rows.append({**names, "metric": metric, "estimate": estimate, "low": limits_of[0], "high": limits_of[1]})
    return rows
