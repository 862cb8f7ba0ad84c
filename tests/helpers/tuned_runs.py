"""Tuned runs on small chips, with the first two blocks of TerraTorch's real tiny encoder at random weights."""

import hashlib
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from helpers.index_file import write_index_of
from terralucas.backbones.encoder import build_backbone
from terralucas.data.chips.chip_content import read_unchanged
from terralucas.data.normalisation import PRETRAINING_STATISTICS_DN
from terralucas.data.packed_chips import pack_chips
from terralucas.data.split_files import write_split
from terralucas.files import write_json
from terralucas.training.run import Inputs, RunSettings, execute
from terralucas.training.tuned import TunedInputs, TunedLearner

N, CLASSES, SIDE = 30, 3, 32
BANDS = ["RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2"]
RANDOM = {"source": "random", "seed": 5, "path": None, "sha256": None}
NAMES = {
    "predictions": "predictions.parquet", "metrics": "metrics.json", "history": "history.csv", "model": "model.ckpt",
    "record": "run.yaml",
}  # fmt: skip
LORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["qkv.q_linear", "qkv.v_linear", "mlp.fc1"]}
END_TO_END = {
    "backbone_learning_rate": None, "warmup_epochs": 0, "schedule": "none", "clip_norm": None, "accumulate": 1,
    "early_stopping_patience": None, "ema_decay": None, "compile": False,
    "augmentation": {"flips_and_rotations": False, "brightness": 0.0}, "lora": LORA,
}  # fmt: skip
TRAINING = {
    "learning_rate": 0.001, "weight_decay": 0.05, "batch_size": 4, "epochs": 3, "drop_last": False,
    "monitor": "macro_accuracy", "precision": "32", "device": "cpu", "threads": 1, "tuning": "full",
}  # fmt: skip
IDENTITY = {"pooling": "mean", "layers": None, "hidden": None, "dropout": 0.1}
MLP = IDENTITY | {"pooling": "tokens", "hidden": "embedding"}


def shallow(*arguments):
    """`build_backbone` without all but two blocks, for tests that do not wait."""
    backbone = build_backbone(*arguments)
    backbone.encoder.encoder = backbone.encoder.encoder[:2]
    return backbone


def watched(before):
    """`shallow` whose first block calls `before` ahead of each pass: where memory ends, or a process is killed.

    Args:
        before: of (whether it trains, tokens (n, tokens, D)); what it returns, if anything, takes the tokens' place.
    """

    def build(*arguments):
        backbone = shallow(*arguments)
        backbone.encoder.encoder[0].register_forward_pre_hook(lambda block, given: before(block.training, given[0]))
        return backbone

    return build


def make_study(folder):
    """Chips whose near infrared tells their class, with one missing pixel."""
    random = np.random.default_rng(0)
    labels = np.arange(N) % CLASSES
    scale = np.array([PRETRAINING_STATISTICS_DN[band] for band in BANDS]) / 10_000
    chips = scale[:, :1, None] + 0.3 * scale[:, 1:, None] * random.normal(size=(N, 6, SIDE, SIDE))
    chips[:, 3] += 0.1 * labels[:, None, None]
    chips = chips.astype(np.float32)
    chips[0, 0, 0, 0] = np.nan
    files = [f"{index}.bin" for index in range(N)]
    sums = []
    for name, chip in zip(files, chips, strict=True):
        (folder / name).write_bytes(chip.tobytes())
        sums.append(hashlib.sha256(chip.tobytes()).hexdigest())

    def read(path, sha256):
        return np.frombuffer(read_unchanged(path, sha256).data, np.float32).reshape(6, SIDE, SIDE)

    write_json(folder / "packed.json", pack_chips(folder, files, sums, read, 2, folder / "packed.npy"))
    mean = np.nanmean(chips, axis=(2, 3), dtype=np.float64)
    m2 = np.nansum((chips - mean[..., None, None]) ** 2, axis=(2, 3), dtype=np.float64)
    ids = [f"chip {index}" for index in range(N)]
    index = {
        "point_id": ids, "label": labels, "class_code": [str(label) for label in labels],
        "class_name": [f"class {label}" for label in labels], "height": [SIDE] * N, "sha256": sums,
        "valid_pixels": (~np.isnan(chips)).sum(axis=(2, 3)).tolist(),
        "band_mean": mean.tolist(), "band_m2": m2.tolist(),
    }  # fmt: skip
    write_index_of(folder / "chips.parquet", index)
    write_split(folder / "split.csv", ids, (["train"] * 3 + ["validation"] + ["test"]) * (N // 5))
    np.save(folder / "chips.npy", chips)
    return folder


def make_uneven(study, folder):
    """The same chips, most of them of one class."""
    shutil.copytree(study, folder, dirs_exist_ok=True)
    index = pq.read_table(folder / "chips.parquet")
    labels = pa.array((np.arange(N) % 6 // 3 * (1 + np.arange(N) % 2)).astype(np.int64))
    pq.write_table(index.set_column(index.column_names.index("label"), "label", labels), folder / "chips.parquet")
    return folder


def recipe_of(decoder=IDENTITY, seed=0, training=None, loss=None, **changes):
    settings = END_TO_END | changes
    return RunSettings(
        backbone="tiny", loss="ce", decoder="identity", seed=seed, n_classes=CLASSES,
        loss_setting=loss or {"type": "ce", "class_weights": "balanced", "reduction": "weighted_mean"},
        decoder_setting=decoder, training=TRAINING | (training or {}) | {"end_to_end": settings},
    )  # fmt: skip


def inputs_of(study, **changes):
    inputs = TunedInputs(
        study / "chips.parquet", study / "packed.npy", study / "packed.json", RANDOM, "terramind_v1_tiny", BANDS,
        "dataset",
    )  # fmt: skip
    return replace(inputs, **changes)


def run(study, folder, recipe=None, workers=0, lower_batch_on_oom=False, interval=0, **inputs):
    learner = partial(
        TunedLearner, inputs=inputs_of(study, **inputs), workers=workers, lower_batch_on_oom=lower_batch_on_oom
    )
    outputs = {key: folder / name for key, name in NAMES.items()}
    bookkeeping = {"checkpoint_interval_s": interval, "tensorboard": False}
    execute(
        recipe or recipe_of(),
        Inputs(study / "chips.parquet", study / "split.csv", "code"),
        learner,
        outputs,
        bookkeeping,
    )
    return folder


def record(folder):
    return yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))


def history(folder):
    return pd.read_csv(folder / "history.csv")


def losses(folder):
    return history(folder)["train_loss"]


def logits(folder):
    return np.stack(pq.read_table(folder / "predictions.parquet")["logits"].to_pylist())


def weights(folder):
    return torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]


def assert_same_files(a, b):
    for name in ("predictions.parquet", "history.csv", "model.ckpt"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def assert_same_to_rounding(a, b):
    np.testing.assert_allclose(losses(a), losses(b), rtol=1e-4)
    for name, value in weights(a).items():
        torch.testing.assert_close(weights(b)[name], value, rtol=1e-4, atol=1e-5)
