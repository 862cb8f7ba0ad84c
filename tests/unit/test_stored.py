"""Damaged files of earlier jobs: an error with what was found, what was expected and what to delete."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from terralucas.data.index_file import INDEX_SCHEMA, read_index, read_index_table
from terralucas.data.split_files import read_split, write_split
from terralucas.errors import StudyError
from terralucas.predictions import read_predictions
from terralucas.stored import read_json, read_parquet, read_yaml, reading
from terralucas.study.registration import read_registrations
from terralucas.tables.tidy_csv import read_table
from terralucas.training.trained_run import read_record


@pytest.fixture
def index(tmp_path):
    """An index of 300 chips."""
    number = 300
    columns = {
        "point_id": [str(n) for n in range(number)],
        "label": np.arange(number) % 2,
        "band_mean": [list(np.random.default_rng(n).random(6)) for n in range(number)],
    }
    path = tmp_path / "chips.parquet"
    table = pd.DataFrame({name: columns.get(name, [None] * number) for name in INDEX_SCHEMA.names})
    pq.write_table(pa.Table.from_pandas(table, schema=INDEX_SCHEMA, preserve_index=False), path)
    return path


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_pages(path):
    content = bytearray(path.read_bytes())
    content[10:3000] = bytes(2990)
    path.write_bytes(content)


def lose_a_column(path):
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["label"]), path)


def lose_all_rows(path):
    pq.write_table(pq.read_table(path).slice(0, 0), path)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        damage_pages,
        lose_a_column,
        lose_all_rows,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("point_id,label"),
        lambda path: pq.write_table(pa.table({"a": [1]}), path),
    ],
)
def test_a_damaged_index_is_an_error_that_names_the_file_to_delete(index, damage):
    assert len(read_index(index)) == len(read_index_table(index, ["point_id", "label"])) == 300
    damage(index)
    for read in (read_index, lambda path: read_index_table(path, ["point_id", "label"])):
        with pytest.raises(StudyError) as error:
            read(index)
        assert str(index) in error.value.problem
        assert f"delete {index} and start the study again" in error.value.remedy
        assert error.value.found
        assert error.value.expected


def test_a_missing_file_stays_an_error_of_the_disk(tmp_path):
    for read in (read_index, read_parquet, read_json, read_yaml, read_table):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none")


@pytest.mark.parametrize("text", ["", '{"root": "/da', "[1]", "\0\0\0", '{"root": 1}'])
def test_damaged_json_and_yaml_are_errors_that_name_the_file(tmp_path, text):
    path = tmp_path / "retrieval.json"
    path.write_text(text)
    for read in (read_json, read_yaml):
        with pytest.raises(StudyError, match=str(path)) as error:
            read(path, "root", "source")
        assert error.value.expected.endswith("file with root, source")
        assert error.value.remedy.startswith(f"delete {path} and start the study again")
    path.write_text(json.dumps({"root": 1, "source": 2}))
    assert read_json(path, "root", "source") == read_yaml(path, "root", "source") == {"root": 1, "source": 2}


def test_a_damaged_record_of_a_run_asks_for_its_folder(tmp_path):
    (tmp_path / "run.yaml").write_text("schema_version: [")
    with pytest.raises(StudyError) as error:
        read_record(tmp_path)
    assert f"delete the folder {tmp_path} and" in error.value.remedy


def test_a_damaged_record_of_the_plan_is_not_to_be_deleted_lightly(tmp_path):
    (tmp_path / "registration.json").write_text("[{")
    with pytest.raises(StudyError) as error:
        read_registrations(tmp_path / "registration.json")
    assert error.value.remedy.startswith("restore a copy")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "schema_version,a\n1,2\n3,4,5,6\n"])
def test_a_damaged_table_is_an_error(tmp_path, text):
    (tmp_path / "summary.csv").write_text(text)
    with pytest.raises(StudyError, match="is damaged"):
        read_table(tmp_path / "summary.csv")


@pytest.mark.parametrize("text", ["", "point_id,split\na,train\nb", "point_id,split\na,train\nb,te", "a,b\nb,test\n"])
def test_a_damaged_split_is_an_error(tmp_path, text):
    path = tmp_path / "seed-0.csv"
    write_split(path, ["a", "b"], ["train", "test"])
    assert read_split(path, ["a", "b"]).tolist() == ["train", "test"]
    path.write_text(text)
    with pytest.raises(StudyError, match="is damaged") as error:
        read_split(path, ["a", "b"])
    assert f"delete {path}" in error.value.remedy


def test_predictions_without_a_column_are_an_error(tmp_path):
    pq.write_table(pa.table({"point_id": ["a"]}), tmp_path / "predictions.parquet")
    with pytest.raises(StudyError, match="cannot be read") as error:
        read_predictions(tmp_path / "predictions.parquet")
    assert error.value.found == "no column label, logits, split"


@pytest.mark.parametrize("lost", [1, 50, 999])
def test_arrays_that_lack_bytes_are_damaged_in_words(tmp_path, lost):
    """zipfile then raises an error of the system and none of its own."""
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(9000), b=np.arange(5000))
    data = path.read_bytes()
    path.write_bytes(data[:40_000] + data[40_000 + lost :])
    with pytest.raises(StudyError, match="is damaged"), reading(path, "arrays"), np.load(path) as arrays:
        np.sum(arrays["a"])
