"""Resampled scores of a recipe: bootstrap draws of the test chips, and the jackknife.

A `Scores` contains everything that intervals and tests need from a recipe. All recipes are scored on the same draws of
the same chips. Therefore the `Scores` of a difference of recipes is the difference of their `Scores`. The modules
`crossed_interval`, `contrasts`, `variance` and `power` compute intervals, tests and power from it. Formulas and reasons
are in docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from terralucas.errors import StudyError
from terralucas.randomness import Stream, generator
from terralucas.statistics import weighted_scores
from terralucas.statistics.run_predictions import Part
from terralucas.statistics.spread import known_variance
from terralucas.tables.scores import FEWEST_CHIPS, SCORES

# Draws that are in memory at a time: fewer where the chips are many. A chunk has a random stream of its own, so that
# other values would give other draws.
_CHUNK, _CHUNK_WEIGHTS = 500, 4_000_000
# The largest share of test chips in classes of a single chip. Draws lack as large a share of the variance of a score in
# which every chip counts the same.
_MOST_SINGLE = 0.05
# Recipes that are scored on one set of draws.
_TOGETHER = 16
Key = TypeVar("Key")


@dataclass(frozen=True)
class Design:
    """The test chips of each seed, and the units that are resampled; the same for all recipes of a study.

    Attributes:
        classes: (K,) class indices that take part.
        chips: (n,) numbers of all chips that any seed tests, ordered by class.
        labels: (n,) positions in `classes`, ascending.
        units: (n,) number of the unit that each chip belongs to. A unit is resampled as a whole: a single chip, or a
            block.
        strata: (S,) number of units in each stratum. Units are numbered stratum by stratum. A stratum is the chips of a
            class, or all blocks.
        seeds: (J,) seeds, in the order of `tests`.
        tests: for each seed the positions in `chips` of its test chips, ascending.
        test_to_train: n_test / n_train, or 0 if all seeds share one split.
        only: names of the scores that are computed, none of single classes; None for all scores.
    """

    classes: tuple[int, ...]
    chips: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    strata: np.ndarray
    seeds: tuple[int, ...]
    tests: tuple[np.ndarray, ...]
    test_to_train: float
    only: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scores, in the order of the last axis of every array."""
        return weighted_scores.score_names(self.classes, self.only)

    @property
    def tested_once(self) -> bool:
        """Whether no chip is tested by two seeds."""
        return sum(len(test) for test in self.tests) == len(self.chips)

    @cached_property
    def units_of_classes(self) -> np.ndarray:
        """Number of units with chips of each class that has any."""
        pairs = np.unique(np.stack([self.labels, self.units]), axis=1)
        return np.unique(pairs[0], return_counts=True)[1]

    @property
    def shows_spread(self) -> np.ndarray:
        """(M,) whether draws of the test chips show how much each score varies with the chips.

        A class of one chip has the same weight in every draw, and one of two chips often has two equal ones; so has a
        class in one or two blocks, where blocks are drawn. Where every class counts the same, two recipes with the same
        recalls were then called different in 47 % and 14 % of simulated studies with one seed, and in 5 to 11 % from
        three chips on (tests/unit/statistics/test_few_chips.py).
        """
        few = self.units_of_classes.min() < FEWEST_CHIPS
        single = float((self.strata == 1).sum()) / float(self.strata.sum()) > _MOST_SINGLE
        return np.array(
            [name not in SCORES or not (few if SCORES[name].counts_classes else single) for name in self.names]
        )

    def run_units(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the seed position (R,) and the unit (R,) of each row of `Scores.deviations`."""
        units = [np.unique(self.units[test]) for test in self.tests]
        return np.repeat(np.arange(len(units)), [len(each) for each in units]), np.concatenate(units)


@dataclass(frozen=True)
class Scores:
    """Scores of a recipe, or of a linear combination of recipes, with everything to compute their uncertainty.

    Attributes:
        pooled: (M,) scores of the test chips of all seeds together.
        seeds: (J, M) scores of each run.
        drawn: (B, M) pooled scores of resampled chips; the runs are not resampled.
        left_out: (U, M) pooled scores without one unit; the weights of the other units of its stratum are increased so
            that the stratum keeps its weight.
        deviations: (R, M) change of a run's score if one of its units is left out, times √((m − 1) / m), where m is the
            number of units of the run in that unit's stratum. The squares of the deviations sum to the jackknife
            variance.
        hits: (Q,) 1 where a run predicts a test chip rightly, otherwise 0; seed by seed.
        size: (M,) size of the scores that were computed, to tell spread from rounding: |pooled| of a recipe, and their
            weighted sum of a combination, whose own score may be near 0.

    `drawn`, `left_out` and `deviations` say nothing of calibration errors: the registry gives these no interval from
    draws, and their terms are most of those of a chip.
    """

    pooled: np.ndarray
    seeds: np.ndarray
    drawn: np.ndarray
    left_out: np.ndarray
    deviations: np.ndarray
    hits: np.ndarray
    size: np.ndarray

    @property
    def drawn_variance(self) -> np.ndarray:
        """(M,) variance of the defined draws; exactly 0 if they differ by rounding alone, NaN with fewer than two."""
        # Masked arrays take five times as long.
        if np.isfinite(self.drawn).all():
            variance = self.drawn.var(axis=0, ddof=1, dtype=np.float64)
        else:
            defined = np.ma.masked_invalid(self.drawn)
            variance = np.ma.filled(defined.var(axis=0, ddof=1, dtype=np.float64), np.nan)
        return known_variance(variance, self.size)

    def only(self, places: Sequence[int]) -> Scores:
        """Return the scores at some of the M places alone."""
        return Scores(
            self.pooled[places],
            self.seeds[:, places],
            self.drawn[:, places],
            self.left_out[:, places],
            self.deviations[:, places],
            self.hits,
            self.size[places],
        )

    def save(self, path: Path) -> None:
        """Write the arrays to a file, one after the other; an .npz file takes three times as long."""
        with path.open("wb") as file:
            for field in fields(self):
                np.save(file, getattr(self, field.name))

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Read what `save` wrote."""
        with path.open("rb") as file:
            return cls(**{field.name: np.load(file) for field in fields(cls)})


def make_design(
    runs: Mapping[int, Part],
    n_classes: int,
    test_to_train: float,
    groups: np.ndarray | None = None,
    excluded: tuple[int, ...] = (),
    only: tuple[str, ...] | None = None,
) -> Design:
    """Make the design of a study from the runs of one of its recipes.

    Args:
        runs: seed → test chips of the run.
        n_classes: number of classes of the logits.
        test_to_train: n_test / n_train, or 0 if all seeds share one split.
        groups: (N,) block of each chip, indexed by the number of the chip; None to resample single chips.
        excluded: indices of classes whose chips are left out and whose logits are ignored.
        only: names of the scores to compute; None for all.

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
            expected="one label for every chip, and no chip twice in a test part",
            remedy="delete the runs of the recipe and start the study again, which repeats them",
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
    fewest = min(len(np.unique(units[test])) for test in tests)
    if fewest < 2:
        raise StudyError(
            "Resampling needs several units in every test part.",
            found=f"{fewest} chips or blocks in one of them",
            expected="2 or more",
            remedy="use smaller blocks (split.block_km) or fewer folds",
        )
    return Design(tuple(classes.tolist()), chips, positions, units, strata, tuple(runs), tests, test_to_train, only)


def draw_weights(design: Design, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Draw how often each chip counts in each bootstrap draw, in chunks; every call gives the same draws.

    From each stratum of n units, n − 1 are drawn with replacement, each with weight n / (n − 1). With n units drawn,
    the variance would be too small by the factor (n − 1) / n: by 17 % for a class of six chips (Rao & Wu 1988,
    Resampling inference with complex survey data, JASA 83; Rao, Wu & Yue 1992, Survey Methodology 18).

    Yields:
        (up to 500, n) float32: the weights of each chip in a chunk of draws.
    """
    length = max(1, min(_CHUNK, _CHUNK_WEIGHTS // len(design.units)))
    for chunk, start in enumerate(range(0, draws, length)):
        size = min(length, draws - start)
        random = generator(seed, Stream.RESAMPLING, chunk)
        weights = []
        for n in design.strata:
            if n == 1:
                # The spread of a single unit cannot be known.
                weights.append(np.ones((size, 1)))
                continue
            chosen = random.integers(0, n, size=(size, n - 1)) + n * np.arange(size)[:, None]
            counts = np.bincount(chosen.ravel(), minlength=size * n).reshape(size, n)
            weights.append(counts * (n / (n - 1.0)))
        yield np.concatenate(weights, axis=1).astype(np.float32)[:, design.units]


def score_recipes(design: Design, recipes: Iterable[Mapping[int, Part]], draws: int, seed: int) -> Iterator[Scores]:
    """Score the runs of recipes, with and without resampling.

    Some recipes at a time are scored on the same draws, because drawing takes as long as scoring. How many does not
    change the scores.

    Args:
        design: the design of the study.
        recipes: for each recipe seed → test chips of the run.
        draws: number of bootstrap draws B.
        seed: seed of the resampling; it is the same for all recipes, so that differences are paired.

    Yields:
        The Scores of each recipe, in their order.

    Raises:
        StudyError: the runs do not have the seeds and chips of the design, or a logit is not a finite number.
    """
    remaining, calibration = iter(recipes), not set(weighted_scores.CALIBRATION_SCORES).isdisjoint(design.names)
    while together := list(islice(remaining, _TOGETHER)):
        pooled = [_pool(design, _chip_terms(design, runs, calibration=False)).astype(np.float32) for runs in together]
        drawn: list[list[np.ndarray]] = [[] for _ in together]
        for weights in draw_weights(design, draws, seed):
            for kept, terms in zip(drawn, pooled, strict=True):
                kept.append(_scores(design, weights, design.labels, terms).astype(np.float32))
        for runs, parts in zip(together, drawn, strict=True):
            # Once more, because the terms of all recipes take much memory.
            yield _collect(design, _chip_terms(design, runs, calibration=calibration), np.concatenate(parts))


def _chip_terms(design: Design, runs: Mapping[int, Part], calibration: bool) -> list[np.ndarray]:
    """Return the terms of the test chips of each run of a recipe."""
    order = [_rows_of(design, position, runs) for position in range(len(design.seeds))]
    return [
        weighted_scores.chip_terms(
            design.labels[test], run.logits[rows][:, list(design.classes)], calibration=calibration
        )
        for test, (run, rows) in zip(design.tests, order, strict=True)
    ]


def _pool(design: Design, terms_by_run: Sequence[np.ndarray]) -> np.ndarray:
    """Add up the terms of each chip over the runs that test it."""
    pooled = np.zeros((len(design.chips), terms_by_run[0].shape[1]))
    for test, terms in zip(design.tests, terms_by_run, strict=True):
        pooled[test] += terms
    return pooled


def _collect(design: Design, terms_by_run: Sequence[np.ndarray], drawn: np.ndarray) -> Scores:
    """Score a recipe without resampling, and add the resampled scores."""
    tests = design.tests
    pooled = _pool(design, terms_by_run)
    seeds, deviations = [], []
    for test, terms in zip(tests, terms_by_run, strict=True):
        labels = design.labels[test]
        scores = _scores(design, np.ones((1, len(test))), labels, terms)
        without, sizes = _scores_without_units(design, design.units[test], labels, terms)
        seeds.append(scores[0])
        # A stratum with one unit has no spread to measure. Its factor is 0, so that its score, which may be NaN, does
        # not count.
        factor = np.sqrt((sizes - 1.0) / sizes)[:, None]
        deviations.append(np.where(factor > 0, factor * np.nan_to_num(without - scores), 0.0))
    scores = _scores(design, np.ones((1, len(design.chips))), design.labels, pooled)[0]
    return Scores(
        pooled=scores,
        seeds=np.array(seeds),
        drawn=drawn,
        left_out=_scores_without_units(design, design.units, design.labels, pooled)[0],
        deviations=np.concatenate(deviations),
        hits=np.concatenate(
            [terms[np.arange(len(test)), design.labels[test]] for test, terms in zip(tests, terms_by_run, strict=True)]
        ),
        size=np.abs(np.nan_to_num(scores)),
    )


def combine(coefficients: Mapping[Key, float], load: Callable[[Key], Scores]) -> Scores:
    """Compute the Scores of a linear combination of recipes, with one recipe in memory at a time.

    Args:
        coefficients: recipe → coefficient.
        load: returns the Scores of a recipe.
    """
    total: dict[str, np.ndarray] = {}
    for key, factor in coefficients.items():
        scores = load(key)
        for field in fields(Scores):
            weight = {"drawn": np.float32(factor), "size": abs(factor)}.get(field.name, factor)
            values = weight * getattr(scores, field.name)
            total[field.name] = values if field.name not in total else total[field.name] + values
    return Scores(**total)


def _rows_of(design: Design, position: int, runs: Mapping[int, Part]) -> tuple[Part, np.ndarray]:
    """Return the run of a seed, and the rows of the run that are the design's test chips, in the design's order."""
    seed = design.seeds[position]
    if set(runs) != set(design.seeds):
        raise StudyError(
            "A recipe has other seeds than the other recipes.",
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
            f"Recipes test different chips with seed {seed}, so that they cannot be compared in pairs.",
            found=f"{included} chips",
            expected=f"the {len(test)} chips of the other recipes, with their labels",
            remedy="delete the runs of this seed and start the study again, which repeats them with one split",
        )
    if not np.isfinite(run.logits[rows]).all():
        raise StudyError(
            f"The predictions of seed {seed} contain numbers that are not finite.",
            remedy="the run diverged: report it as diverged, and leave its recipe out of the comparison",
        )
    return run, rows


def _scores(design: Design, weights: np.ndarray, labels: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Compute the scores of a design for each weighting (B, M); arguments as for `weighted_scores.scores`."""
    return weighted_scores.scores(weights, labels, terms, len(design.classes), design.only)


def _scores_without_units(
    design: Design, units: np.ndarray, labels: np.ndarray, terms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the scores without each unit (U, M), and the number of units in the stratum of each unit (U,).

    The weights of the other units of a stratum are increased, so that the stratum keeps its weight without the unit
    (stratified jackknife; Jones 1974, Biometrika 61). Calibration errors are NaN.
    """
    numbers, place = np.unique(units, return_inverse=True)
    strata = np.searchsorted(np.cumsum(design.strata), numbers, side="right")
    sizes = np.bincount(strata)[strata]
    n_classes = len(design.classes)
    without_calibration = terms[:, : n_classes + 2]
    scores = weighted_scores.scores_without_units(place, strata, labels, without_calibration, n_classes, design.only)
    return scores, sizes
