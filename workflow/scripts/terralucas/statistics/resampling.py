"""Resampled scores of a recipe: test chips drawn anew, runs scored without each chip.

A `Scores` holds everything that intervals and tests need of a recipe, and all of it adds up: the `Scores` of a
difference of recipes is the difference of their `Scores`, because every recipe is scored on the same draws of the same
chips. What is made of it (intervals, tests, power) is in `crossed`, `contrasts`, `variance` and `power`; formulas and
reasons are in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from terralucas.errors import StudyError
from terralucas.randomness import Stream, generator
from terralucas.statistics import weighted_scores
from terralucas.statistics.run_predictions import Part

_CHUNK = 500
Key = TypeVar("Key")


@dataclass(frozen=True)
class Design:
    """Which chips each seed tests and what is resampled; the same for all recipes of a study.

    Attributes:
        classes: (K,) class indices that take part.
        chips: (n,) numbers of all chips that any seed tests, by class.
        labels: (n,) positions in `classes`, ascending.
        units: (n,) number of what is resampled as a whole: the chip itself, or its block.
        strata: (S,) units of each stratum, numbered stratum by stratum: chips within their class, or all blocks.
        seeds: (J,) in the order of `tests`.
        tests: for each seed the positions in `chips` it tests, ascending.
        test_to_train: n_test / n_train, or 0 where all seeds share one split.
    """

    classes: tuple[int, ...]
    chips: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    strata: np.ndarray
    seeds: tuple[int, ...]
    tests: tuple[np.ndarray, ...]
    test_to_train: float

    @property
    def names(self) -> tuple[str, ...]:
        """Of the scores, in the order of every array's last axis."""
        return weighted_scores.score_names(self.classes)

    @property
    def tested_once(self) -> bool:
        """No chip is tested by two seeds."""
        return sum(len(test) for test in self.tests) == len(self.chips)

    def run_units(self) -> tuple[np.ndarray, np.ndarray]:
        """(R,) seed position and (R,) unit of each row of `Scores.deviations`."""
        units = [np.unique(self.units[test]) for test in self.tests]
        return np.repeat(np.arange(len(units)), [len(each) for each in units]), np.concatenate(units)


@dataclass(frozen=True)
class Scores:
    """Scores of a recipe, or of a linear combination of recipes, with what is needed for their uncertainty.

    Attributes:
        pooled: (M,) scores of the test chips of all seeds together.
        seeds: (J, M) scores of each run.
        drawn: (B, M) pooled scores of resampled chips, the runs as they are.
        left_out: (U, M) pooled scores without one unit, the others of its stratum standing in.
        deviations: (R, M) change of a run's score without one of its own units, times √((m − 1) / m) for the m units of
            the run in that unit's stratum, so that their squares sum to the jackknife variance.
        hits: (Q,) 1 where a test chip of a run is right, seed by seed.
    """

    pooled: np.ndarray
    seeds: np.ndarray
    drawn: np.ndarray
    left_out: np.ndarray
    deviations: np.ndarray
    hits: np.ndarray

    def save(self, path: Path) -> None:
        """Write to an .npz file."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**arrays)


def make_design(
    runs: Mapping[int, Part],
    n_classes: int,
    test_to_train: float,
    groups: np.ndarray | None = None,
    excluded: tuple[int, ...] = (),
) -> Design:
    """The design of a study, from the runs of any one of its recipes.

    Args:
        runs: seed → test chips of the run.
        n_classes: of the logits.
        test_to_train: n_test / n_train, or 0 where all seeds share one split.
        groups: (N,) block of each chip by its number, or None to resample single chips.
        excluded: class indices whose chips are left out and whose logits are ignored.

    Raises:
        StudyError: seeds disagree about the label of a chip, a run tests a chip twice, or no chips remain.
    """
    every = np.concatenate([run.chips for run in runs.values()])
    labels = np.concatenate([run.labels for run in runs.values()])
    pairs = np.unique(np.stack([labels, every]), axis=1)
    twice = [seed for seed, run in runs.items() if len(np.unique(run.chips)) < len(run.chips)]
    if twice or len(np.unique(pairs[1])) < pairs.shape[1]:
        raise StudyError(
            "The runs of a recipe do not belong to one study.",
            found=f"a chip twice in the test part of seed {twice[0]}" if twice else "a chip with two labels",
            expected="every chip with one label, and once in a test part",
            remedy="delete the recipe's runs; they are made again",
        )
    pairs = pairs[:, ~np.isin(pairs[0], excluded)]
    if not pairs.shape[1]:
        raise StudyError("No test chips remain without the excluded classes.", remedy="exclude fewer classes")
    classes = np.array([index for index in range(n_classes) if index not in excluded])
    positions, chips = np.searchsorted(classes, pairs[0]), pairs[1]
    if groups is None:
        units = np.arange(len(chips))
        strata = np.unique(positions, return_counts=True)[1]
    else:
        units = np.unique(groups[chips], return_inverse=True)[1]
        strata = np.array([units.max() + 1])
    tests = tuple(np.flatnonzero(np.isin(chips, run.chips)) for run in runs.values())
    few = min(len(np.unique(units[test])) for test in tests)
    if few < 2:
        raise StudyError(
            "Resampling needs several units in every test part.",
            found=f"{few} chips or blocks in one of them",
            expected="2 or more",
            remedy="use smaller blocks (split.block_km) or fewer folds",
        )
    return Design(tuple(classes.tolist()), chips, positions, units, strata, tuple(runs), tests, test_to_train)


def draw_weights(design: Design, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each chip occurs in each draw, chunk by chunk and the same for every call.

    Units are drawn with replacement within their stratum, as many as it has.

    Yields:
        (up to 500, n) float32.
    """
    for chunk, start in enumerate(range(0, draws, _CHUNK)):
        size = min(_CHUNK, draws - start)
        random = generator(seed, Stream.RESAMPLING, chunk)
        counts = []
        for n in design.strata:
            chosen = random.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
            counts.append(np.bincount(chosen.ravel(), minlength=size * n).reshape(size, n))
        yield np.concatenate(counts, axis=1).astype(np.float32)[:, design.units]


def score_recipe(design: Design, runs: Mapping[int, Part], draws: int, seed: int) -> Scores:
    """Score a recipe's runs, resampled and whole.

    Args:
        design: of the study.
        runs: seed → test chips of the run.
        draws: B.
        seed: of the resampling; the same for all recipes, so that differences are paired.

    Raises:
        StudyError: the runs do not have the seeds and chips of the design, or logits that are no numbers.
    """
    n_classes = len(design.classes)
    order = [_rows_of(design, position, runs) for position in range(len(design.seeds))]
    tests = design.tests
    by_run = [
        weighted_scores.chip_terms(design.labels[test], run.logits[rows][:, list(design.classes)])
        for test, (run, rows) in zip(tests, order, strict=True)
    ]
    pooled = np.zeros((len(design.chips), by_run[0].shape[1]))
    for test, each in zip(tests, by_run, strict=True):
        pooled[test] += each

    single = pooled.astype(np.float32)
    drawn = [
        weighted_scores.scores(weights, design.labels, single, n_classes).astype(np.float32)
        for weights in draw_weights(design, draws, seed)
    ]
    seeds, deviations = [], []
    for test, each in zip(tests, by_run, strict=True):
        labels = design.labels[test]
        whole = weighted_scores.scores(np.ones((1, len(test))), labels, each, n_classes)
        without, sizes = _left_out(design, design.units[test], labels, each)
        seeds.append(whole[0])
        # A stratum of one unit can't tell its spread; what a score without it is does not matter then.
        factor = np.sqrt((sizes - 1.0) / sizes)[:, None]
        deviations.append(np.where(factor > 0, factor * np.nan_to_num(without - whole), 0.0))
    return Scores(
        pooled=weighted_scores.scores(np.ones((1, len(design.chips))), design.labels, pooled, n_classes)[0],
        seeds=np.array(seeds),
        drawn=np.concatenate(drawn),
        left_out=_left_out(design, design.units, design.labels, pooled)[0],
        deviations=np.concatenate(deviations),
        hits=np.concatenate(
            [each[np.arange(len(test)), design.labels[test]] for test, each in zip(tests, by_run, strict=True)]
        ),
    )


def combine(coefficients: Mapping[Key, float], load: Callable[[Key], Scores]) -> Scores:
    """The Scores of a linear combination of recipes, holding one recipe in memory at a time.

    Args:
        coefficients: recipe → its factor.
        load: gives the Scores of a recipe.
    """
    total: dict[str, np.ndarray] = {}
    for key, factor in coefficients.items():
        one = load(key)
        for field in fields(Scores):
            values = np.float32(factor) * one.drawn if field.name == "drawn" else factor * getattr(one, field.name)
            total[field.name] = values if field.name not in total else total[field.name] + values
    return Scores(**total)


def _rows_of(design: Design, position: int, runs: Mapping[int, Part]) -> tuple[Part, np.ndarray]:
    """The run of a seed, and which of its rows are the design's test chips, in the design's order."""
    seed = design.seeds[position]
    if set(runs) != set(design.seeds):
        raise StudyError(
            "A recipe lacks runs, or has more than the others.",
            found=f"seeds {sorted(runs)}",
            expected=f"seeds {sorted(design.seeds)}",
            remedy="compare the recipes on the seeds they share, or leave the recipe out",
        )
    run, test = runs[seed], design.tests[position]
    sorter = np.argsort(run.chips)
    places = np.searchsorted(run.chips, design.chips[test], sorter=sorter)
    rows = sorter[np.minimum(places, len(sorter) - 1)]
    included = np.isin(run.labels, design.classes).sum()
    same = included == len(test) and np.array_equal(run.chips[rows], design.chips[test])
    if not same or not np.array_equal(run.labels[rows], np.array(design.classes)[design.labels[test]]):
        raise StudyError(
            f"Recipes test other chips with seed {seed}, so that they can't be compared in pairs.",
            found=f"{included} chips",
            expected=f"the {len(test)} chips of the other recipes, with their labels",
            remedy="make the runs of this seed again from one split",
        )
    if not np.isfinite(run.logits[rows]).all():
        raise StudyError(
            f"The predictions of seed {seed} hold numbers that are not finite.",
            remedy="the run diverged: report it as such and leave its recipe out of the comparison",
        )
    return run, rows


def _left_out(
    design: Design, units: np.ndarray, labels: np.ndarray, cells: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores without each of these units (U, M), and how many of these units its stratum has (U,).

    The others of the stratum stand in for the unit that is left out, so that strata keep their weight (the stratified
    jackknife: Jones 1974, Biometrika 61).
    """
    numbers = np.unique(units)
    strata = np.searchsorted(np.cumsum(design.strata), numbers, side="right")
    sizes = np.bincount(strata)[strata]
    stratum = strata[np.searchsorted(numbers, units)]
    parts = []
    for start in range(0, len(numbers), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        stand_in = (stratum == strata[chunk, None]) / np.maximum(sizes[chunk, None] - 1.0, 1.0)
        weights = (units != numbers[chunk, None]) * (1.0 + stand_in)
        parts.append(weighted_scores.scores(weights, labels, cells, len(design.classes)))
    return np.concatenate(parts), sizes
