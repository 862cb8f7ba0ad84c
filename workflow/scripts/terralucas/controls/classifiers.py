"""Controls: cheap classifiers on the same splits as the runs, which a recipe has to beat to be worth anything.

- `majority`: the shares of the classes among the training chips, whatever the chip.
- `band_statistics`: mean and standard deviation of each band over the chip; multinomial logistic regression.
- `centre_spectrum`: reflectance of the centre pixel, which the label is about; random forest.
- `knn/<backbone>`: pooled features of the frozen backbone; nearest neighbours.
- `logistic/<backbone>`: pooled features; multinomial logistic regression fitted to convergence.

Logistic regression and forest weigh classes as the weighted losses do (`balanced`: n / (K n_c)), because the question
is macro accuracy; neighbours and majority have no weights. A control's one setting is chosen by the study's monitor on
the validation chips (on the test chips where the study validates on them), of equal ones the simplest.
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

# The simplest first.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
NEIGHBOURS = (45, 25, 15, 9, 5, 3, 1)
LEAVES = (20, 5, 1)
TREES = 300
_ITERATIONS = (1_000, 10_000)


@dataclass(frozen=True)
class ControlData:
    """What a control is fitted to.

    Attributes:
        inputs: (n, d) of all chips; NaN where a centre pixel is missing.
        labels: (n,) class indices.
        train: rows of the training chips.
        choosing: rows of the chips on which the setting is chosen.
        n_classes: K.
    """

    inputs: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    choosing: np.ndarray
    n_classes: int


@dataclass(frozen=True)
class FittedControl:
    """A control with its setting chosen.

    Attributes:
        log_probabilities: (n, K) of all chips.
        setting: name and value of what was chosen; empty for `majority`.
        scores: value tried → monitored score on the choosing chips; settings that did not converge are missing.
    """

    log_probabilities: np.ndarray
    setting: Mapping[str, float]
    scores: Mapping[float, float]


@dataclass(frozen=True)
class _Method:
    """A family of classifiers with one setting.

    Attributes:
        setting: its name.
        values: to try, the simplest first.
        build: (value, random state) → classifier.
        log_probabilities: (fitted classifier, value, inputs) → (n, K).
    """

    setting: str
    values: Sequence[float]
    build: Callable[[Any, int], Pipeline]
    log_probabilities: Callable[[Pipeline, Any, np.ndarray], np.ndarray]


def fit_control(name: str, data: ControlData, monitor: str, seed: int) -> FittedControl:
    """Fit a control and choose its setting.

    Args:
        name: of the control, such as `majority` or `knn/tiny`.
        data: chips and their parts.
        monitor: `macro_accuracy` or `micro_accuracy`.
        seed: of the run; draws the forest.

    Raises:
        StudyError: the training part lacks a class, or no logistic regression converges.
    """
    shares = class_shares(data.labels[data.train], data.n_classes)
    kind = name.partition("/")[0]
    if kind == "majority":
        return FittedControl(np.tile(np.log(shares), (len(data.labels), 1)), {}, {})
    method = _METHODS[kind]
    random_state = int(generator(seed, Stream.FOREST).integers(2**31))
    scores: dict[float, float] = {}
    best: tuple[float, Any, Pipeline] | None = None
    # One thread, so that the last bits of sums are the same everywhere.
    with threadpool_limits(1):
        for value in method.values:
            if kind == "knn" and value > len(data.train):
                continue
            model = method.build(value, random_state)
            if not _fit(model, data.inputs[data.train], data.labels[data.train]):
                logger.warning("%s did not converge with %s %g and is left out", name, method.setting, value)
                continue
            predicted = method.log_probabilities(model, value, data.inputs[data.choosing]).argmax(axis=1)
            scores[value] = _score(monitor, data.labels[data.choosing], predicted)
            if best is None or scores[value] > best[0]:
                best = (scores[value], value, model)
        if best is None:
            raise StudyError(
                f"The control {name} converged with none of its settings.",
                expected=f"{method.setting} out of {', '.join(f'{value:g}' for value in method.values)}",
                remedy="set report.controls to false, or look for features that are constant or very large",
            )
        _, value, model = best
        return FittedControl(method.log_probabilities(model, value, data.inputs), {method.setting: value}, scores)


def _fit(model: Pipeline, inputs: np.ndarray, labels: np.ndarray) -> bool:
    """Fit a model, with more iterations where it takes them; whether it converged."""
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


def _logistic(penalty: float, random_state: int) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=penalty, class_weight="balanced"))


def _neighbours(count: int, random_state: int) -> Pipeline:
    return make_pipeline(StandardScaler(), KNeighborsClassifier(count))


def _forest(leaf: int, random_state: int) -> Pipeline:
    forest = RandomForestClassifier(
        TREES, min_samples_leaf=leaf, class_weight="balanced", random_state=random_state, n_jobs=1
    )
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), forest)


def _from_scores(model: ClassifierMixin, value: float, inputs: np.ndarray) -> np.ndarray:
    scores = model.decision_function(inputs)
    # With two classes there is one column, the logit of the second.
    return log_softmax(np.column_stack([np.zeros(len(scores)), scores]) if scores.ndim == 1 else scores, axis=1)


def _from_votes(votes: int, probabilities: np.ndarray) -> np.ndarray:
    """Logarithms of shares of votes, with one vote more that goes to all classes alike: no class has probability 0
    (Laplace), and the order of the classes stays."""
    return np.log((votes * probabilities + 1.0 / probabilities.shape[1]) / (votes + 1))


_METHODS = {
    "band_statistics": _Method("C", PENALTIES, _logistic, _from_scores),
    "centre_spectrum": _Method(
        "min_samples_leaf", LEAVES, _forest, lambda model, leaf, inputs: _from_votes(TREES, model.predict_proba(inputs))
    ),
    "knn": _Method("k", NEIGHBOURS, _neighbours, lambda model, k, inputs: _from_votes(k, model.predict_proba(inputs))),
    "logistic": _Method("C", PENALTIES, _logistic, _from_scores),
}
