"""Predictions of parts of the chips."""

import pyarrow.parquet as pq
import pytest

from helpers.scenes import make_selected
from terralucas.data.rasters.image_files import changed_chips
from terralucas.errors import StudyError
from terralucas.predict.options import PredictOptions
from terralucas.predict.plan import Plan
from terralucas.predict.predictor import Predictor, predict_part


def test_a_part_without_chips_has_the_columns_of_others_and_loads_no_model(tmp_path):
    """The models of this selection are nowhere."""
    selected = make_selected()
    predictor = Predictor(selected, PredictOptions())
    plan, path = Plan([], PredictOptions(), "abc", {}), tmp_path / "part.parquet"
    predict_part(plan, predictor, 3, 40, path, lambda: None, progress=False)
    table = pq.read_table(path)
    assert table.num_rows == 0
    assert {"id", "class_code", "probability_1", "conformal_set", "problem"} <= set(table.column_names)


def test_a_part_of_chips_that_were_changed_meanwhile_is_not_written(tmp_path):
    def refuse():
        raise changed_chips([tmp_path / "1.tif"])

    plan, path = Plan([], PredictOptions(), "abc", {}), tmp_path / "part.parquet"
    with pytest.raises(StudyError, match="Chips were changed while they were predicted"):
        predict_part(plan, Predictor(make_selected(), PredictOptions()), 0, 1, path, refuse, progress=False)
    assert not list(tmp_path.iterdir())
