"""Predictions of parts of the chips."""

import pyarrow.parquet as pq

from helpers.scenes import make_selected
from terralucas.predict.options import PredictOptions
from terralucas.predict.plan import Plan
from terralucas.predict.predictor import Predictor, predict_part


def test_a_part_without_chips_has_the_columns_of_others_and_loads_no_model(tmp_path):
    """The models of this selection are nowhere."""
    selected = make_selected()
    predictor = Predictor(selected, PredictOptions())
    predict_part(Plan([], PredictOptions(), "abc", {}), predictor, 3, 40, tmp_path / "part.parquet", progress=False)
    table = pq.read_table(tmp_path / "part.parquet")
    assert table.num_rows == 0
    assert {"id", "class_code", "probability_1", "conformal_set", "problem"} <= set(table.column_names)
