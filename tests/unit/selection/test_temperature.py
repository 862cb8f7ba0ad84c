"""Temperature scaling of saved models."""

import numpy as np
import pytest
import torch
import yaml

from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.predictions import PredictionTable, write_predictions
from terralucas.selection.temperature import divide_logits, temperature_of
from terralucas.training.decoders import DecoderModel

SETTING = {"pooling": "mean", "hidden": None, "dropout": 0.0}


@pytest.mark.parametrize("cosine_scale", [None, 20.0])
def test_the_logits_of_a_saved_model_are_divided(tmp_path, cosine_scale):
    torch.manual_seed(0)
    features = torch.randn(6, 8)
    before = DecoderModel(SETTING, 8, 4, cosine_scale).eval()
    path = tmp_path / "model.ckpt"
    torch.save({"cosine_scale": cosine_scale, "n_classes": 4, "state_dict": before.state_dict()}, path)
    (tmp_path / "run.yaml").write_text("status: finished\nmodel_sha256: that of the run\nname: tiny/ce\n")
    divide_logits(tmp_path, 2.5)
    content = torch.load(path, weights_only=True)
    record = {"status": "finished", "model_sha256": sha256_of_file(path), "name": "tiny/ce"}
    assert yaml.safe_load((tmp_path / "run.yaml").read_text()) == record
    after = DecoderModel(SETTING, 8, 4, content["cosine_scale"]).eval()
    after.load_state_dict(content["state_dict"])
    torch.testing.assert_close(after(features), before(features) / 2.5)


def table(parts):
    random = np.random.default_rng(3)
    # Labels are drawn from the probabilities of half the logits, so that the temperature is 2.
    logits = 4 * random.normal(size=(len(parts), 3)).astype(np.float32)
    chances = np.exp(logits / 2)
    labels = (random.random((len(parts), 1)) > np.cumsum(chances / chances.sum(1, keepdims=True), axis=1)).sum(axis=1)
    # The temperature of the test chips is another one.
    logits[parts == "test"] *= 7
    return PredictionTable([f"{number:05d}" for number in range(len(parts))], parts, labels, logits)


def test_the_temperature_is_that_of_the_validation_chips(tmp_path):
    write_predictions(tmp_path / "predictions.parquet", table(np.repeat(["validation", "test"], [4000, 4000])))
    assert temperature_of(tmp_path) == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("factor", [1, 5, 40])
def test_logits_stay_where_all_validation_chips_are_right(tmp_path, caplog, factor):
    labels = np.arange(12) % 3
    logits = factor * np.eye(3, dtype=np.float32)[labels]
    points = [f"{number:05d}" for number in range(12)]
    write_predictions(
        tmp_path / "predictions.parquet", PredictionTable(points, np.full(12, "validation"), labels, logits)
    )
    assert temperature_of(tmp_path) == 1
    assert "All 12 validation chips" in caplog.text


def test_a_temperature_at_the_end_of_its_range_is_used_and_said(tmp_path, caplog):
    labels = np.arange(12) % 3
    logits = np.eye(3, dtype=np.float32)[(labels + 1) % 3]
    points = [f"{number:05d}" for number in range(12)]
    write_predictions(
        tmp_path / "predictions.parquet", PredictionTable(points, np.full(12, "validation"), labels, logits)
    )
    assert temperature_of(tmp_path) == pytest.approx(20, rel=0.01)
    assert "a temperature of 20, which is the end of the range" in caplog.text


def test_without_validation_chips_the_error_says_what_to_set(tmp_path):
    write_predictions(tmp_path / "predictions.parquet", table(np.full(20, "test")))
    with pytest.raises(StudyError, match=r"set select\.temperature_scaling to false"):
        temperature_of(tmp_path)
