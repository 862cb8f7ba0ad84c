"""Check that the settings of a study are different treatments, and that every written key has an effect.

Each setting is built as a run builds it, and tried on small random data. This finds errors that no score shows, such
as a loss that accepts class weights and ignores them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from terralucas.audit.alternatives import alternatives, is_active_key, value_of
from terralucas.errors import StudyError

logger = logging.getLogger(__name__)

# A decoder is tried with this loss (cross-entropy), a loss with this decoder (a linear head on the mean token).
PLAIN_LOSS = {"type": "ce", "class_weights": "none", "reduction": "weighted_mean", "label_smoothing": 0.0}
PLAIN_DECODER = {"pooling": "mean", "layers": None, "hidden": None, "dropout": 0.0}

# The effect of a setting: arrays of any shapes.
Effect = list[np.ndarray]


def are_equal(a: Effect, b: Effect, tolerance: float) -> bool:
    """Return whether two effects are equal up to a relative difference of the norms of their arrays."""
    return len(a) == len(b) and all(
        x.shape == y.shape and np.linalg.norm(x - y) <= tolerance * max(np.linalg.norm(x), np.linalg.norm(y))
        for x, y in zip(a, b, strict=True)
    )


def _is_finite(effect: Effect) -> bool:
    return all(np.isfinite(array).all() for array in effect)


@dataclass(frozen=True)
class Treatments:
    """Settings of a study that must differ, and the function that measures their effects.

    Attributes:
        settings: settings by name.
        schema: the schema of each setting.
        effect: function that measures the effect of a setting.
        measured: description of the arrays of an effect, for messages.
        place: place of a setting in the configuration, with {} for its name.
        key_place: place of a key of the audited setting, with {} for the key.
        tolerance: relative difference below which the effects of two settings count as equal.
        key_tolerance: relative difference below which the change of one key counts as no effect.
        reasons: key → why it can have no effect on the chips of this study, for messages.
    """

    settings: Mapping[str, Mapping[str, Any]]
    schema: Mapping[str, Any]
    effect: Callable[[Mapping[str, Any]], Effect]
    measured: str
    place: str
    key_place: str
    # Far above rounding errors of float32, and far below the effect of another setting.
    tolerance: float = 1e-4
    key_tolerance: float = 1e-4
    reasons: Mapping[str, str] = field(default_factory=dict)

    def differ(self, a: Effect, b: Mapping[str, Any]) -> bool:
        """Return whether a setting has an effect other than the given one; False if the setting cannot be tried."""
        try:
            return not are_equal(a, self.effect(b), self.key_tolerance)
        except StudyError:
            # The setting does not fit the chips of the study, such as a window larger than the token grid.
            return False


def audit(name: str, treatments: Treatments, written: Iterable[str]) -> dict[str, Any]:
    """Compare a setting with the other settings, and with itself after a change of each written key.

    Args:
        name: name of the setting.
        treatments: this setting and the others.
        written: keys of the setting that the configuration contains. Other keys, and keys that are switched off, are
            not tested.

    Returns:
        `differs_from`: the names of the other settings; `keys_with_effect`: the tested keys. Both are empty if the
        setting diverged, because its effect is then unknown.

    Raises:
        StudyError: the setting has the same effect as another one, or a written key has no effect.
    """
    settings, place, measured = treatments.settings, treatments.place, treatments.measured
    setting, own = settings[name], treatments.effect(settings[name])
    if not _is_finite(own):
        logger.warning("The audit cannot judge %s: it diverges in the test run", place.format(name))
        return {"differs_from": [], "keys_with_effect": []}
    others = [other for other in settings if other != name]
    keys = [key for key in written if is_active_key(setting, key)]
    problems = [
        f"it has the same effect as {place.format(other)}: {measured} are equal"
        for other in others
        if are_equal(own, treatments.effect(settings[other]), treatments.tolerance)
    ]
    problems += [
        f"{treatments.key_place.format(key)} is {value_of(setting, key)} and has no effect: with every other value, "
        f"{measured} stay the same{treatments.reasons.get(key, '')}"
        for key in keys
        if not any(treatments.differ(own, changed) for changed in alternatives(treatments.schema, setting, key))
    ]
    if problems:
        raise StudyError(
            f"The setting {place.format(name)} does not have the effect that the configuration describes.",
            found="; ".join(problems),
            expected="an effect that differs from all other settings, and an effect of each written key",
            remedy="remove the key or choose a type that uses it; of two settings with the same effect, keep one "
            "(docs/treatments.md)",
        )
    return {"differs_from": others, "keys_with_effect": keys}
