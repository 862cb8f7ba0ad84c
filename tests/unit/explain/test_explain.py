"""The predictions of a study as the selected models make them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from terralucas.explain.explain import _scale
from terralucas.statistics.run_predictions import Part


@pytest.mark.parametrize(("temperatures", "expected"), [([2.0, 4.0], {1: 4.0, 3: 2.0}), (None, {1: 8.0, 3: 8.0})])
def test_logits_are_divided_by_the_temperature_of_their_seed(temperatures, expected):
    models = [Path("models/seed-1"), Path("models/seed-3")]
    selected = SimpleNamespace(record={"temperatures": temperatures}, models=models)
    part = Part(np.arange(2), np.zeros(2, int), np.full((2, 3), 8.0))
    found = _scale({1: part, 3: part}, selected)
    assert {seed: each.logits[0, 0] for seed, each in found.items()} == expected
