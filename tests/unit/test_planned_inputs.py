"""A path that is wrong is refused before Snakemake deletes what was made with the right one."""

import json
from types import SimpleNamespace

import pytest

from execution.start.planned_inputs import require_pixel_size, require_planned_inputs
from terralucas.errors import StudyError


def graph(rule, output, **wildcards):
    job = SimpleNamespace(rule=SimpleNamespace(name=rule), output=[str(output)], wildcards=SimpleNamespace(**wildcards))
    return SimpleNamespace(needrun_jobs=lambda exclude_finished: [job])


@pytest.fixture
def made(tmp_path):
    (tmp_path / "made.json").write_text("{}")
    return tmp_path / "made.json"


def sources(*paths):
    return {"dataset": {"sources": [{"type": "directory", "path": str(path)} for path in paths]}}


def weights(path, sha256=None):
    return {"backbones": {"tiny": {"weights": {"source": "file", "path": str(path), "sha256": sha256}}}}


def test_a_wrong_path_of_chips_is_refused_where_chips_are_there(made, tmp_path):
    of = graph("retrieve_chips", made)
    with pytest.raises(StudyError, match=r"No source of the chips worked:\n  1\. directory .*nowhere"):
        require_planned_inputs(of, sources(tmp_path / "nowhere"), tmp_path)
    require_planned_inputs(of, sources(tmp_path / "nowhere", tmp_path), tmp_path)
    later = {"type": "gdrive", "id": "x"}
    config = {"dataset": {"sources": [*sources(tmp_path / "nowhere")["dataset"]["sources"], later]}}
    require_planned_inputs(of, config, tmp_path)
    # The job itself says so, and nothing is lost.
    require_planned_inputs(graph("retrieve_chips", tmp_path / "none"), sources(tmp_path / "nowhere"), tmp_path)


@pytest.mark.parametrize("sha256", [None, "1" * 64])
def test_wrong_weights_are_refused_where_others_were_checked(made, tmp_path, sha256):
    path = tmp_path / "nowhere.pt"
    if sha256:
        path.write_bytes(b"\x80 a pickle of other weights")
    with pytest.raises(StudyError, match=r"weights"):
        require_planned_inputs(graph("fetch_weights", made, backbone="tiny"), weights(path, sha256), tmp_path)
    assert made.exists()


def test_a_model_of_all_chips_is_not_explained_and_nothing_is_made_for_it(tmp_path):
    of = graph("explain_models", tmp_path / "importance.csv")
    with pytest.raises(StudyError, match=r"set select\.models to ensemble"):
        require_planned_inputs(of, {"select": {"models": "retrain"}}, tmp_path)
    require_planned_inputs(of, {"select": {"models": "ensemble"}}, tmp_path)


def test_another_size_of_pixels_than_that_of_the_indexed_chips_is_refused_at_the_start(tmp_path):
    sizes = {"smallest_m": 10.0, "median_m": 10.0, "largest_m": 10.0, "largest_elongation": 1.0, "nominal_m": 10.0}
    report, select = tmp_path / "report.json", graph("select_models", tmp_path / "selection.yaml")
    require_pixel_size(select, 30.0, report)
    report.write_text(json.dumps({"pixel_sizes": {"chips": 50, **sizes}}))
    require_pixel_size(select, 10.0, report)
    with pytest.raises(StudyError, match=r"10 m[\s\S]*30 m"):
        require_pixel_size(select, 30.0, report)
    # It checks the chips itself.
    require_pixel_size(graph("index_chips", tmp_path / "chips.parquet"), 30.0, report)
    report.write_text(json.dumps({"pixel_sizes": None}))
    require_pixel_size(select, 30.0, report)
