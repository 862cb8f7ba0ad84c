"""One run, from stored features to its five outputs."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from helpers.index_file import write_index_of
from terralucas import files
from terralucas.data.split_files import write_split
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.statistics.run_scores import evaluate
from terralucas.statistics.run_tables import read_run
from terralucas.training import run as run_module
from terralucas.training.frozen import FrozenLearner
from terralucas.training.run import Inputs, RunSettings, execute

pytestmark = pytest.mark.slow

N, CLASSES = 60, 3
NAMES = {
    "predictions": "predictions.parquet", "metrics": "metrics.json", "history": "history.csv", "model": "model.ckpt",
    "record": "run.yaml",
}  # fmt: skip
TRAINING = {
    "learning_rate": 0.01, "weight_decay": 0.05, "batch_size": 8, "epochs": 4, "drop_last": False,
    "monitor": "macro_accuracy", "precision": "auto", "device": "cpu", "threads": 1,
}  # fmt: skip


class Files(NamedTuple):
    chips: Path
    split: Path
    features: Path
    features_record: Path


@pytest.fixture
def inputs(tmp_path):
    random = np.random.default_rng(0)
    labels = np.arange(N) % CLASSES
    ids = [f"chip {index}" for index in range(N)]
    index = {
        "point_id": ids, "label": labels, "class_code": [str(label + 1) for label in labels],
        "class_name": [f"class {label}" for label in labels], "height": [32] * N,
    }  # fmt: skip
    write_index_of(tmp_path / "chips.parquet", index)
    write_split(tmp_path / "split.csv", ids, (["train"] * 3 + ["validation"] + ["test"]) * (N // 5))
    features = random.normal(size=(N, 5)).astype(np.float32)
    features[:, 0] += 3 * labels
    np.save(tmp_path / "pooled.npy", features)
    record = {
        "shape": [N, 5], "sha256": sha256_of_file(tmp_path / "pooled.npy"), "model": "m", "weights": {},
        "bands": ["RED"], "normalisation": {}, "precision": "32",
    }  # fmt: skip
    (tmp_path / "pooled.json").write_text(json.dumps(record))
    return Files(*(tmp_path / name for name in ("chips.parquet", "split.csv", "pooled.npy", "pooled.json")))


def run(inputs, folder, tensorboard=False, **training):
    recipe = RunSettings(
        backbone="tiny", loss="weighted_ce", decoder="identity", seed=0, n_classes=CLASSES,
        loss_setting={"type": "ce", "class_weights": "balanced", "reduction": "weighted_mean"},
        decoder_setting={"pooling": "mean", "hidden": None, "dropout": 0.1}, training=TRAINING | training,
    )  # fmt: skip
    bookkeeping = {"checkpoint_interval_s": 0, "tensorboard": tensorboard}
    learner = partial(FrozenLearner, features=inputs.features, record=inputs.features_record)
    outputs = {key: folder / name for key, name in NAMES.items()}
    execute(recipe, Inputs(inputs.chips, inputs.split, "code"), learner, outputs, bookkeeping)


def test_scores_are_those_of_the_saved_logits_and_the_saved_model(inputs, tmp_path):
    folder = tmp_path / "run"
    run(inputs, folder)
    result = read_run(folder)
    shown = json.loads((folder / "metrics.json").read_text())["test"]
    assert shown == pytest.approx({name: result.scores[name] for name in ("n", "macro_accuracy", "micro_accuracy")})

    table = pq.read_table(folder / "predictions.parquet").to_pandas()
    assert table["split"].value_counts().to_dict() == {"validation": 12, "test": 12}
    state = torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]
    rows = [int(name.split()[1]) for name in table["point_id"]]
    features = torch.from_numpy(np.load(inputs.features)[rows])
    logits = torch.nn.functional.linear(features, state["head.head.2.weight"], state["head.head.2.bias"]).numpy()
    np.testing.assert_allclose(np.stack(table["logits"]), logits, atol=1e-5)
    test = (table["split"] == "test").to_numpy()
    expected = evaluate(table["label"].to_numpy()[test], logits[test])["micro_accuracy"]
    assert result.scores["micro_accuracy"] == expected


def test_bookkeeping_changes_no_result(inputs, tmp_path):
    run(inputs, tmp_path / "a")
    run(inputs, tmp_path / "b", tensorboard=True)
    for name in ("predictions.parquet", "metrics.json", "history.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert list((tmp_path / "b" / "tensorboard").glob("events*"))
    fingerprints = [yaml.safe_load((tmp_path / x / "run.yaml").read_text())["fingerprint"] for x in "ab"]
    assert fingerprints[0] == fingerprints[1]


def test_a_finished_run_that_is_started_again_writes_the_same_without_training(inputs, tmp_path):
    """As happens to the other runs of a pack when one of them fails."""
    run(inputs, tmp_path / "run")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in NAMES.values() if name != "run.yaml"}
    for name in NAMES.values():
        (tmp_path / "run" / name).unlink()
    run(inputs, tmp_path / "run")
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before
    assert yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["resumed_after_epoch"] == 4


def test_an_earlier_run_is_not_deleted_by_a_job_whose_start_is_over(inputs, tmp_path, monkeypatch):
    """As one that SLURM had suspended, while another start finished its run with other settings."""
    run(inputs, tmp_path / "run")
    before = states(tmp_path / "run")

    def refuse():
        raise StudyError("the start is over")

    monkeypatch.setattr(files, "_checks", [refuse])
    with pytest.raises(StudyError, match="the start is over"):
        run(inputs, tmp_path / "run", learning_rate=0.02)
    assert states(tmp_path / "run") == before


def states(folder):
    return {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in NAMES.values()}


def test_a_job_for_a_finished_run_touches_nothing(inputs, tmp_path):
    """As one does that waited in the queue of a cluster while another job finished the run."""
    run(inputs, tmp_path / "run")
    before = states(tmp_path / "run")
    run(inputs, tmp_path / "run")
    assert states(tmp_path / "run") == before


@pytest.mark.parametrize("step", ["_train", "_predict"])
def test_a_job_leaves_alone_what_another_job_finished_meanwhile(inputs, tmp_path, monkeypatch, step):
    """As SLURM starts one where the node of the first does not answer, though its processes go on."""
    run(inputs, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    for name in NAMES.values():
        (tmp_path / "run" / name).unlink()
    work, found = getattr(run_module, step), {}

    def work_while_another_finishes(*arguments):
        outcome = work(*arguments)
        for name in NAMES.values():
            (tmp_path / "other" / name).rename(tmp_path / "run" / name)
        found.update(states(tmp_path / "run"))
        return outcome

    monkeypatch.setattr(run_module, step, work_while_another_finishes)
    run(inputs, tmp_path / "run")
    assert states(tmp_path / "run") == found


@pytest.mark.parametrize("damage", ["other settings", "other predictions"])
def test_files_that_are_not_of_this_run_are_made_anew(inputs, tmp_path, damage):
    run(inputs, tmp_path / "fresh")
    run(inputs, tmp_path / "run", **({"learning_rate": 0.02} if damage == "other settings" else {}))
    if damage == "other predictions":
        (tmp_path / "run" / "predictions.parquet").write_bytes(b"half")
    run(inputs, tmp_path / "run")
    for name in ("predictions.parquet", "metrics.json", "history.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_damaged_features_are_refused(inputs, tmp_path):
    content = bytearray(inputs.features.read_bytes())
    content[-1] ^= 1
    inputs.features.write_bytes(content)
    with pytest.raises(StudyError, match="is not what was written"):
        run(inputs, tmp_path / "run")
    inputs.features.write_bytes(content[:100])
    with pytest.raises(StudyError, match="is not what was written"):
        run(inputs, tmp_path / "run")


@pytest.mark.parametrize("file", ["predictions.parquet", "history.csv"])
def test_files_that_are_not_the_runs_are_refused(inputs, tmp_path, file):
    run(inputs, tmp_path / "a")
    run(inputs, tmp_path / "b", learning_rate=0.02)
    read_run(tmp_path / "a")
    (tmp_path / "a" / file).write_bytes((tmp_path / "b" / file).read_bytes())
    with pytest.raises(StudyError, match=rf"The file {file} in \S* is not the one that its run\.yaml describes"):
        read_run(tmp_path / "a")
    # A job for the same run trains it again.
    run(inputs, tmp_path / "a")
    read_run(tmp_path / "a")


def test_a_run_that_diverges_leaves_a_record_that_says_so_and_no_predictions(inputs, tmp_path):
    features = np.load(inputs.features)
    features[0] = np.inf
    np.save(inputs.features, features)
    record = json.loads(inputs.features_record.read_text())
    inputs.features_record.write_text(json.dumps(record | {"sha256": sha256_of_file(inputs.features)}))
    run(inputs, tmp_path / "run")
    found = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert found["status"] == "diverged"
    assert "in epoch 1, step" in found["diverged"]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["status"] == "diverged"
    assert pq.read_table(tmp_path / "run" / "predictions.parquet").num_rows == 0
    assert (tmp_path / "run" / "history.csv").read_text().startswith("epoch,train_loss")
