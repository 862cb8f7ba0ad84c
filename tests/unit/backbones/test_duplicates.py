"""Two backbones under two names that have the same weights."""

import shutil

import pytest
import torch

from terralucas.backbones.duplicates import refuse_duplicates
from terralucas.backbones.encoder import MODALITY
from terralucas.backbones.terratorch_parts import terramind_registry
from terralucas.backbones.weights import obtain
from terralucas.errors import StudyError
from terralucas.files import write_json
from terralucas.stored import read_json

pytestmark = pytest.mark.slow

BANDS = ["RED", "GREEN", "BLUE"]


class Study:
    """Backbones of one model, their weights in the configuration and in records."""

    def __init__(self, folder):
        self.folder, self.weights = folder, {}

    def record(self, name):
        return self.folder / f"{name}.json"

    def random(self, name, seed):
        self.weights[name] = {"source": "random", "seed": seed}
        self.fetch(name)

    def file(self, name, state):
        torch.save(state, self.folder / f"{name}.pt")
        self.weights[name] = {"source": "file", "path": str(self.folder / f"{name}.pt"), "sha256": None}
        self.fetch(name)

    def fetch(self, name):
        write_json(self.record(name), obtain(self.weights[name], self.folder))

    def check(self, name, *others):
        others = {other: (self.record(other), self.weights[other]) for other in others}
        refuse_duplicates(name, read_json(self.record(name)), others, "terramind_v1_tiny", BANDS)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.fixture(scope="module")
def encoder():
    """All weights a checkpoint of the model must have."""
    torch.manual_seed(3)
    return terramind_registry().build("terramind_v1_tiny", modalities=[MODALITY], pretrained=False).state_dict()


def test_the_same_file_in_another_place_is_refused(study):
    study.file("a", {"x": torch.ones(3)})
    study.file("b", {"x": torch.zeros(3)})
    shutil.copy(study.folder / "b.pt", study.folder / "a.pt")
    study.fetch("a")
    with pytest.raises(StudyError, match="'a' and 'b' are one treatment"):
        study.check("a", "b")


def test_another_file_with_the_same_encoder_is_refused(study, encoder):
    study.file("a", encoder)
    study.file("b", {**encoder, "decoder.0.weight": torch.zeros(3)})
    with pytest.raises(StudyError, match=r"'a' and 'b' are one treatment(.|\n)*hold the same encoder"):
        study.check("a", "b")


def test_other_weights_and_weights_not_yet_there_pass(study, encoder):
    study.file("a", encoder)
    study.file("b", {**encoder, "encoder.11.mlp.fc2.weight": encoder["encoder.11.mlp.fc2.weight"] + 1e-6})
    study.random("c", 4)
    study.random("d", 5)
    study.record("d").unlink()
    study.check("a", "b", "c", "d")


def test_random_weights_are_the_same_for_the_same_seed(study):
    for name, seed in {"a": 1, "b": 2, "c": 1}.items():
        study.random(name, seed)
    study.check("a", "b")
    with pytest.raises(StudyError, match="'a' and 'c'"):
        study.check("a", "b", "c")


def test_records_of_what_the_configuration_said_before_are_passed_over(study, encoder):
    study.random("a", 2)
    study.random("b", 2)
    study.weights["b"]["seed"] = 1
    study.check("a", "b")
    study.file("c", encoder)
    study.file("d", encoder)
    torch.save({**encoder, "more": torch.ones(1)}, study.folder / "d.pt")
    study.check("c", "d")
    study.fetch("d")
    with pytest.raises(StudyError, match="'d' and 'c'"):
        study.check("d", "c")
