"""Studies with a known truth: classifiers that are really trained, on chips drawn from a known population.

Each class is a normal cloud of features. A run trains a ridge discriminant on its training chips, behind a random layer
of rectified units that stands for initialisation. So the training sets of the folds overlap as they do in a study,
chips that lie badly are hard for every recipe, and rare classes are learnt from few chips. The truth is the same runs'
mean score on fresh chips of the population.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from terralucas.data import splits
from terralucas.statistics import weighted_scores
from terralucas.statistics.run_predictions import Part

LUCAS = (511, 178, 205, 704, 126, 57, 125, 43, 20, 25)
VALIDATION_SHARE = 0.15
_RIDGE = 0.1


@dataclass(frozen=True)
class World:
    """How studies are drawn.

    Attributes:
        name: shown.
        counts: chips of each class.
        folds: K; the number of seeds may be a multiple of it.
        seeds: J.
        holdout: one split for all seeds, a K-th of the chips tested.
        units: width of the random layer: few units make training vary much; 0 for none.
        blocks: number of spatial blocks whose chips share a shift of their features; 0 for none.
        features, separation: of the population.
        shifts: recipe → share of the log prior in its logits. `a` and `b` are one recipe under two names.
        fresh: chips of each class that the truth is measured on, for each study.
    """

    name: str
    counts: Sequence[int] = LUCAS
    folds: int = 5
    seeds: int = 5
    holdout: bool = False
    units: int = 64
    blocks: int = 0
    features: int = 24
    separation: float = 3.0
    shifts: Mapping[str, float] = field(default_factory=lambda: {"a": 0.0, "b": 0.0, "c": 0.8})
    fresh: int = 40

    @property
    def test_to_train(self) -> float:
        """n_test / n_train, or 0 where all seeds share one split."""
        return 0.0 if self.holdout else 1.0 / ((self.folds - 1.0) * (1.0 - VALIDATION_SHARE))


@dataclass(frozen=True)
class Study:
    """A simulated study.

    Attributes:
        recipes: recipe → seed → test chips.
        groups: (n,) block of each chip, or None.
        population: recipe → mean cells of each class's fresh chips, (K, cells).
    """

    recipes: dict[str, dict[int, Part]]
    groups: np.ndarray | None
    population: dict[str, np.ndarray]


def true_scores(world: World, population: np.ndarray) -> np.ndarray:
    """Scores of a population whose classes have the world's shares, from mean cells of each class."""
    labels = np.arange(len(world.counts))
    return weighted_scores.scores(np.array([world.counts], dtype=float), labels, population, len(labels))[0]


def simulate(world: World, number: int) -> Study:
    """Draw study `number`, train its runs and test them."""
    random = np.random.default_rng([20, number])
    n_classes = len(world.counts)
    # The population is the same for all studies.
    centres = np.random.default_rng(0).normal(size=(n_classes, world.features))
    centres *= world.separation / np.sqrt(2 * world.features)
    labels = np.repeat(np.arange(n_classes), world.counts)
    groups, chips = _draw(world, centres, labels, random)
    fold = _folds(world, labels, groups, random)

    fresh = 25 * world.fresh if world.holdout else world.fresh
    fresh_labels = np.repeat(np.arange(n_classes), fresh)
    # Fresh chips lie in blocks of their own.
    _, fresh_chips = _draw(world, centres, fresh_labels, random)
    recipes: dict[str, dict[int, Part]] = {name: {} for name in world.shifts}
    population = {name: [] for name in world.shifts}
    for seed in range(20 if world.holdout else world.seeds):
        repetition, number_of_fold = (0, 0) if world.holdout else divmod(seed, world.folds)
        tested = np.flatnonzero(fold[repetition] == number_of_fold)
        rest = np.flatnonzero(fold[repetition] != number_of_fold)
        split = np.random.default_rng([21, number, 0 if world.holdout else seed])
        train = rest[split.random(len(rest)) > VALIDATION_SHARE]
        for name, shift in world.shifts.items():
            classify = _train(world, chips[train], labels[train], shift, random)
            # A holdout's truth is that of its one training set, over more initialisations than are tested.
            if seed < world.seeds:
                recipes[name][seed] = Part(tested, labels[tested], classify(chips[tested]))
            cells = weighted_scores.chip_terms(fresh_labels, classify(fresh_chips))
            population[name].append(cells.reshape(n_classes, fresh, -1).mean(axis=1))
    return Study(recipes, groups, {name: np.mean(each, axis=0) for name, each in population.items()})


def _draw(
    world: World, centres: np.ndarray, labels: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray | None, np.ndarray]:
    """Blocks and features of chips."""
    noise = random.normal(size=(len(labels), world.features))
    if not world.blocks:
        return None, centres[labels] + noise
    # As many chips to a block for the fresh ones as for the study's.
    n_blocks = round(world.blocks * max(1.0, len(labels) / sum(world.counts)))
    groups = random.integers(0, n_blocks, len(labels))
    shift = random.normal(size=(n_blocks, world.features))
    return groups, centres[labels] + np.sqrt(0.5) * noise + np.sqrt(0.5) * shift[groups]


def _folds(
    world: World, labels: np.ndarray, groups: np.ndarray | None, random: np.random.Generator
) -> list[np.ndarray]:
    """Fold of each chip, for each repetition."""
    repetitions = 1 if world.holdout else -(-world.seeds // world.folds)
    if groups is not None:
        return [
            splits.assign_parts(labels, groups, [1.0 / world.folds] * world.folds, random) for _ in range(repetitions)
        ]
    # What `splits.assign_parts` does without groups, faster: every class in equal parts.
    folds = []
    for _ in range(repetitions):
        fold = np.empty(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            members = random.permutation(np.flatnonzero(labels == label))
            fold[members] = (np.arange(len(members)) + random.integers(world.folds)) % world.folds
        folds.append(fold)
    return folds


class _Classifier:
    """Logits of a ridge discriminant behind a random layer."""

    def __init__(self, layer: np.ndarray | None, weights: np.ndarray, bias: np.ndarray) -> None:
        self.layer, self.weights, self.bias = layer, weights, bias

    def __call__(self, chips: np.ndarray) -> np.ndarray:
        return _through(self.layer, chips) @ self.weights + self.bias


def _train(
    world: World, chips: np.ndarray, labels: np.ndarray, shift: float, random: np.random.Generator
) -> _Classifier:
    layer = random.normal(size=(world.features, world.units)) / np.sqrt(world.features) if world.units else None
    hidden = _through(layer, chips)
    means = np.stack([hidden[labels == label].mean(axis=0) for label in range(len(world.counts))])
    rest = hidden - means[labels]
    spread = rest.T @ rest / (len(labels) - len(means)) + _RIDGE * np.eye(hidden.shape[1])
    weights = np.linalg.solve(spread, means.T)
    bias = -0.5 * np.einsum("kd,dk->k", means, weights) + shift * np.log(np.bincount(labels) / len(labels))
    return _Classifier(layer, weights, bias)


def _through(layer: np.ndarray | None, chips: np.ndarray) -> np.ndarray:
    return chips if layer is None else np.maximum(chips @ layer, 0.0)
