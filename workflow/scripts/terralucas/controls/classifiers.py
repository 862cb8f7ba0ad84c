"""Fit controls: simple classifiers on the same splits as the runs, which a recipe should outperform.

- `majority`: the class shares of the training chips, for every chip.
- `band_statistics`: mean and standard deviation of each band over the chip; multinomial logistic regression.
- `centre_spectrum`: reflectance of the centre pixel, where the labelled point is; random forest.
- `knn/<backbone>`: pooled features of the frozen backbone; nearest neighbours.
- `logistic/<backbone>`: pooled features; multinomial logistic regression fitted to convergence.

Logistic regression and random forest use the class weights of the weighted losses (`balanced`: n / (K n_c)), because
the main score is macro accuracy. `knn` and `majority` have no class weights. Each control except `majority` has one
setting. The value with the best monitored score on the validation chips is chosen, and the simplest of equal ones. If
the study validates on its test chips, the controls do so too.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from terralucas.data.split_files import class_shares
from terralucas.errors import StudyError
from terralucas.randomness import Stream, generator

logger = logging.getLogger(__name__)

# Values of each setting, the simplest model first.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
NEIGHBOURS = (45, 25, 15, 9, 5, 3, 1)
LEAVES = (20, 5, 1)
TREES = 300
_ITERATIONS = (1_000, 10_000)


@dataclass(frozen=True)
class ControlData:
    """The data of a control.

    Attributes:
        inputs: (n, d) inputs of all chips; NaN for a missing centre pixel.
        labels: (n,) class indices.
        train: row numbers of the training chips.
        validation: row numbers of the chips on which the setting is chosen.
        n_classes: number of classes K.
    """

    inputs: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    n_classes: int


@dataclass(frozen=True)
class FittedControl:
    """A fitted control with its chosen setting.

    Attributes:
        log_probabilities: (n, K) logarithms of the class probabilities of all chips.
        setting: name and value of the chosen setting; empty for `majority`.
        scores: monitored score on the validation chips, by value of the setting; values without convergence are
            missing.
    """

    log_probabilities: np.ndarray
    setting: Mapping[str, float]
    scores: Mapping[float, float]


@dataclass(frozen=True)
class _Method:
    """A kind of classifier with one setting.

    Attributes:
        setting: name of the setting.
        values: values to try, the simplest model first.
        build: function (value, random state) → classifier.
        log_probabilities: function (fitted classifier, value, inputs) → log probabilities (n, K).
    """

    setting: str
    values: Sequence[float]
    build: Callable[[Any, int], Pipeline]
    log_probabilities: Callable[[Pipeline, Any, np.ndarray], np.ndarray]


def fit_control(name: str, data: ControlData, monitor: str, seed: int) -> FittedControl:
    """Fit a control and choose its setting.

    Args:
        name: name of the control, such as `majority` or `knn/tiny`.
        data: inputs, labels and parts of the chips.
        monitor: `macro_accuracy` or `micro_accuracy`.
        seed: seed of the run; it also seeds the random forest.

    Raises:
        StudyError: the training part lacks a class, or the logistic regression converges with no value.
    """
    shares = class_shares(data.labels[data.train], data.n_classes)
    kind = name.partition("/")[0]
    if kind == "majority":
        return FittedControl(np.tile(np.log(shares), (len(data.labels), 1)), {}, {})
    method = _METHODS[kind]
    random_state = int(generator(seed, Stream.FOREST).integers(2**31))
    scores: dict[float, float] = {}
    best: tuple[float, Any, Pipeline] | None = None
    # With one thread, rounding errors are the same on all machines.
    with threadpool_limits(1):
        for value in method.values:
            if kind == "knn" and value > len(data.train):
                continue
            model = method.build(value, random_state)
            if not _fit_until_converged(model, data.inputs[data.train], data.labels[data.train]):
                logger.warning("%s did not converge with %s %g; this value is not used", name, method.setting, value)
                continue
            predicted = method.log_probabilities(model, value, data.inputs[data.validation]).argmax(axis=1)
            scores[value] = _score(monitor, data.labels[data.validation], predicted)
            if best is None or scores[value] > best[0]:
                best = (scores[value], value, model)
        if best is None:
            raise StudyError(
                f"The control {name} converged with none of its settings.",
                found=f"no convergence after {_ITERATIONS[-1]} iterations",
                expected=f"convergence with {method.setting} {', '.join(f'{value:g}' for value in method.values)}",
                remedy="check whether features are constant or very large, or set report.controls to false",
            )
        _, value, model = best
        return FittedControl(method.log_probabilities(model, value, data.inputs), {method.setting: value}, scores)


def _fit_until_converged(model: Pipeline, inputs: np.ndarray, labels: np.ndarray) -> bool:
    """Fit a model, if necessary with more iterations; return whether it converged."""
    iterative = [name for name in model.get_params() if name.endswith("__max_iter")]
    for iterations in _ITERATIONS:
        model.set_params(**dict.fromkeys(iterative, iterations))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(inputs, labels)
        if not any(issubclass(warning.category, ConvergenceWarning) for warning in caught):
            return True
    return False


def _score(monitor: str, labels: np.ndarray, predicted: np.ndarray) -> float:
    if monitor == "micro_accuracy":
        return float(accuracy_score(labels, predicted))
    return float(recall_score(labels, predicted, average="macro", labels=np.unique(labels)))


def _build_logistic(penalty: float, random_state: int) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, class_weight="balanced"))


def _build_neighbours(count: int, random_state: int) -> Pipeline:
    return make_pipeline(StandardScaler(), KNeighborsClassifier(count))


def _build_forest(leaf: int, random_state: int) -> Pipeline:
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=leaf, class_weight="balanced", random_state=random_state, n_jobs=1
    )
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), forest)


def _from_scores(model: ClassifierMixin, value: float, inputs: np.ndarray) -> np.ndarray:
    scores = model.decision_function(inputs)
    # With two classes, scikit-learn returns one column: the logit of the second class.
    return log_softmax(np.column_stack([np.zeros(len(scores)), scores]) if scores.ndim == 1 else scores, axis=1)


def _from_votes(votes: int, probabilities: np.ndarray) -> np.ndarray:
    """Return the logarithms of the shares of votes, after adding one vote that is divided equally among the classes.

    No class has probability 0 then (Laplace smoothing), and the order of the classes does not change.
    """
    return np.log((votes * probabilities + 1.0 / probabilities.shape[1]) / (votes + 1))


_METHODS = {
    "band_statistics": _Method("C", PENALTIES, _build_logistic, _from_scores),
    "centre_spectrum": _Method(
        "min_samples_leaf",
        LEAVES,
        _build_forest,
        lambda model, leaf, inputs: _from_votes(TREES, model.predict_proba(inputs)),
    ),
    "knn": _Method(
        "k",
        NEIGHBOURS,
        _build_neighbours,
        lambda model, k, inputs: _from_votes(k, model.predict_proba(inputs)),
    ),
    "logistic": _Method("C", PENALTIES, _build_logistic, _from_scores),
}
