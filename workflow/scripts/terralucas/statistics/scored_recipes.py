"""Score the recipes of a study in several processes, and keep their resampled scores in files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from terralucas.processes import compute_each
from terralucas.statistics.resampling import Design, Scores, score_recipes
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.training_variance import SeedScores
from terralucas.tables.scores import SCORES
from terralucas.tables.vocabulary import Recipe

# Recipes that a process scores at a time, on the same draws.
_TOGETHER = 16


def score_to_files(
    design: Design,
    recipes: Sequence[Recipe],
    load: Callable[[Recipe], Mapping[int, Part]],
    draws: int,
    seed: int,
    folder: Path,
    processes: int,
) -> list[SeedScores]:
    """Score all recipes, and save the Scores of each in a folder.

    Args:
        design: the design of the study.
        recipes: names of the recipes.
        load: returns the test predictions of a recipe, by seed.
        draws: number of bootstrap draws.
        seed: seed of the resampling.
        folder: folder for the Scores, which `scores_loader` reads. The scores over all classes are there once more by
            themselves: contrasts are of these, and read each recipe several times.
        processes: number of processes that compute.

    Returns:
        What the estimate of training needs of each recipe.
    """

    has_classes = len(design.names) > len(SCORES)

    def score_group(start: int) -> list[SeedScores]:
        known = []
        group = recipes[start : start + _TOGETHER]
        scored = score_recipes(design, map(load, group), draws, seed)
        for number, scores in enumerate(scored, start=start):
            scores.save(_path(folder, number))
            if has_classes:
                scores.only(range(len(SCORES))).save(_path(folder, number, overall=True))
            known.append(SeedScores.of(design, scores))
        return known

    starts = range(0, len(recipes), _TOGETHER)
    return list(itertools.chain.from_iterable(compute_each(score_group, starts, processes)))


def scores_loader(recipes: Sequence[Recipe], folder: Path, overall: bool = False) -> Callable[[Recipe], Scores]:
    """Return a function that reads the Scores of a recipe that `score_to_files` saved.

    Args:
        recipes, folder: as for `score_to_files`.
        overall: whether to read the scores over all classes alone.
    """
    numbers = {recipe: number for number, recipe in enumerate(recipes)}
    return lambda recipe: Scores.load(_path(folder, numbers[recipe], overall))


def _path(folder: Path, number: int, overall: bool = False) -> Path:
    return folder / f"{number}{'-overall' if overall else ''}.npy"
