"""What the normalisations make of a study's chips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from terralucas.audit.treatments import Effect, Treatments
from terralucas.data.normalisation import normaliser_of_index
from terralucas.study.schema import load_schema


def normalisation_treatments(index: pa.Table, bands: Sequence[str]) -> Treatments:
    """All normalisations there are, of the study's own statistics; every second chip stands for the training chips.

    Args:
        index: chips.parquet, of which the moments are read.
        bands: names in their order on disk.
    """
    some = np.arange(0, len(index), 2)

    def effect(setting: Mapping[str, Any]) -> Effect:
        kind = setting["normalisation"]
        normaliser, _ = normaliser_of_index(index, kind, bands, some if kind == "train" else None)
        zero_and_one = np.stack([np.full((len(bands), 1, 1), value) for value in (0.0, 1.0)])
        return [normaliser(zero_and_one)]

    schema = load_schema()["properties"]["normalisation"]
    kinds = {kind: {"normalisation": kind} for kind in schema["enum"]}
    return Treatments(kinds, {}, effect, "the inputs of the backbone", "normalisation: {}", "")
