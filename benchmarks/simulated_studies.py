"""Simulated studies with a known truth: classifiers are trained on chips drawn from a known population.

The features of each class have a normal distribution. A run trains a ridge discriminant on its training chips, after a
random layer of rectified units that stands for initialisation. As in real studies, the training sets of folds overlap,
some chips are difficult for every recipe, and rare classes have few training chips. The truth is the mean score of the
same runs on fresh chips of the population.
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
    """The parameters from which studies are drawn.

    Attributes:
        name: name that is printed.
        counts: number of chips of each class.
        folds: number of folds K; the number of seeds may be a multiple of it.
        seeds: number of seeds J.
        holdout: whether all seeds share one split, with 1/K of the chips for testing.
        units: width of the random layer; with few units, training varies much; 0 for no layer.
        blocks: number of spatial blocks, whose chips share a shift of their features; 0 for none.
        features: number of features of a chip.
        separation: distance between the classes of the population.
        shifts: recipe → factor of the log prior in its logits. `a` and `b` are one recipe under two names.
        fresh: number of chips of each class on which the truth is measured, for each study.
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
        """n_test / n_train, or 0 if all seeds share one split."""
        return 0.0 if self.holdout else 1.0 / ((self.folds - 1.0) * (1.0 - VALIDATION_SHARE))


@dataclass(frozen=True)
class Study:
    """A simulated study.

    Attributes:
        recipes: recipe → seed → test chips.
        groups: (n,) block of each chip, or None.
        population: recipe → (K, …) mean `chip_terms` of the fresh chips of each class.
    """

    recipes: dict[str, dict[int, Part]]
    groups: np.ndarray | None
    population: dict[str, np.ndarray]


def true_scores(world: World, population: np.ndarray) -> np.ndarray:
    """Compute the scores of a population with the world's class shares, from the mean terms of each class."""
    labels = np.arange(len(world.counts))
    return weighted_scores.scores(np.array([world.counts], dtype=float), labels, population, len(labels))[0]


def simulate(world: World, number: int) -> Study:
    """Draw the study with this number, train its runs, and test them."""
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
    # Fresh chips are in other blocks than the study's chips.
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
            # With a holdout, the truth is that of its single training set. It is measured over more initialisations
            # than the study has.
            if seed < world.seeds:
                recipes[name][seed] = Part(tested, labels[tested], classify(chips[tested]))
            terms = weighted_scores.chip_terms(fresh_labels, classify(fresh_chips))
            population[name].append(terms.reshape(n_classes, fresh, -1).mean(axis=1))
    return Study(recipes, groups, {name: np.mean(each, axis=0) for name, each in population.items()})


def _draw(
    world: World, centres: np.ndarray, labels: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray | None, np.ndarray]:
    """Draw the blocks and the features of chips."""
    noise = random.normal(size=(len(labels), world.features))
    if not world.blocks:
        return None, centres[labels] + noise
    # A block has as many fresh chips as it has chips of the study.
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
    """A ridge discriminant after a random layer; it maps chips to logits."""

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
