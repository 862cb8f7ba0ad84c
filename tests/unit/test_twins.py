"""Two backbones under two names that have the same weights."""

import pytest

from terralucas.errors import StudyError
from terralucas.files import write_json
from terralucas.twins import refuse_twins


def record(folder, name, **content):
    write_json(folder / f"{name}.json", {"path": f"/weights/{name}.pt", "source": "file", **content})
    return folder / f"{name}.json"


def test_the_same_file_in_another_place_is_refused(tmp_path):
    own, other = record(tmp_path, "a", sha256="12"), record(tmp_path, "b", sha256="12")
    with pytest.raises(StudyError, match="'a' and 'b' are one treatment"):
        refuse_twins("a", own, {"b": other})


def test_other_weights_and_weights_not_yet_there_pass(tmp_path):
    own, other = record(tmp_path, "a", sha256="12"), record(tmp_path, "b", sha256="34")
    refuse_twins("a", own, {"b": other, "c": tmp_path / "c.json"})


def test_random_weights_are_the_same_for_the_same_seed(tmp_path):
    names = {"a": 1, "b": 2, "c": 1}
    paths = {name: record(tmp_path, name, source="random", seed=seed, sha256=None) for name, seed in names.items()}
    refuse_twins("a", paths["a"], {"b": paths["b"]})
    with pytest.raises(StudyError, match="'a' and 'c'"):
        refuse_twins("a", paths["a"], {"c": paths["c"]})
