"""Whether the settings of a study are different treatments, and whether every key that is written changes something.

Each setting is built as a run builds it and tried on a probe. What is found here is what a comparison of unknown
treatments cannot tell from its scores: such as class weights that a loss accepts and drops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from terralucas.audit.alternatives import alternatives, is_active_key, value_of
from terralucas.errors import StudyError

logger = logging.getLogger(__name__)

# What stands beside a setting that is tried: cross-entropy, and a linear head on the mean of all tokens.
PLAIN_LOSS = {"type": "ce", "class_weights": "none", "reduction": "weighted_mean", "label_smoothing": 0.0}
PLAIN_DECODER = {"pooling": "mean", "layers": None, "hidden": None, "dropout": 0.0}

# What a setting does, in arrays of any shapes.
Effect = list[np.ndarray]


def same(a: Effect, b: Effect, tolerance: float) -> bool:
    """Whether two effects are equal up to rounding, each array relative to its size."""
    return len(a) == len(b) and all(
        x.shape == y.shape and np.linalg.norm(x - y) <= tolerance * max(np.linalg.norm(x), np.linalg.norm(y))
        for x, y in zip(a, b, strict=True)
    )


def _is_finite(effect: Effect) -> bool:
    return all(np.isfinite(array).all() for array in effect)


@dataclass(frozen=True)
class Treatments:
    """Settings of a study that must differ, and how to try one.

    Attributes:
        settings: by name.
        schema: of each.
        effect: maps a setting to what it does.
        measured: what the arrays of an effect are, in words.
        place: what the configuration calls a setting, with {} for its name.
        key_place: what it calls a key of the audited setting, with {} for the key.
        tolerance: relative difference below which the effects of two settings are equal.
        key_tolerance: the same of a setting and itself with one key changed.
    """

    settings: Mapping[str, Mapping[str, Any]]
    schema: Mapping[str, Any]
    effect: Callable[[Mapping[str, Any]], Effect]
    measured: str
    place: str
    key_place: str
    # Far above the rounding of float32, far below what another setting does.
    tolerance: float = 1e-4
    key_tolerance: float = 1e-4

    def differ(self, a: Effect, b: Mapping[str, Any]) -> bool:
        """Whether an effect is not that of a setting."""
        try:
            return not same(a, self.effect(b), self.key_tolerance)
        except StudyError:
            # It does not fit the study's chips, such as a window larger than the grid.
            return False


def audit(name: str, treatments: Treatments, written: Iterable[str]) -> dict[str, Any]:
    """Try a setting against those it is compared with, and each of its keys against other values.

    Args:
        name: of the setting.
        treatments: it and the others.
        written: keys of the setting that the configuration writes down; what is left out, or switched off, is not
            asked to do anything.

    Returns:
        A record: the names it differs from, and the keys that were found to change something. Both are empty where the
        setting diverged on the probe, from which nothing can be told.

    Raises:
        StudyError: the setting is the same treatment as another, or a key changes nothing.
    """
    settings, place, measured = treatments.settings, treatments.place, treatments.measured
    setting, own = settings[name], treatments.effect(settings[name])
    if not _is_finite(own):
        logger.warning("The audit can tell nothing of %s: it diverges on its probe", place.format(name))
        return {"differs_from": [], "keys_with_effect": []}
    others = [other for other in settings if other != name]
    keys = [key for key in written if is_active_key(setting, key)]
    problems = [
        f"it does the same as {place.format(other)}: equal {measured}"
        for other in others
        if same(own, treatments.effect(settings[other]), treatments.tolerance)
    ]
    problems += [
        f"{treatments.key_place.format(key)} is {value_of(setting, key)} and changes nothing: no other value changes "
        f"{measured}"
        for key in keys
        if not any(treatments.differ(own, changed) for changed in alternatives(treatments.schema, setting, key))
    ]
    if problems:
        raise StudyError(
            f"The setting {place.format(name)} is not what it says.",
            found="; ".join(problems),
            expected="a treatment of its own, and an effect of each key that is written",
            remedy="leave the key out or choose a type that uses it; give one treatment one name (docs/treatments.md)",
        )
    return {"differs_from": others, "keys_with_effect": keys}
