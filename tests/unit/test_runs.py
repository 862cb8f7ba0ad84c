"""Runs: what they refuse to train on."""

import numpy as np
import pytest
import torch

from terralucas.errors import StudyError
from terralucas.runs import Inputs, _load_features


def test_features_of_other_chips_are_refused(tmp_path):
    np.save(tmp_path / "pooled.npy", np.zeros((3, 4), np.float32))
    record = tmp_path / "pooled.json"
    record.write_text('{"shape": [5, 4]}')
    inputs = Inputs(tmp_path, tmp_path, tmp_path / "pooled.npy", record, "code")
    with pytest.raises(StudyError, match=r"do not belong to the chips[\s\S]*\[3, 4\][\s\S]*5 rows, shape \[5, 4\]"):
        _load_features(inputs, 5, torch.device("cpu"))
