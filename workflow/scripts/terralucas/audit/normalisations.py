"""Compare the normalisations by their effect on the chips of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from terralucas.audit.treatments import Effect, Treatments
from terralucas.data.normalisation import normaliser_of_index
from terralucas.study.schema import load_schema


def normalisation_treatments(index: pa.Table, bands: Sequence[str]) -> Treatments:
    """Return all normalisations as treatments to compare, with the statistics of the study.

    For `train`, a random half of the chips counts as training chips, because the splits do not exist yet. Every second
    chip would not do: where chips lie in pairs of equal statistics, such as flipped copies, both halves are equal.

    Args:
        index: the table chips.parquet; only the columns with moments are read.
        bands: names of the bands in their order on disk.
    """
    train_rows = np.sort(np.random.default_rng(0).permutation(len(index))[: (len(index) + 1) // 2])

    def effect(setting: Mapping[str, Any]) -> Effect:
        kind = setting["normalisation"]
        normaliser, _ = normaliser_of_index(index, kind, bands, train_rows if kind == "train" else None)
        zero_and_one = np.stack([np.full((len(bands), 1, 1), value) for value in (0.0, 1.0)])
        return [normaliser(zero_and_one)]

    schema = load_schema()["properties"]["normalisation"]
    kinds = {kind: {"normalisation": kind} for kind in schema["enum"]}
    return Treatments(kinds, {}, effect, "the inputs of the backbone", "normalisation: {}", "")
