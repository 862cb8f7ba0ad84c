"""New chips and the selected models of a finished study: predict with Snakemake and without, and what goes wrong."""

import datetime
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from helpers.chips import make_spec
from helpers.project import Project, results
from helpers.shared_study import copy_study
from helpers.tiny_study import TINY
from terralucas.codebase import code_of_script
from terralucas.data.chips.chip_files import read_chip
from terralucas.errors import StudyError
from terralucas.predict.selected import load_selected

pytestmark = pytest.mark.workflow

CONFIG = ("--cores", 2, "--configfile", "config/small.yaml")


@pytest.fixture(scope="module")
def of_command(selected, new_chips, tmp_path_factory):
    """What the command without Snakemake says of the new chips, and the folder of its results."""
    folder = tmp_path_factory.mktemp("predicted")
    arguments = (new_chips, "--study", "results/small", "--output", folder, "--batch-size", 8)
    done = selected.module("predict", *arguments, "--threads", 2)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


def test_predictions_are_the_same_bytes_in_any_number_of_parts_with_and_without_snakemake(
    selected, new_chips, of_command
):
    given = f"predict={{input: {new_chips}, batch_size: 8, shards: 2}}"
    output = selected.snakemake(*CONFIG, "--config", given, "--", "predict").output
    folder = results(selected) / "predictions" / "somewhere_else"
    assert "36 of 37 chips predicted" in output
    assert "1 could not be used (unread.csv)" in output
    assert f"The predictions are at {folder}" in output
    first = (folder / "predictions.parquet").read_bytes()
    unread = pd.read_csv(folder / "unread.csv")
    assert unread["id"].tolist() == ["chip 05"]
    assert unread["problem_kind"].tolist() == ["unreadable"]

    assert selected.planned(*CONFIG, "--config", given, "--", "predict") == {}, "nothing has changed"

    # No rule names it, because chips need not have places.
    points = (folder / "predictions.geojson").read_bytes()
    (folder / "predictions.geojson").unlink()
    output = selected.snakemake(*CONFIG, "--config", given, "--", "predict").output
    assert "prediction.json (predictions.geojson)" in output
    assert (folder / "predictions.geojson").read_bytes() == points
    assert selected.planned(*CONFIG, "--config", given, "--", "predict") == {}

    said, folder = of_command
    assert "36 of 37 chips predicted" in said
    assert (folder / "predictions.parquet").read_bytes() == first
    assert {path.name for path in folder.iterdir()} == {
        ".lock", "plan.json", "prediction.json", "predictions.geojson", "predictions.parquet", "unread.csv",
    }  # fmt: skip


def test_a_table_of_predictions_says_class_probabilities_set_and_place(of_command):
    _, folder = of_command
    table = pq.read_table(folder / "predictions.parquet").to_pandas()
    of_classes = [f"probability_{code}" for code in range(1, 11)]
    assert table[of_classes].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    best = table[of_classes].to_numpy().argmax(axis=1)
    assert table["class_code"].tolist() == [str(code + 1) for code in best]
    probabilities = table[of_classes].to_numpy().astype(float)
    assert table["entropy"].to_numpy() == pytest.approx(-(probabilities * np.log(probabilities)).sum(axis=1), abs=1e-4)
    # Chips of the study itself are training chips of one of the models.
    assert table["dissimilarity"].max() < 1e-3
    assert not table["unlike_training"].any()
    assert table["conformal_set"].map(len).max() <= 10
    geojson = json.loads((folder / "predictions.geojson").read_text(encoding="utf-8"))
    assert len(geojson["features"]) == len(table) == 36
    longitude, latitude = geojson["features"][0]["geometry"]["coordinates"]
    assert 6 < longitude < 19
    assert 36 < latitude < 48, "Italy"


def test_finished_parts_are_not_repeated(selected, new_chips, tmp_path, monkeypatch):
    from terralucas.predict.options import PredictOptions
    from terralucas.predict.plan import make_plan
    from terralucas.predict.predictor import Predictor, predict_part

    monkeypatch.chdir(selected.folder)
    models, options = load_selected(Path("results/small")), PredictOptions(batch_size=8)
    plan = make_plan(new_chips, models, options, tmp_path / "plan.json", code_of_script("predict_part"))
    part = tmp_path / "parts" / "0-of-3.parquet"
    predict_part(plan, Predictor(models, options), 0, 3, part, lambda: None, progress=False)
    # A mark that a repeated part would not have.
    table = pq.read_table(part)
    place = table.column_names.index("entropy")
    marked = table.set_column(place, "entropy", pa.array([-1.0] * len(table), pa.float32()))
    pq.write_table(marked, part)
    pq.write_table(marked.replace_schema_metadata({"terralucas_plan": "another"}), part.with_name("1-of-3.parquet"))
    arguments = (new_chips, "--study", "results/small", "--output", tmp_path, "--batch-size", 8, "--parts", 3)
    assert selected.module("predict", *arguments).returncode == 0
    entropy = pq.read_table(tmp_path / "predictions.parquet")["entropy"].to_numpy()
    # The damaged chip 05 is in the first part of 8.
    assert (entropy[:7] == -1).all()
    assert (entropy[7:] >= 0).all()
    assert len(entropy) == 36


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--study", "results/small"], "There are no chips to predict at nowhere"),
        (["config", "--study", "results/small"], "There are no chips in config"),
        (["config", "--study", "results/other"], "has no selected models yet"),
    ],
)
def test_what_cannot_be_predicted_is_told_in_words(selected, tmp_path, arguments, words):
    done = selected.module("predict", *arguments, "--output", tmp_path / "new")
    assert done.returncode == 1
    assert words in done.stderr
    assert "what to do" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "new").glob("[!.]*"))


def test_a_changed_model_is_noticed(selected, new_chips, tmp_path):
    study = tmp_path / "results" / "small"
    shutil.copytree(results(selected) / "selected", study / "selected")
    with (study / "selected" / "models" / "seed-0" / "model.ckpt").open("ab") as file:
        file.write(b" ")
    done = selected.module("predict", new_chips, "--study", study, "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "of the selected models is gone or has changed" in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["dataset"]["classes"].reverse(),
        lambda record: record.update(chip_side_px=record["chip_side_px"] // 2),
        lambda record: record["dataset"].update(name=datetime.date(2020, 1, 1)),
        lambda record: record.pop("dataset"),
        lambda record: record.pop("record_sha256"),
        lambda record: [record.pop("record_sha256"), record.update(note=datetime.date(2020, 1, 1))],
    ],
    ids=["classes", "size", "date", "without its dataset", "without its checksum", "date without checksum"],
)
def test_a_changed_record_of_the_selection_is_noticed(selected, tmp_path, change):
    study = tmp_path / "results" / "small"
    shutil.copytree(results(selected) / "selected", study / "selected")
    path = study / "selected" / "selection.yaml"
    record = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(record, sort_keys=True), encoding="utf-8")
    load_selected(study)
    change(record)
    path.write_text(yaml.safe_dump(record), encoding="utf-8")
    with pytest.raises(StudyError, match=r"selection\.yaml has changed since the models were selected"):
        load_selected(study)


def test_uses_of_other_chips_or_models_are_noticed_where_snakemake_has_no_records(selected, new_chips, tmp_path):
    project = copy_study(selected, tmp_path / "project")
    chips = tmp_path / "chips"
    shutil.copytree(new_chips, chips)
    predict = (*CONFIG, "--config", f"predict={{input: {chips}}}", "--", "predict")
    project.snakemake(*predict)
    shutil.rmtree(project.folder / ".snakemake")
    first, second = sorted(chips.glob("*.tif"))[:2]
    shutil.copy(second, first)
    for option in ("-n", "--touch"):
        output = project.snakemake(option, *predict, check=False).output
        plan = r"results/small/predictions/chips/plan-\w+\.json"
        assert re.search(f"found: made with other parameters or inputs: {plan}", output), option
    shutil.copy(sorted(new_chips.glob("*.tif"))[0], first)
    assert project.planned(*predict) == {}
    with (results(project) / "selected" / "conformal.csv").open("a") as file:
        file.write("\n")
    output = project.snakemake("-n", *CONFIG, "--", "select", check=False).output
    assert "found: changed since the results were made: results/small/selected/conformal.csv" in output


def test_chips_that_change_while_their_prediction_waits_are_not_mixed(selected, new_chips, tmp_path):
    chips = tmp_path / "chips"
    shutil.copytree(new_chips, chips)
    waiting = f"cp '{chips}/chip 02.tif' '{chips}/chip 01.tif'"
    other_cluster = {"PYTHONPATH": str(Path(__file__).parent / "other_cluster"), "BEFORE_A_JOB": waiting}
    project = Project(tmp_path / "project", other_cluster)
    for part in ("results", ".snakemake", "resources"):
        shutil.copytree(selected.folder / part, project.folder / part)
    config = project.write_config(TINY | {"predict": {"input": str(chips)}})
    start = ("--executor", "pretended", "--jobs", 1, "--configfile", config, "--", "predict")
    output = project.snakemake(*start, check=False).output
    assert "Chips were changed while they were predicted" in output
    assert "chip 01.tif" in output
    assert not (results(project) / "predictions" / "chips" / "predictions.parquet").exists()
    planned = project.planned(*start)
    assert {"plan_prediction", "predict_part", "join_predictions"} <= set(planned), "as they are then"


def test_chips_in_another_unit_stop_before_the_first_prediction(selected, tmp_path):
    import rasterio

    folder = tmp_path / "dn"
    folder.mkdir()
    spec = make_spec(**{key: TINY["dataset"][key] for key in ("classes", "bands")})
    for number, file in enumerate(sorted((selected.folder / "resources").rglob("*.tif"))[:5]):
        with rasterio.open(file) as source:
            profile = source.profile
        with rasterio.open(folder / f"{number}.tif", "w", **profile) as target:
            target.write(read_chip(file, spec) * 10_000)
    done = selected.module("predict", folder, "--study", "results/small", "--output", tmp_path / "out")
    assert done.returncode == 1
    assert "5 of 5 chips that were looked at cannot be used" in done.stderr
    assert "value" in done.stderr or "unit" in done.stderr


def test_prediction_without_chips_says_how_to_name_them(selected):
    done = selected.snakemake("-n", *CONFIG, "--", "predict", check=False)
    assert done.returncode != 0
    assert "predict={input: path/to/chips}" in done.output
