"""A small simulated study, shared by the tests of the statistics."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.simulated_studies import World, simulate
from terralucas.statistics.resampling import make_design, score_recipes

SMALL = World("small", counts=(60, 34, 17, 12), features=6, separation=2.5, units=10, fresh=10)
HOLDOUT = replace(SMALL, name="small holdout", holdout=True)


def score_recipe(design, runs, draws, seed):
    """Score the runs of one recipe."""
    return next(score_recipes(design, [runs], draws, seed))


def scored(world=SMALL, number=0, draws=400, **design_options):
    """(study, design, {recipe: Scores}) of one simulated study."""
    study = simulate(world, number)
    design = make_design(study.recipes["a"], len(world.counts), world.test_to_train, study.groups, **design_options)
    return study, design, {name: score_recipe(design, runs, draws, 1) for name, runs in study.recipes.items()}
