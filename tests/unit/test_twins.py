"""Two backbones under two names that have the same weights."""

from functools import partial

import pytest
import torch

from terralucas.backbone import MODALITY
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file, write_json
from terralucas.twins import refuse_twins as refuse

BANDS = ["RED", "GREEN", "BLUE"]
refuse_twins = partial(refuse, model="terramind_v1_tiny", bands=BANDS)


def record(folder, name, **content):
    write_json(folder / f"{name}.json", {"path": f"/weights/{name}.pt", "source": "file", **content})
    return folder / f"{name}.json"


@pytest.fixture(scope="module")
def encoder():
    """All weights a checkpoint of the model must have."""
    from terratorch.registry import BACKBONE_REGISTRY

    torch.manual_seed(3)
    return BACKBONE_REGISTRY.build("terramind_v1_tiny", modalities=[MODALITY], pretrained=False).state_dict()


def saved(folder, name, state):
    """A checkpoint and its record."""
    torch.save(state, folder / f"{name}.pt")
    sha256 = sha256_of_file(folder / f"{name}.pt")
    return record(folder, name, path=str(folder / f"{name}.pt"), sha256=sha256)


def test_the_same_file_in_another_place_is_refused(tmp_path):
    own, other = record(tmp_path, "a", sha256="12"), record(tmp_path, "b", sha256="12")
    with pytest.raises(StudyError, match="'a' and 'b' are one treatment"):
        refuse_twins("a", own, {"b": other})


def test_another_file_with_the_same_encoder_is_refused(tmp_path, encoder):
    own = saved(tmp_path, "a", encoder)
    other = saved(tmp_path, "b", {**encoder, "decoder.0.weight": torch.zeros(3)})
    with pytest.raises(StudyError, match=r"'a' and 'b' are one treatment(.|\n)*hold the same encoder"):
        refuse_twins("a", own, {"b": other})


def test_other_weights_and_weights_not_yet_there_pass(tmp_path, encoder):
    changed = {**encoder, "encoder.11.mlp.fc2.weight": encoder["encoder.11.mlp.fc2.weight"] + 1e-6}
    own, others = saved(tmp_path, "a", encoder), {"b": saved(tmp_path, "b", changed), "c": tmp_path / "c.json"}
    refuse_twins("a", own, others | {"random": record(tmp_path, "random", source="random", seed=4, sha256=None)})


def test_random_weights_are_the_same_for_the_same_seed(tmp_path):
    names = {"a": 1, "b": 2, "c": 1}
    paths = {name: record(tmp_path, name, source="random", seed=seed, sha256=None) for name, seed in names.items()}
    refuse_twins("a", paths["a"], {"b": paths["b"]})
    with pytest.raises(StudyError, match="'a' and 'c'"):
        refuse_twins("a", paths["a"], {"c": paths["c"]})
