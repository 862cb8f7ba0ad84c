"""A trained run is loaded from its own files and predicts what it predicted."""

import json
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from helpers.tuned_runs import BANDS, IDENTITY, MLP, NAMES, RANDOM, logits, recipe_of, run
from terralucas.backbones.encoder import build_backbone
from terralucas.backbones.features import FeatureOptions, extract
from terralucas.data.normalisation import normaliser_of_index
from terralucas.errors import StudyError
from terralucas.training.frozen import FrozenLearner
from terralucas.training.run import Inputs, execute
from terralucas.training.trained_run import load_run

pytestmark = pytest.mark.slow

CENTER = IDENTITY | {"pooling": "center", "window": 2, "layers": [3, 12]}


def frozen_run(study, folder, decoder, kind, loss=None):
    """A run on stored features of the whole encoder, as rules extract_features and train_run make it."""
    index = pq.read_table(study / "chips.parquet")
    normaliser, record = normaliser_of_index(index, "dataset", BANDS, None)
    chips = [torch.from_numpy(normaliser(chip)) for chip in np.load(study / "chips.npy")]
    options = FeatureOptions(batch_size=8, workers=0, threads=1, precision="32", device="cpu")
    backbone = build_backbone("terramind_v1_tiny", BANDS, RANDOM)
    done = extract(backbone, chips, options, {kind: folder / "features.npy"})[kind]
    source = {"model": "terramind_v1_tiny", "weights": RANDOM, "bands": BANDS, "normalisation": record}
    (folder / "features.json").write_text(json.dumps(source | done))
    learner = partial(FrozenLearner, features=folder / "features.npy", record=folder / "features.json")
    settings = recipe_of(decoder, loss=loss)
    frozen = {key: value for key, value in settings.training.items() if key not in ("tuning", "end_to_end")}
    inputs = Inputs(study / "chips.parquet", study / "split.csv", "code")
    outputs = {key: folder / "run" / name for key, name in NAMES.items()}
    execute(
        type(settings)(**{**settings.__dict__, "training": frozen}),
        inputs, learner, outputs, {"checkpoint_interval_s": 600, "tensorboard": False},
    )  # fmt: skip
    return folder / "run"


def predicted_chips(study, folder):
    """The chips of a run's predictions, in their order."""
    ids = pq.read_table(folder / "predictions.parquet")["point_id"].to_pylist()
    return np.load(study / "chips.npy")[[int(name.split()[1]) for name in ids]]


LDAM = {"type": "ldam", "class_weights": "balanced", "max_margin": 0.5, "scale": 10.0, "drw_epoch": 2}


@pytest.mark.parametrize(
    "decoder, kind, loss",
    [
        (IDENTITY, "pooled", None),
        (MLP, "tokens", None),
        (CENTER, "tokens-3-12", None),
        (IDENTITY, "pooled", LDAM),
    ],
    ids=["identity", "mlp", "center of two layers", "normalised head"],
)
def test_a_frozen_run_predicts_the_logits_of_its_predictions(study, tmp_path, decoder, kind, loss):
    folder = frozen_run(study, tmp_path, decoder, kind, loss)
    found = load_run(folder)(predicted_chips(study, folder)).numpy()
    np.testing.assert_allclose(found, logits(folder), rtol=1e-4, atol=1e-5)
    assert np.ptp(found, axis=0).min() > 1e-3, "chips differ"


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_tuned_run_predicts_the_logits_of_its_predictions(study, tmp_path, tuning):
    folder = run(study, tmp_path / "run", recipe_of(MLP, training={"tuning": tuning, "epochs": 1}))
    np.testing.assert_allclose(load_run(folder)(predicted_chips(study, folder)), logits(folder), rtol=1e-4, atol=1e-5)


def test_it_knows_its_classes_bands_and_chips(study, tmp_path):
    loaded = load_run(frozen_run(study, tmp_path, IDENTITY, "pooled"))
    assert loaded.bands == BANDS
    assert loaded.classes == [{"code": str(label), "name": f"class {label}"} for label in range(3)]
    assert loaded.record["chip_side_px"] == 32
    assert not any(value.requires_grad for value in loaded.parameters())
    assert not loaded.training


def test_what_is_no_usable_run_is_refused(study, tmp_path):
    with pytest.raises(StudyError, match="no finished run"):
        load_run(tmp_path)
    folder = frozen_run(study, tmp_path, IDENTITY, "pooled")
    record = yaml.safe_load((folder / "run.yaml").read_text())

    def refused(words, **changes):
        (folder / "run.yaml").write_text(yaml.safe_dump(record | changes, sort_keys=False))
        with pytest.raises(StudyError, match=words):
            load_run(folder)

    refused("another version", schema_version=2)
    refused("no model to use", status="diverged", diverged="training loss nan")
    gone = {"source": "huggingface", "path": str(tmp_path / "gone.pt"), "sha256": "0" * 64}
    refused("gone or has changed", features=record["features"] | {"weights": gone})


def test_a_checkpoint_that_is_damaged_or_of_another_model_is_refused(study, tmp_path):
    folder = frozen_run(study, tmp_path, IDENTITY, "pooled")
    checkpoint = torch.load(folder / "model.ckpt", weights_only=True)
    bias = checkpoint["state_dict"]["head.head.2.bias"].numpy().tobytes()
    content = (folder / "model.ckpt").read_bytes()
    (folder / "model.ckpt").write_bytes(content.replace(bias, bias[::-1]))
    with pytest.raises(StudyError, match=r"model\.ckpt is damaged"):
        load_run(folder)
    checkpoint["state_dict"].pop("head.head.2.bias")
    torch.save(checkpoint, folder / "model.ckpt")
    with pytest.raises(StudyError, match=r"model\.ckpt is not the one that run\.yaml describes"):
        load_run(folder)
    # As a run of an earlier version.
    record = yaml.safe_load((folder / "run.yaml").read_text())
    del record["model_sha256"]
    (folder / "run.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    with pytest.raises(StudyError, match=r"missing head\.head\.2\.bias"):
        load_run(folder)
