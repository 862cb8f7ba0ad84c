"""What was made with the selected models."""

from terralucas.selection.uses import uses_of_selection


def test_finished_uses_are_found_and_what_is_not_of_a_selection_is_not(tmp_path):
    assert uses_of_selection(tmp_path) == []
    finished = [
        "exported/stac.json",
        "selected/explained.html",
        "maps/rome/map.html",
        "predictions/new/predictions.parquet",
    ]
    for name in [*finished, "maps/points.geojson", "predictions/unfinished/plan.json", "selected/selection.yaml"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert uses_of_selection(tmp_path) == ["exported", "selected/explained.html", "maps/rome", "predictions/new"]
