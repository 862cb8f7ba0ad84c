"""Simulated studies with a known truth: classifiers are trained on chips drawn from a known population.

A run is a softmax classifier that stochastic gradient descent trains on its training chips; or a ridge discriminant
after a random layer. As in real studies, the training sets of folds overlap, some chips are difficult for every recipe,
rare classes have few training chips, labels can be wrong in a directed way, features can have heavy tails, and chips
that lie close to each other can look alike. The truth is the mean score of the same runs on fresh chips of the
population.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from terralucas.data import splits
from terralucas.statistics import weighted_scores
from terralucas.statistics.run_predictions import Part

LUCAS = (511, 178, 205, 704, 126, 57, 125, 43, 20, 25)
HALF = tuple(count // 2 for count in LUCAS)
DEMO = (154, 54, 62, 212, 38, 17, 38, 12, 6, 7)
VALIDATION_SHARE = 0.15
# A map of about the size and shape of Italy, in km.
EXTENT_KM = np.array([500.0, 800.0])
_RIDGE = 0.1
_WAVES = 400
_BATCH = 64


@dataclass(frozen=True)
class Recipe:
    """How a recipe trains.

    Attributes:
        shift: factor of the log prior that is added to the logits: 0 is fair to rare classes.
        epochs: epochs of gradient descent.
        rate: learning rate of gradient descent.
        view: the recipe sees its own random half of the features, as another backbone does; 0 for all features.
    """

    shift: float = 0.0
    epochs: int = 12
    rate: float = 0.05
    view: int = 0


# a and b are one recipe under two names.
RECIPES = {
    "a": Recipe(),
    "b": Recipe(),
    "c": Recipe(shift=0.8),
    "d": Recipe(epochs=4),
    "e": Recipe(view=1),
    "f": Recipe(view=1, shift=0.8),
}


@dataclass(frozen=True)
class World:
    """The parameters from which studies are drawn.

    Attributes:
        name: name that is printed.
        counts: number of chips of each class.
        folds: number of folds K; the number of seeds may be a multiple of it.
        seeds: number of seeds J.
        holdout: whether all seeds share one split, with 1/K of the chips for testing.
        learner: `ridge` discriminant after a random layer, or `softmax` by gradient descent.
        units: width of the random layer; with few units, training varies much; 0 for no layer.
        tails: degrees of freedom of the multivariate t distribution of features; None for a normal distribution.
        label_noise: share of chips of every class whose label is that of the class after it.
        unequal: ratio of the largest to the smallest distance of a class from the middle; recalls then differ.
        range_km: distance over which the fields that chips share are correlated; 0 for no fields.
        field_share: share of the features' variance that comes from fields.
        block_km: side of the spatial blocks by which chips are split and resampled; 0 for none.
        blocks: number of blocks without places, whose chips share a shift of their features; 0 for none.
        elsewhere: whether the truth is that of another landscape: other fields, with the same correlation.
        features: number of features of a chip.
        separation: distance between the classes of the population.
        recipes: the recipes that are trained.
        fresh: number of chips of each class on which the truth is measured, for each study.
    """

    name: str
    counts: Sequence[int] = LUCAS
    folds: int = 5
    seeds: int = 5
    holdout: bool = False
    learner: Literal["ridge", "softmax"] = "ridge"
    units: int = 64
    tails: float | None = None
    label_noise: float = 0.0
    unequal: float = 1.0
    range_km: float = 0.0
    field_share: float = 0.5
    block_km: float = 0.0
    blocks: int = 0
    elsewhere: bool = False
    features: int = 24
    separation: float = 3.0
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: RECIPES)
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
        places: (n, 2) places of the chips in km, or None.
        population: recipe → (K, …) mean `chip_terms` of the fresh chips of each class.
    """

    recipes: dict[str, dict[int, Part]]
    groups: np.ndarray | None
    places: np.ndarray | None
    population: dict[str, np.ndarray]


@dataclass(frozen=True)
class _Chips:
    features: np.ndarray
    labels: np.ndarray
    places: np.ndarray | None = None
    groups: np.ndarray | None = None


Classifier = Callable[[np.ndarray], np.ndarray]


def true_scores(world: World, population: np.ndarray) -> np.ndarray:
    """Compute the scores of a population with the world's class shares, from the mean terms of each class."""
    labels = np.arange(len(world.counts))
    return weighted_scores.scores(np.array([world.counts], dtype=float), labels, population, len(labels))[0]


def simulate(world: World, number: int) -> Study:
    """Draw the study with this number, train its runs, and test them."""
    random = np.random.default_rng([20, number])
    n_classes = len(world.counts)
    landscape = _Landscape(world, random) if world.range_km else None
    chips = _draw(world, np.repeat(np.arange(n_classes), world.counts), landscape, random)
    fold = _folds(world, chips, random)

    fresh = 25 * world.fresh if world.holdout else world.fresh
    if world.elsewhere:
        landscape = _Landscape(world, random)
    # Without a landscape, fresh chips are in other blocks than the study's chips.
    unseen = _draw(world, np.repeat(np.arange(n_classes), fresh), landscape, random)
    recipes: dict[str, dict[int, Part]] = {name: {} for name in world.recipes}
    population: dict[str, list[np.ndarray]] = {name: [] for name in world.recipes}
    for seed in range(20 if world.holdout else world.seeds):
        repetition, number_of_fold = (0, 0) if world.holdout else divmod(seed, world.folds)
        tested = np.flatnonzero(fold[repetition] == number_of_fold)
        rest = np.flatnonzero(fold[repetition] != number_of_fold)
        split = np.random.default_rng([21, number, 0 if world.holdout else seed])
        train = rest[split.random(len(rest)) > VALIDATION_SHARE]
        for name, recipe in world.recipes.items():
            classify = _train(world, recipe, chips.features[train], chips.labels[train], random)
            # With a holdout, the truth is that of its single training set. It is measured over more initialisations
            # than the study has.
            if seed < world.seeds:
                recipes[name][seed] = Part(tested, chips.labels[tested], classify(chips.features[tested]))
            terms = weighted_scores.chip_terms(unseen.labels, classify(unseen.features))
            population[name].append(
                np.stack([terms[unseen.labels == label].mean(axis=0) for label in range(n_classes)])
            )
    means = {name: np.mean(each, axis=0) for name, each in population.items()}
    return Study(recipes, chips.groups, chips.places, means)


class _Landscape:
    """Smooth random fields over the map, one for each feature: sums of cosines, with a Gaussian covariance.

    Rahimi & Recht (2007), Random features for large-scale kernel machines. The covariance at distance d is
    exp(−(d / range)² / 2).
    """

    def __init__(self, world: World, random: np.random.Generator) -> None:
        self._waves = random.normal(size=(world.features, _WAVES, 2)) / world.range_km
        self._phases = random.uniform(0.0, 2.0 * np.pi, size=(world.features, _WAVES))

    def at(self, places: np.ndarray) -> np.ndarray:
        """Return the (n, features) values of the fields, with variance 1."""
        angles = (places @ waves.T + phases for waves, phases in zip(self._waves, self._phases, strict=True))
        return np.stack([np.cos(each).sum(axis=1) for each in angles], axis=1) * np.sqrt(2.0 / _WAVES)


def _centres(world: World) -> np.ndarray:
    """Return the centres of the classes, which are the same for all studies."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(len(world.counts), world.features)) * world.separation / np.sqrt(2 * world.features)
    factor = np.geomspace(1.0, world.unequal, len(centres))[random.permutation(len(centres))]
    return centres * (factor / np.sqrt(np.mean(factor**2)))[:, None]


def _draw(world: World, classes: np.ndarray, landscape: _Landscape | None, random: np.random.Generator) -> _Chips:
    """Draw chips of these classes: their features, labels (which can be wrong), places and blocks."""
    n = len(classes)
    noise = random.normal(size=(n, world.features))
    if world.tails:
        # A multivariate t: one scale for all features of a chip; the variance stays 1.
        scale = random.chisquare(world.tails, size=(n, 1)) / (world.tails - 2.0)
        noise /= np.sqrt(scale)
    source, n_classes = classes, len(world.counts)
    if world.label_noise:
        # The chip looks like the class before the one its label names.
        source = np.where(random.random(n) < world.label_noise, (classes - 1) % n_classes, classes)
    features, places, groups = _centres(world)[source], None, None
    if landscape is not None:
        places = random.uniform(size=(n, 2)) * EXTENT_KM
        features = features + np.sqrt(1 - world.field_share) * noise + np.sqrt(world.field_share) * landscape.at(places)
        if world.block_km:
            cells = np.floor(places / world.block_km).astype(int)
            groups = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
    elif world.blocks:
        # A block has as many fresh chips as it has chips of the study.
        n_blocks = round(world.blocks * max(1.0, n / sum(world.counts)))
        groups = random.integers(0, n_blocks, n)
        shift = random.normal(size=(n_blocks, world.features))
        features = features + np.sqrt(0.5) * noise + np.sqrt(0.5) * shift[groups]
    else:
        features = features + noise
    return _Chips(features, classes, places, groups)


def _folds(world: World, chips: _Chips, random: np.random.Generator) -> list[np.ndarray]:
    """Fold of each chip, for each repetition."""
    repetitions = 1 if world.holdout else -(-world.seeds // world.folds)
    labels, shares = chips.labels, [1.0 / world.folds] * world.folds
    if chips.groups is not None:
        return [splits.assign_parts(labels, chips.groups, shares, random) for _ in range(repetitions)]
    # What `splits.assign_parts` does without groups, faster: every class in equal parts.
    folds = []
    for _ in range(repetitions):
        fold = np.empty(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            members = random.permutation(np.flatnonzero(labels == label))
            fold[members] = (np.arange(len(members)) + random.integers(world.folds)) % world.folds
        folds.append(fold)
    return folds


def _train(
    world: World, recipe: Recipe, features: np.ndarray, labels: np.ndarray, random: np.random.Generator
) -> Classifier:
    """Train a classifier, which maps features to logits."""
    seen = np.arange(world.features)
    if recipe.view:
        seen = np.random.default_rng([23, recipe.view]).permutation(world.features)[: world.features // 2]
    fit = _fit_softmax if world.learner == "softmax" else _fit_ridge
    classify = fit(world, recipe, features[:, seen], labels, random)
    return lambda chips: classify(chips[:, seen])


def _fit_ridge(
    world: World, recipe: Recipe, features: np.ndarray, labels: np.ndarray, random: np.random.Generator
) -> Classifier:
    layer = None
    if world.units:
        layer = random.normal(size=(features.shape[1], world.units)) / np.sqrt(features.shape[1])

    def hidden_of(chips: np.ndarray) -> np.ndarray:
        return chips if layer is None else np.maximum(chips @ layer, 0.0)

    hidden = hidden_of(features)
    means = np.stack([hidden[labels == label].mean(axis=0) for label in range(len(world.counts))])
    rest = hidden - means[labels]
    spread = rest.T @ rest / (len(labels) - len(means)) + _RIDGE * np.eye(hidden.shape[1])
    weights = np.linalg.solve(spread, means.T)
    bias = -0.5 * np.einsum("kd,dk->k", means, weights) + recipe.shift * np.log(np.bincount(labels) / len(labels))
    return lambda chips: hidden_of(chips) @ weights + bias


def _fit_softmax(
    world: World, recipe: Recipe, features: np.ndarray, labels: np.ndarray, random: np.random.Generator
) -> Classifier:
    """Gradient descent with momentum on the cross-entropy, from random weights; classes count equally if shift is 0."""
    n, n_classes = len(labels), len(world.counts)
    # Heavy tails make single chips dominate a step; features are squashed as a network's normalisation does.
    inputs = np.column_stack([np.tanh(features / 3.0) * 3.0, np.ones(n)])
    prior = np.bincount(labels, minlength=n_classes) / n
    chip_weight = (1.0 / (n_classes * prior)) ** (1.0 - recipe.shift)
    chip_weight = (chip_weight / (chip_weight * prior).sum())[labels]
    truth = np.eye(n_classes)[labels]
    weights = random.normal(size=(inputs.shape[1], n_classes)) / np.sqrt(inputs.shape[1])
    step = np.zeros_like(weights)
    for _ in range(recipe.epochs):
        order = random.permutation(n)
        for start in range(0, n, _BATCH):
            batch = order[start : start + _BATCH]
            logits = inputs[batch] @ weights
            logits -= logits.max(axis=1, keepdims=True)
            probabilities = np.exp(logits)
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            error = (probabilities - truth[batch]) * chip_weight[batch, None]
            step = 0.9 * step - recipe.rate * inputs[batch].T @ error / len(batch)
            weights = weights + step
    return lambda chips: np.column_stack([np.tanh(chips / 3.0) * 3.0, np.ones(len(chips))]) @ weights
