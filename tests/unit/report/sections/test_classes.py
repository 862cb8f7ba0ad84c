"""Sentences about the classes."""

import pandas as pd
import pytest

from terralucas.report.sections.classes import balance_sentence, rarest_class_sentence


def per_class(**chips):
    return pd.DataFrame([
        {"metric": metric, "classes": "all", "class_name": name, "n": n}
        for name, n in chips.items()
        for metric in ("recall", "precision")
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("chips", "is_said"),
    [
        ({"forest": 30, "water": 30}, True),
        ({"forest": 30, "water": 29}, False),
        # A class without test chips counts in neither accuracy.
        ({"forest": 30, "water": 30, "ice": 0}, True),
        ({"forest": 0}, False),
    ],
)
def test_equal_accuracies_are_explained_where_classes_are_balanced(chips, is_said):
    assert ("macro and micro accuracy are the same number" in balance_sentence(per_class(**chips))) == is_said


@pytest.mark.parametrize(
    ("chips", "said"),
    [
        ({"forest": 30, "water": 20}, "“water”, 20 chips over all seeds."),
        ({"forest": 20, "water": 20, "ice": 0, "sand": 30}, "“forest” and “water”, 20 chips each over all seeds."),
        (dict.fromkeys("abcd", 20) | {"forest": 30}, "4 classes, 20 chips each over all seeds."),
    ],
)
def test_all_classes_with_the_fewest_chips_are_named(chips, said):
    assert rarest_class_sentence(per_class(**chips)).startswith(f"Fewest test chips: {said} One of them")
