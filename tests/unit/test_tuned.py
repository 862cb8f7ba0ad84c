"""Tuned runs, with the first two blocks of TerraTorch's real tiny encoder at random weights on small chips."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from terralucas import end_to_end, runs, tuned
from terralucas.backbone import build_backbone
from terralucas.decoders import DecoderModel, read_by
from terralucas.errors import StudyError, Terminated
from terralucas.features import FeatureOptions, extract
from terralucas.files import write_json
from terralucas.frozen import FrozenLearner
from terralucas.kinds import kind_of_features
from terralucas.normalisation import PRETRAINING_STATISTICS_DN, Normaliser, normaliser_of_index
from terralucas.packed_chips import Augmentation, Batch, PackedChips, pack_chips
from terralucas.runs import Inputs, Recipe, execute
from terralucas.sidecar import Sidecar
from terralucas.splits import write_split
from terralucas.tuned import TunedInputs, TunedLearner

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
    "augmentation": {"flips": False, "brightness": 0.0}, "lora": LORA,
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


@pytest.fixture(scope="module", autouse=True)
def shallow_backbones():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuned, "build_backbone", shallow)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Chips whose near infrared tells their class, with one missing pixel."""
    folder = tmp_path_factory.mktemp("study")
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
    decode = lambda data: np.frombuffer(data, np.float32).reshape(6, SIDE, SIDE)  # noqa: E731
    write_json(folder / "packed.json", pack_chips(folder, files, sums, decode, 2, folder / "packed.npy"))
    mean = np.nanmean(chips, axis=(2, 3), dtype=np.float64)
    m2 = np.nansum((chips - mean[..., None, None]) ** 2, axis=(2, 3), dtype=np.float64)
    ids = [f"chip {index}" for index in range(N)]
    index = {
        "point_id": ids, "label": labels, "sha256": sums, "valid_pixels": (~np.isnan(chips)).sum(axis=(2, 3)).tolist(),
        "band_mean": mean.tolist(), "band_m2": m2.tolist(),
    }  # fmt: skip
    pq.write_table(pa.table(index), folder / "chips.parquet")
    write_split(folder / "split.csv", ids, (["train"] * 3 + ["validation"] + ["test"]) * (N // 5))
    np.save(folder / "chips.npy", chips)
    return folder


def recipe_of(decoder=IDENTITY, seed=0, training=None, loss=None, **changes):
    settings = END_TO_END | changes
    return Recipe(
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


@pytest.fixture(scope="module")
def full(study, tmp_path_factory):
    return run(study, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def lora(study, tmp_path_factory):
    return run(study, tmp_path_factory.mktemp("lora"), recipe_of(training={"tuning": "lora"}))


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


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_learns_and_repeats_bit_for_bit_whoever_reads(study, tmp_path, full, lora, tuning):
    first = {"full": full, "lora": lora}[tuning]
    assert losses(first).is_monotonic_decreasing
    run(study, tmp_path, recipe_of(training={"tuning": tuning}), workers=1)
    assert_same_files(first, tmp_path)


def test_another_seed_gives_other_numbers(study, tmp_path, full):
    run(study, tmp_path, recipe_of(seed=1))
    assert not losses(tmp_path).equals(losses(full))


@pytest.mark.parametrize("decoder", [IDENTITY, MLP], ids=["identity", "mlp"])
def test_a_full_model_moves_to_terratorch_and_predicts_the_same(study, tmp_path, full, decoder):
    """TerraTorch's own model, built by its factory as the original experiment did."""
    from terratorch.models import EncoderDecoderFactory

    folder = full if decoder is IDENTITY else run(study, tmp_path, recipe_of(decoder, training={"epochs": 1}))
    model = EncoderDecoderFactory().build_model(
        task="classification", backbone="terramind_v1_tiny", backbone_modalities=["S2L2A"],
        backbone_bands={"S2L2A": BANDS}, backbone_pretrained=False,
        necks=[{"name": "SelectIndices", "indices": [-1]}, {"name": "ReshapeTokensToImage", "remove_cls_token": False}],
        decoder="IdentityDecoder" if decoder is IDENTITY else "MLPDecoder", head_dropout=0.1, num_classes=CLASSES,
    )  # fmt: skip
    model.encoder.encoder = model.encoder.encoder[:2]
    model.load_state_dict(weights(folder), strict=True)
    statistics = record(folder)["features"]["normalisation"]
    chips = np.load(study / "chips.npy")
    mean, std = (np.array([statistics[name][band] for band in BANDS])[:, None, None] for name in ("mean", "std"))
    chips = np.where(np.isnan(chips), mean, chips)
    ids = pq.read_table(folder / "predictions.parquet")["point_id"].to_pylist()
    shown = [int(name.split()[1]) for name in ids]
    with torch.inference_mode():
        expected = model.eval()(torch.from_numpy(((chips - mean) / std)[shown].astype(np.float32))).output
    np.testing.assert_allclose(logits(folder), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(("decoder", "kind"), [(IDENTITY, "pooled"), (MLP, "tokens")], ids=["identity", "mlp"])
def test_a_backbone_that_does_not_move_gives_the_numbers_of_a_frozen_run(study, tmp_path, decoder, kind):
    """The same batches, initial weights, dropout and optimiser, through stored features and the plain loop."""
    training = {"weight_decay": 0.0, "epochs": 2}
    ours = run(study, tmp_path / "tuned", recipe_of(decoder, training=training, backbone_learning_rate=1e-30))
    index = pq.read_table(study / "chips.parquet")
    normaliser, _ = normaliser_of_index(index, "dataset", BANDS, None)
    chips = [torch.from_numpy(normaliser(chip)) for chip in np.load(study / "packed.npy")]
    backbone = shallow("terramind_v1_tiny", BANDS, RANDOM)
    options = FeatureOptions(batch_size=5, workers=0, threads=1, precision="32", device="cpu")
    torch.set_float32_matmul_precision("highest")
    done = extract(backbone, chips, options, kind, tmp_path / "features.npy")
    made_of = dict.fromkeys(("model", "weights", "normalisation"), "")
    write_json(tmp_path / "features.json", done | made_of)
    learner = partial(FrozenLearner, features=tmp_path / "features.npy", record=tmp_path / "features.json")
    outputs = {key: tmp_path / name for key, name in NAMES.items()}
    inputs = Inputs(study / "chips.parquet", study / "split.csv", "code")
    bookkeeping = {"checkpoint_interval_s": 0, "tensorboard": False}
    execute(recipe_of(decoder, training=training), inputs, learner, outputs, bookkeeping)
    np.testing.assert_allclose(history(ours), history(tmp_path), rtol=1e-3)
    np.testing.assert_allclose(logits(ours), logits(tmp_path), atol=1e-3)


def test_lora_trains_adapters_and_decoder_and_leaves_the_backbone_as_it_was(study, lora):
    state = weights(lora)
    assert {name.split(".")[0] for name in state} == {"encoder", "head"}
    adapters = {name for name in state if "lora_" in name}
    assert adapters == {name for name in state if name.startswith("encoder.")}
    assert all(state[name].abs().max() > 0 for name in adapters if "lora_B" in name), "B is zero at the start"
    # Two blocks of width 192, rank 4: q and v of 192 to 192, fc1 of 192 to 768; and a head of 192 to 3.
    assert record(lora)["trained_parameters"] == 2 * 4 * (2 * (192 + 192) + 192 + 768) + 193 * CLASSES

    untouched, merged = (shallow("terramind_v1_tiny", BANDS, RANDOM).encoder for _ in range(2))
    with torch.no_grad():
        for number, block in enumerate(merged.encoder):
            prefix = f"encoder.base_model.model.encoder.{number}"
            b_a = {
                name: state[f"{prefix}.{name}.lora_B.default.weight"] @ state[f"{prefix}.{name}.lora_A.default.weight"]
                for name in ("attn.qkv.q_linear", "attn.qkv.v_linear", "mlp.fc1")
            }
            # alpha / rank is 2.
            block.attn.qkv.weight[:192] += 2.0 * b_a["attn.qkv.q_linear"]
            block.attn.qkv.weight[384:] += 2.0 * b_a["attn.qkv.v_linear"]
            block.mlp.fc1.weight += 2.0 * b_a["mlp.fc1"]
    chips = torch.from_numpy(normalised(study, lora))
    head = torch.nn.Linear(192, CLASSES)
    head.load_state_dict({name: state[f"head.head.2.{name}"] for name in ("weight", "bias")})
    with torch.inference_mode():
        np.testing.assert_allclose(logits(lora), head(merged(chips)[-1].mean(dim=1)).numpy(), atol=1e-4)
        assert not np.allclose(logits(lora), head(untouched(chips)[-1].mean(dim=1)).numpy(), atol=1e-2)


@pytest.mark.parametrize(
    "decoder",
    [
        IDENTITY, MLP, IDENTITY | {"layers": [1, 2]}, MLP | {"layers": [1, 2]}, IDENTITY | {"pooling": "attention"},
        IDENTITY | {"pooling": "center", "window": 1},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("scale", [None, 30.0], ids=["linear", "cosine"])
def test_a_model_scores_chips_as_the_decoder_of_a_frozen_run_scores_features(tmp_path, decoder, scale):
    backbone = shallow("terramind_v1_tiny", BANDS, RANDOM)
    model = tuned.TunedModel(backbone.encoder, decoder, backbone.embedding, CLASSES, scale).eval()
    chips = torch.randn(4, 6, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    kind = kind_of_features(decoder)
    options = FeatureOptions(batch_size=4, workers=0, threads=1, precision="32", device="cpu")
    extract(backbone, list(chips), options, kind, tmp_path / "features.npy")
    features = torch.from_numpy(np.load(tmp_path / "features.npy"))
    if features.dim() == 3:
        features = read_by(decoder, features)
    alone = DecoderModel(decoder, features.shape[-1], CLASSES, scale).eval()
    alone.load_state_dict({name: v for name, v in model.state_dict().items() if not name.startswith("encoder.")})
    with torch.inference_mode():
        torch.testing.assert_close(model(chips), alone(features), rtol=1e-4, atol=1e-5)


def test_a_loss_that_changes_with_the_epoch_is_told_of_it(study, tmp_path, monkeypatch):
    ldam = {"type": "ldam", "max_margin": 0.5, "scale": 30.0, "class_weights": "balanced", "drw_epoch": 2}
    told = []
    monkeypatch.setattr(end_to_end, "start_epoch", lambda loss, epoch: told.append((type(loss).__name__, epoch)))
    run(study, tmp_path, recipe_of(loss=ldam))
    assert told == [("LdamLoss", 1), ("LdamLoss", 2), ("LdamLoss", 3)]
    assert "head.head.2.bias" not in weights(tmp_path), "a normalised head has none"


def normalised(study, folder):
    statistics = record(folder)["features"]["normalisation"]
    mean, std = (np.array([statistics[name][band] for band in BANDS])[:, None, None] for name in ("mean", "std"))
    chips = np.load(study / "chips.npy")
    ids = pq.read_table(folder / "predictions.parquet")["point_id"].to_pylist()
    chips = np.where(np.isnan(chips), mean, chips)[[int(name.split()[1]) for name in ids]]
    return ((chips - mean) / std).astype(np.float32)


OPTIONS = [
    {"backbone_learning_rate": 1e-5}, {"warmup_epochs": 1}, {"schedule": "cosine"}, {"clip_norm": 0.01},
    {"accumulate": 2}, {"ema_decay": 0.9}, {"augmentation": {"flips": True, "brightness": 0.0}},
    {"augmentation": {"flips": False, "brightness": 0.3}},
    *({"lora": LORA | change} for change in (
        {"rank": 2}, {"alpha": 16}, {"dropout": 0.0}, {"target_modules": ["attn.proj"]},
    )),
]  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_changes_what_is_learned(study, tmp_path, full, lora, option):
    tuning = "lora" if "lora" in option else "full"
    run(study, tmp_path, recipe_of(training={"tuning": tuning, "epochs": 1}, **option))
    without = {"full": full, "lora": lora}[tuning]
    assert not history(tmp_path).equals(history(without)[:1])


def test_precision_changes_what_is_learned(study, tmp_path, full):
    for precision in ("bf16-mixed", "16-mixed"):
        run(study, tmp_path / precision, recipe_of(training={"precision": precision, "epochs": 2}))
        assert record(tmp_path / precision)["precision"] == precision
        assert losses(tmp_path / precision).is_monotonic_decreasing
        assert not losses(tmp_path / precision).equals(losses(full)[:2])


@pytest.fixture
def plain_descent(monkeypatch):
    """Steps in proportion to gradients; AdamW's first ones only follow signs, which rounding turns near zero."""
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, weight_decay: torch.optim.SGD(groups))


def assert_same_to_rounding(a, b):
    np.testing.assert_allclose(losses(a), losses(b), rtol=1e-4)
    for name, value in weights(a).items():
        torch.testing.assert_close(weights(b)[name], value, rtol=1e-4, atol=1e-5)


def test_accumulated_batches_make_the_step_of_one_large_batch(study, tmp_path, plain_descent):
    still, rate = IDENTITY | {"dropout": 0.0}, {"learning_rate": 0.01, "epochs": 2}
    large = run(study, tmp_path / "large", recipe_of(still, training=rate | {"batch_size": 8}))
    small = run(study, tmp_path / "small", recipe_of(still, training=rate, accumulate=2))
    # 18 chips: two whole steps, and one of the two chips that are left. All class weights are one.
    assert_same_to_rounding(small, large)


def test_an_average_that_forgets_at_once_is_the_weights_themselves(study, tmp_path, full):
    assert_same_files(full, run(study, tmp_path, recipe_of(ema_decay=0.0)))


def test_training_stops_when_validation_does_not_improve(study, tmp_path, monkeypatch):
    scores = iter([0.3, 0.6, 0.5, 0.6, 0.9, 1.0])
    row = lambda value, logits, labels: {  # noqa: E731
        "validation_loss": 1.0, "validation_nll": 1.0, "validation_macro_accuracy": next(scores),
        "validation_micro_accuracy": 0.5,
    }  # fmt: skip
    monkeypatch.setattr(end_to_end, "validation_row", row)
    recipe = recipe_of(training={"epochs": 6}, early_stopping_patience=2)
    run(study, tmp_path, recipe)
    assert (record(tmp_path)["epochs"], record(tmp_path)["best_epoch"]) == (4, 2)
    run(study, tmp_path, recipe)
    assert record(tmp_path)["resumed_after_epoch"] == 4, "nothing is left to do"


@pytest.mark.parametrize(("warmup", "kind"), [(0, "none"), (0, "cosine"), (1.5, "none"), (1.5, "cosine")])
def test_the_schedule_is_that_of_torch(warmup, kind):
    """Against LinearLR, CosineAnnealingLR and SequentialLR of torch."""
    from torch.optim import lr_scheduler

    steps, epochs, rise = 10, 4, int(10 * warmup)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    if kind == "cosine":
        after = lr_scheduler.CosineAnnealingLR(optimiser, steps * epochs - rise)
    else:
        after = lr_scheduler.ConstantLR(optimiser, factor=1.0)
    expected = after
    if rise:
        before = lr_scheduler.LinearLR(optimiser, 1 / rise, 1.0, rise - 1)
        expected = lr_scheduler.SequentialLR(optimiser, [before, after], [rise])
    options = end_to_end.EndToEndOptions.of(END_TO_END | {"warmup_epochs": warmup, "schedule": kind})
    factor = end_to_end.schedule(options, steps, epochs)
    for step in range(steps * epochs):
        assert factor(step) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-9), step
        optimiser.step()
        expected.step()


class KilledError(Exception):
    """Stands for a kill."""


def interrupt(monkeypatch, call, ending):
    """Raise in the given training step, counted from 1 over all epochs (five in each)."""
    original, calls = end_to_end.EndToEnd.training_step, []

    def step(self, batch, number):
        calls.append(number)
        if len(calls) == call:
            raise ending
        return original(self, batch, number)

    monkeypatch.setattr(end_to_end.EndToEnd, "training_step", step)


@pytest.mark.parametrize(
    ("tuning", "precision", "ending", "interval"),
    [("full", "32", Terminated, 3600), ("full", "32", KeyboardInterrupt, 3600), ("lora", "16-mixed", KilledError, 0)],
)
def test_an_interrupted_run_goes_on_to_the_same_numbers(
    study, tmp_path, monkeypatch, tuning, precision, ending, interval
):
    recipe = recipe_of(
        training={"tuning": tuning, "precision": precision}, schedule="cosine", ema_decay=0.9, accumulate=2,
        augmentation={"flips": True, "brightness": 0.2},
    )  # fmt: skip
    with monkeypatch.context() as patch, pytest.raises(ending):
        interrupt(patch, 13, ending)
        run(study, tmp_path / "b", recipe, interval=interval)
    run(study, tmp_path / "b", recipe, interval=interval)
    assert record(tmp_path / "b")["resumed_after_epoch"] == 2
    undisturbed = run(study, tmp_path / "a", recipe, interval=3600)
    assert_same_files(undisturbed, tmp_path / "b")


# An endless run without TerraTorch, whose import takes long. After its third epoch a step computes, deaf to signals,
# for so long that the death of the terminated loader is reported together with the run's own signal.
ENDLESS = """
import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

from _job import job

with job(SimpleNamespace(log=[sys.argv[1] + "/log"], rule="tune_run")):
    import numpy as np
    import torch
    from terralucas.device import pick_device
    from terralucas.end_to_end import Callbacks, ChipData, EndToEnd, EndToEndOptions, fit
    from terralucas.normalisation import Normaliser
    from terralucas.packed_chips import Augmentation, PackedChips
    from terralucas.sidecar import Sidecar
    from terralucas.training import TrainingOptions

    normaliser = Normaliser("dataset", np.zeros(1), np.ones(1), np.zeros(1))
    array, labels = np.random.default_rng(0).random((12, 1, 64, 64), dtype=np.float32), np.arange(12) % 2
    chips = PackedChips(array, labels, normaliser, Augmentation(True, 0), 0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64 * 64, 2))
    rounds = [1]
    model.register_forward_pre_hook(lambda *_: hashlib.pbkdf2_hmac("sha256", b"", b"", rounds[0]) and None)

    def told(row):
        if row["epoch"] == 3:
            rounds[0] = 2_000_000
            print("now", flush=True)

    data = ChipData(chips, list("abcdefghijkl"), np.arange(8), np.arange(8, 12), lambda epoch: np.ones(12), workers=1)
    options = TrainingOptions(1e-6, 0.0, 4, 10**6, False, "macro_accuracy", "32")
    tuning = EndToEndOptions(None, 0, "none", None, 1, None, None, False)
    callbacks = Callbacks(lambda: None, told)
    module = EndToEnd(model, torch.nn.functional.cross_entropy, data, options, tuning, 0, callbacks)
    fit(module, pick_device("cpu"), Sidecar(Path(sys.argv[1], "resume.ckpt"), "f", 3600.0))
"""


def test_a_run_whose_loader_is_terminated_too_saves_its_last_epoch(tmp_path):
    """SLURM and `kill` of a process group signal every process, also the one that reads ahead."""
    scripts = Path(end_to_end.__file__).parents[1]
    run = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, tmp_path], stdout=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(scripts)},
    )  # fmt: skip
    try:
        assert run.stdout.readline() == "now\n"
        time.sleep(0.3)
        os.killpg(run.pid, signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM, (tmp_path / "log").read_text(encoding="utf-8")
    finally:
        run.kill()
    assert Sidecar(tmp_path / "resume.ckpt", "f", 0).load()["progress"]["epoch"] >= 2


@pytest.mark.parametrize("library", ["terratorch", "peft", "lightning"])
def test_a_run_does_not_go_on_under_another_version_of_what_computes_it(study, monkeypatch, library):
    chips, _ = runs._read_chips(Inputs(study / "chips.parquet", study / "split.csv", "code"))
    learner = partial(TunedLearner, recipe_of(), chips, torch.device("cpu"), inputs_of(study), 0, False)
    before = learner().fingerprint
    assert learner().fingerprint == before
    real = tuned.version
    monkeypatch.setattr(tuned, "version", lambda name: "0.0.1" if name == library else real(name))
    assert learner().fingerprint != before


def test_divergence_names_step_chips_and_learning_rates_and_is_a_result(study, tmp_path):
    run(study, tmp_path, recipe_of(training={"learning_rate": 1e30}, backbone_learning_rate=1e20, warmup_epochs=1))
    found = record(tmp_path)
    order = np.random.default_rng([0, 1, 1]).permutation(np.flatnonzero(np.arange(N) % 5 < 3))
    chips = ", ".join(f"chip {row}" for row in order[4:8])
    assert found["versions"].keys() >= {"torch", "terratorch", "peft", "lightning"}
    assert found["status"] == "diverged"
    assert found["diverged"] == (
        f"training loss nan in epoch 1, step 2 of 5, learning rate 4e+29 (backbone 4e+19), chips {chips}"
    )
    assert pq.read_table(tmp_path / "predictions.parquet").num_rows == 0


def test_divergence_counts_steps_and_not_their_batches(study, tmp_path, monkeypatch):
    """In the second batch of the second step, which are 4 chips each; the cosine is SGDR's (its eq. 5)."""
    calls = []

    def loss(logits, labels):
        calls.append(len(labels))
        return torch.nn.functional.cross_entropy(logits, labels) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(runs, "build_loss", lambda *arguments: loss)
    run(study, tmp_path, recipe_of(accumulate=2, schedule="cosine"))
    # 18 chips are 3 steps in each of 3 epochs.
    rate = 0.0005 * (1 + np.cos(np.pi / 9))
    expected = f"training loss nan in epoch 1, step 2 of 3, learning rate {rate:g} (backbone {rate:g}), chips chip "
    assert record(tmp_path)["diverged"].startswith(expected)
    assert record(tmp_path)["diverged"].count("chip ") == 4


@pytest.fixture
def small_memory(monkeypatch):
    """A GPU that holds the activations of two chips."""
    original = end_to_end.EndToEnd.training_step

    def step(self, batch, number):
        if len(batch[1]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return original(self, batch, number)

    monkeypatch.setattr(end_to_end.EndToEnd, "training_step", step)


def test_a_batch_that_does_not_fit_is_an_error_that_says_what_was_tried(study, tmp_path, small_memory):
    with pytest.raises(
        StudyError, match="a batch of 4 chips was tried, the largest that fitted had 0: CUDA out"
    ) as raised:
        run(study, tmp_path)
    assert "lower_batch_on_oom" in str(raised.value)


@pytest.fixture(scope="module")
def uneven(study, tmp_path_factory):
    """The same chips, most of them of one class."""
    folder = shutil.copytree(study, tmp_path_factory.mktemp("uneven"), dirs_exist_ok=True)
    index = pq.read_table(folder / "chips.parquet")
    labels = pa.array((np.arange(N) % 6 // 3 * (1 + np.arange(N) % 2)).astype(np.int64))
    pq.write_table(index.set_column(index.column_names.index("label"), "label", labels), folder / "chips.parquet")
    return folder


WEIGHTED = {"type": "ce", "class_weights": "balanced", "reduction": "weighted_mean"}
LDAM = {"type": "ldam", "max_margin": 0.5, "scale": 3.0, "class_weights": "balanced", "drw_epoch": 2}


@pytest.mark.parametrize(
    ("loss", "accumulate"),
    [
        (WEIGHTED, 1), (WEIGHTED, 2), (WEIGHTED | {"label_smoothing": 0.1}, 1), (WEIGHTED | {"reduction": "mean"}, 2),
        (WEIGHTED | {"type": "focal", "gamma": 2.0}, 1), (LDAM, 2), ({"type": "logit_adjusted", "tau": 1.0}, 1),
    ],
    ids=str,
)  # fmt: skip
def test_a_batch_that_does_not_fit_is_cut_where_that_is_allowed(
    uneven, tmp_path, plain_descent, request, loss, accumulate
):
    # 18 chips are batches of 5, 5, 5 and 3, of which pieces are of 2, 2, 1 and 2, 1.
    training = {"batch_size": 5, "epochs": 2, "learning_rate": 0.01}
    recipe = recipe_of(IDENTITY | {"dropout": 0.0}, training=training, loss=loss, accumulate=accumulate)
    whole = run(uneven, tmp_path / "whole", recipe)
    request.getfixturevalue("small_memory")
    cut = run(uneven, tmp_path / "cut", recipe, lower_batch_on_oom=True)
    assert (record(whole)["chips_in_memory"], record(cut)["chips_in_memory"]) == (5, 2)
    assert record(cut)["fingerprint"] == record(whole)["fingerprint"]
    assert_same_to_rounding(cut, whole)


def test_evaluation_takes_no_more_chips_than_training(study, tmp_path, small_memory, monkeypatch):
    seen = []
    forward = tuned.TunedModel.forward
    monkeypatch.setattr(
        tuned.TunedModel, "forward", lambda self, chips: seen.append(len(chips)) or forward(self, chips)
    )
    run(study, tmp_path, recipe_of(training={"epochs": 1}), lower_batch_on_oom=True)
    assert max(seen) == 2


def test_a_model_that_does_not_fit_is_an_error_and_not_tried_again(study, tmp_path, monkeypatch):
    built = []

    def averaged(model, **options):
        built.append(model)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(end_to_end, "AveragedModel", averaged)
    with pytest.raises(StudyError, match=r"does not fit into the memory of the GPU\.\n.*no room for its weights"):
        run(study, tmp_path, recipe_of(ema_decay=0.9), lower_batch_on_oom=True)
    assert len(built) == 1


def test_a_loss_that_needs_its_whole_batch_is_not_cut(study, tmp_path, small_memory):
    with pytest.raises(StudyError, match=r"a batch of 4 chips was tried.*\n.*lower_batch_on_oom cannot cut"):
        run(study, tmp_path, recipe_of(loss={"type": "terratorch_focal"}), lower_batch_on_oom=True)


def test_compile_compiles_the_model(study, tmp_path, monkeypatch):
    compiled = []

    def compile_(function, **options):
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    run(study, tmp_path, recipe_of(training={"epochs": 1}, compile=True))
    assert [type(function.__self__).__name__ for function in compiled] == ["TunedModel"]


def test_normalising_by_training_chips_takes_theirs(study, tmp_path):
    run(study, tmp_path, recipe_of(training={"epochs": 1}), normalisation="train")
    statistics = record(tmp_path)["features"]["normalisation"]
    chips = np.load(study / "chips.npy")[np.arange(N) % 5 < 3]
    np.testing.assert_allclose(list(statistics["mean"].values()), np.nanmean(chips, axis=(0, 2, 3)), rtol=1e-5)
    assert statistics["chips"] == 18


def test_packed_chips_are_the_files_and_of_the_index(study, tmp_path):
    np.testing.assert_array_equal(np.load(study / "packed.npy"), np.load(study / "chips.npy"))
    index = pq.read_table(study / "chips.parquet").to_pandas()
    index["sha256"] = index["sha256"].iloc[::-1].to_numpy()
    pq.write_table(pa.Table.from_pandas(index), tmp_path / "other.parquet")
    with pytest.raises(StudyError, match="of other files than the index"):
        run(study, tmp_path, index=tmp_path / "other.parquet")
    with pytest.raises(StudyError, match="changed since the chips were indexed"):
        pack_chips(study, ["0.bin"], ["0" * 64], bytes, 1, tmp_path / "packed.npy")
    assert not list(tmp_path.glob("*packed*"))


def test_a_chip_is_augmented_alike_whatever_batch_it_is_in(study):
    array = np.load(study / "packed.npy")
    chips = PackedChips(
        array,
        np.zeros(N, np.int64),
        Normaliser("dataset", np.zeros(6), np.ones(6), np.zeros(6)),
        Augmentation(True, 0.5),
        7,
    )
    together = chips[Batch(np.arange(N), 3)][0]
    alone = torch.cat([chips[Batch(np.array([row]), 3)][0] for row in range(N)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, chips[Batch(np.arange(N), 4)][0])
    for row in range(1, N):
        variants = [np.flip(array[row], axes) for axes in ((), (1,), (2,), (1, 2))]
        factors = [np.unique((together[row].numpy() / variant).round(4)) for variant in variants]
        (factor,) = [found for found in factors if len(found) == 1]
        assert 0.5 <= factor <= 1.5
