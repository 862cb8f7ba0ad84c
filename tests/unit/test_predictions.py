"""Predictions on disk: what is written is read again, and what does not belong is refused."""

import numpy as np
import pytest

from terralucas.data.split_files import class_shares
from terralucas.errors import StudyError
from terralucas.predictions import PredictionTable, read_predictions, write_predictions
from terralucas.statistics.run_predictions import read_run_predictions

NAMES = {"backbone": "tiny", "loss": "ce", "decoder": "mlp", "seed": 0}
ROWS = {"b": 0, "a": 1, "d": 2, "c": 3}


def table(parts=("validation", "test", "test"), worst=0.5):
    logits = np.array([[1.0, 2.0], [3.0, -1.0], [0.0, worst]], dtype=np.float32)
    return PredictionTable(["a", "b", "c"], np.array(parts), np.array([1, 0, 1]), logits)


def test_what_is_written_is_read_again(tmp_path):
    write_predictions(tmp_path / "p.parquet", table())
    again = read_predictions(tmp_path / "p.parquet")
    assert again.point_ids == ["a", "b", "c"]
    assert again.parts.tolist() == ["validation", "test", "test"]
    assert np.array_equal(again.logits, table().logits)


def test_chips_are_rows_of_the_index(tmp_path):
    write_predictions(tmp_path / "p.parquet", table())
    run = read_run_predictions(tmp_path / "p.parquet", NAMES, ROWS)
    assert (run.test.chips.tolist(), run.test.labels.tolist()) == ([0, 3], [0, 1])
    assert run.choosing.chips.tolist() == [1]
    assert run.chosen_on == "validation"


def test_without_validation_chips_the_test_chips_choose(tmp_path):
    write_predictions(tmp_path / "p.parquet", table(parts=("test",) * 3))
    run = read_run_predictions(tmp_path / "p.parquet", NAMES, ROWS)
    assert run.choosing is run.test
    assert run.chosen_on == "test"


def test_other_chips_and_diverged_runs_are_refused(tmp_path):
    write_predictions(tmp_path / "p.parquet", table())
    with pytest.raises(StudyError, match="other chips"):
        read_run_predictions(tmp_path / "p.parquet", NAMES, {"a": 0, "b": 1})
    write_predictions(tmp_path / "p.parquet", table(worst=np.nan))
    with pytest.raises(StudyError, match="not finite"):
        read_run_predictions(tmp_path / "p.parquet", NAMES, ROWS)


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "seed-0" / "predictions.parquet"
    write_predictions(path, PredictionTable(["a"], np.array(["test"]), np.array([0]), np.zeros((1, 2))))
    for content in (path.read_bytes()[:-3], b""):
        path.write_bytes(content)
        with pytest.raises(StudyError, match=r"cannot be read[\s\S]*delete the folder .*seed-0"):
            read_predictions(path)


def test_shares_of_classes():
    assert class_shares(np.array([0, 2, 2, 1]), 3).tolist() == [0.25, 0.25, 0.5]
    with pytest.raises(StudyError, match="lacks a class"):
        class_shares(np.array([0, 2]), 3)
