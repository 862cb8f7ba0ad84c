"""Which files of finished exports, predictions and selections are lost, as their own records say."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import yaml

from terralucas.files import sha256_of_file
from terralucas.study.lost_files import (
    lost_of_explanation,
    lost_of_export,
    lost_of_prediction,
    lost_of_selection,
)


def test_an_export_misses_what_its_record_names(exported):
    assert lost_of_export(exported) == []
    (exported / "README.md").write_text("a model card that somebody completed")
    (exported / "notes.txt").write_text("of somebody")
    assert lost_of_export(exported) == []
    (exported / "model.onnx").unlink()
    (exported / "models/seed-0/config.json").unlink()
    assert lost_of_export(exported) == ["model.onnx", "models/seed-0/config.json"]


def test_an_export_misses_what_was_cut_off(exported):
    """As after an interrupted copy; a file that only looks newer is whole."""
    later = (exported / "export.json").stat().st_mtime_ns + 10**9
    (exported / "model.onnx").write_text("mod")
    for name in ("model.onnx", "models/seed-0/config.json"):
        os.utime(exported / name, ns=(later, later))
    assert lost_of_export(exported) == ["model.onnx"]


def test_an_export_misses_models_that_were_exchanged(exported):
    """Neither the content of a file nor its time has changed."""
    record = json.loads((exported / "export.json").read_text())
    (exported / "models/seed-1").mkdir()
    (exported / "models/seed-1/config.json").write_text("of seed 1")
    record["files"]["models/seed-1/config.json"] = {"sha256": sha256_of_file(exported / "models/seed-1/config.json")}
    (exported / "export.json").write_text(json.dumps(record))
    assert lost_of_export(exported) == []
    # Longer than a tick of the clock of the file system.
    time.sleep(0.05)
    (exported / "models/seed-0").rename(exported / "models/other")
    (exported / "models/seed-1").rename(exported / "models/seed-0")
    (exported / "models/other").rename(exported / "models/seed-1")
    assert lost_of_export(exported) == ["models/seed-0/config.json", "models/seed-1/config.json"]


@pytest.mark.parametrize("content", [None, "", "{", "[]"])
def test_an_export_without_a_record_is_not_whole(exported, content):
    (exported / "export.json").unlink()
    if content is not None:
        (exported / "export.json").write_text(content)
    assert lost_of_export(exported) == ["export.json"]


def test_what_was_never_made_is_not_lost(tmp_path):
    assert lost_of_export(tmp_path / "exported") == []
    assert lost_of_prediction(tmp_path / "new") == []
    assert lost_of_selection(tmp_path / "selection.yaml") == []


@pytest.mark.parametrize(("record", "lost"), [({"with_place": 3}, True), ({"with_place": 0}, False), ({}, False)])
def test_a_prediction_misses_its_points_where_chips_have_places(tmp_path, record, lost):
    (tmp_path / "prediction.json").write_text(json.dumps(record))
    assert lost_of_prediction(tmp_path) == (["predictions.geojson"] if lost else [])
    (tmp_path / "predictions.geojson").write_text("{}")
    assert lost_of_prediction(tmp_path) == []


@pytest.fixture
def selection(tmp_path):
    names = ["models/seed-0/model.ckpt", "held_out.npz"]
    (tmp_path / "models/seed-0").mkdir(parents=True)
    for name in names:
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1000, 1000))
    for folder in ("models", "models/seed-0"):
        os.utime(tmp_path / folder, (1000, 1000))
    record = tmp_path / "selection.yaml"
    record.write_text(
        yaml.safe_dump({"sha256": {name: sha256_of_file(tmp_path / name) for name in names}}, sort_keys=False)
    )
    os.utime(record, (2000, 2000))
    return record


def test_selected_models_are_lost_where_files_are_gone_or_changed(selection):
    model = selection.parent / "models/seed-0/model.ckpt"
    assert lost_of_selection(selection) == []
    model.touch()
    assert lost_of_selection(selection) == [], "a copy without its time"
    model.write_text("another model")
    assert lost_of_selection(selection) == ["models/seed-0/model.ckpt"]
    model.unlink()
    (selection.parent / "held_out.npz").unlink()
    assert lost_of_selection(selection) == ["models/seed-0/model.ckpt", "held_out.npz"]


@pytest.mark.parametrize("later", ["rights", "link", "name", "copy"])
def test_a_damaged_model_is_lost_also_where_its_record_changed_in_another_way_later(selection, tmp_path, later):
    (selection.parent / "models/seed-0/model.ckpt").write_text("another model")
    time.sleep(0.05)
    if later == "rights":
        selection.chmod(0o600)
    elif later == "link":
        os.link(selection, tmp_path / "backup")
    elif later == "name":
        selection.rename(tmp_path / "moved")
        (tmp_path / "moved").rename(selection)
    else:
        selection = Path(shutil.copytree(tmp_path, tmp_path.parent / "copy")) / selection.name
    assert lost_of_selection(selection) == ["models/seed-0/model.ckpt"]


def test_files_that_are_not_newer_than_the_record_are_not_read(selection, monkeypatch):
    monkeypatch.setattr("terralucas.study.lost_files.sha256_of_file", None)
    assert lost_of_selection(selection) == []


@pytest.mark.parametrize("content", ["", "{", "[1]", "text", "sha256: 3", "sha256: [a]"])
def test_a_damaged_record_of_a_selection_is_left_to_who_uses_it(selection, content):
    selection.write_text(content)
    assert lost_of_selection(selection) == []


def test_an_explanation_misses_the_tables_of_its_page(tmp_path):
    page = tmp_path / "explained.html"
    assert lost_of_explanation(page) == []
    for name in ("explained.html", "importance.csv", "occlusion.json"):
        (tmp_path / name).touch()
    assert lost_of_explanation(page) == ["importance_by_seed.csv"]
