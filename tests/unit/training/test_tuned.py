"""What tuned runs learn, and from what."""

from collections import Counter
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
import torch

from helpers.index_file import write_index_of
from helpers.tuned_runs import (
    BANDS,
    CLASSES,
    END_TO_END,
    IDENTITY,
    LORA,
    MLP,
    NAMES,
    RANDOM,
    SIDE,
    N,
    assert_same_files,
    assert_same_to_rounding,
    history,
    logits,
    losses,
    make_uneven,
    recipe_of,
    record,
    run,
    shallow,
    weights,
)
from terralucas.backbones.feature_kinds import kind_of_features
from terralucas.backbones.features import FeatureOptions, extract
from terralucas.data.chips.chip_content import read_unchanged
from terralucas.data.normalisation import Normaliser, normaliser_of_index
from terralucas.data.packed_chips import pack_chips
from terralucas.errors import StudyError
from terralucas.files import write_json
from terralucas.training import tuned, tuned_loop
from terralucas.training.chip_batches import Augmentation, Batch, PackedChips
from terralucas.training.decoders import DecoderModel, read_tokens
from terralucas.training.frozen import FrozenLearner
from terralucas.training.progress import TrainingOptions
from terralucas.training.resume import ResumeFile
from terralucas.training.run import Inputs, execute

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shallow_backbones")]


@pytest.fixture(scope="module")
def full(study, tmp_path_factory):
    return run(study, tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def lora(study, tmp_path_factory):
    return run(study, tmp_path_factory.mktemp("lora"), recipe_of(training={"tuning": "lora"}))


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
    done = extract(backbone, chips, options, {kind: tmp_path / "features.npy"})[kind]
    made_of = dict.fromkeys(("model", "weights", "bands", "normalisation"), "")
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
    extract(backbone, list(chips), options, {kind: tmp_path / "features.npy"})
    features = torch.from_numpy(np.load(tmp_path / "features.npy"))
    if features.dim() == 3:
        features = read_tokens(decoder, features)
    alone = DecoderModel(decoder, features.shape[-1], CLASSES, scale).eval()
    alone.load_state_dict({name: v for name, v in model.state_dict().items() if not name.startswith("encoder.")})
    with torch.inference_mode():
        torch.testing.assert_close(model(chips), alone(features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("drw_epoch", [1, 2, 3])
def test_a_loss_that_changes_with_the_epoch_is_told_of_it(study, tmp_path, drw_epoch):
    """LDAM takes class weights from its epoch on: its value on the validation chips, computed from their logits."""
    uneven = make_uneven(study, tmp_path / "uneven")
    ldam = {"type": "ldam", "max_margin": 0.5, "scale": 30.0, "class_weights": "balanced", "drw_epoch": drw_epoch}
    folder = run(uneven, tmp_path / "run", recipe_of(loss=ldam, training={"epochs": 2, "learning_rate": 0.003}))
    assert record(folder)["best_epoch"] == 2
    assert "head.head.2.bias" not in weights(folder), "a normalised head has none"
    labels = pq.read_table(uneven / "chips.parquet")["label"].to_numpy()
    counts = np.bincount(labels[np.arange(N) % 5 < 3])
    shown = pq.read_table(folder / "predictions.parquet").to_pandas().query("split == 'validation'")
    lowered, own = np.stack(shown["logits"]).astype(float), shown["label"].to_numpy()
    lowered[np.arange(len(own)), own] -= 30.0 * 0.5 * (counts[own] / counts.min()) ** -0.25
    terms = scipy.special.logsumexp(lowered, axis=1) - lowered[np.arange(len(own)), own]
    reweighted, plain = np.average(terms, weights=1 / counts[own]), terms.mean()
    assert reweighted != pytest.approx(plain, rel=0.01)
    expected = reweighted if drw_epoch <= 2 else plain
    assert history(folder)["validation_loss"][1] == pytest.approx(expected, rel=1e-5)


def normalised(study, folder):
    statistics = record(folder)["features"]["normalisation"]
    mean, std = (np.array([statistics[name][band] for band in BANDS])[:, None, None] for name in ("mean", "std"))
    chips = np.load(study / "chips.npy")
    ids = pq.read_table(folder / "predictions.parquet")["point_id"].to_pylist()
    chips = np.where(np.isnan(chips), mean, chips)[[int(name.split()[1]) for name in ids]]
    return ((chips - mean) / std).astype(np.float32)


OPTIONS = [
    {"backbone_learning_rate": 1e-5}, {"warmup_epochs": 1}, {"schedule": "cosine"}, {"clip_norm": 0.01},
    {"accumulate": 2}, {"ema_decay": 0.9}, {"augmentation": {"flips_and_rotations": True, "brightness": 0.0}},
    {"augmentation": {"flips_and_rotations": False, "brightness": 0.3}},
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


def test_accumulated_batches_make_the_step_of_one_large_batch(study, tmp_path, plain_descent):
    still, rate = IDENTITY | {"dropout": 0.0}, {"learning_rate": 0.01, "epochs": 2}
    large = run(study, tmp_path / "large", recipe_of(still, training=rate | {"batch_size": 8}))
    small = run(study, tmp_path / "small", recipe_of(still, training=rate, accumulate=2))
    # 18 chips: two whole steps, and one of the two chips that are left. All class weights are one.
    assert_same_to_rounding(small, large)


def test_an_average_that_forgets_at_once_is_the_weights_themselves(study, tmp_path, full):
    assert_same_files(full, run(study, tmp_path, recipe_of(ema_decay=0.0)))


def test_training_stops_when_validation_does_not_improve(study, tmp_path):
    training = {"epochs": 8, "learning_rate": 0.0003}
    scores = history(run(study, tmp_path / "patient", recipe_of(training=training)))["validation_macro_accuracy"]
    best = [int(np.argmax(scores[:epoch])) + 1 for epoch in range(1, len(scores) + 1)]
    last = next(epoch for epoch in range(1, len(scores) + 1) if epoch - best[epoch - 1] == 2)
    assert 1 < best[last - 1] < last < 8, "a score is beaten first, and then none for two epochs"
    recipe = recipe_of(training=training, early_stopping_patience=2)
    stopped = run(study, tmp_path / "stopped", recipe)
    assert (record(stopped)["epochs"], record(stopped)["best_epoch"]) == (last, best[last - 1])
    assert history(stopped)["validation_macro_accuracy"].equals(scores[:last])
    # A finished run is kept as it is; one that lost its record goes on from its last epoch.
    (stopped / "run.yaml").unlink()
    run(study, stopped, recipe)
    assert record(stopped)["resumed_after_epoch"] == last, "nothing is left to do"


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
    options = tuned_loop.EndToEndOptions.of(END_TO_END | {"warmup_epochs": warmup, "schedule": kind})
    factor = tuned_loop.schedule(options, steps, epochs)
    for step in range(steps * epochs):
        assert factor(step) == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-9), step
        optimiser.step()
        expected.step()


def test_an_epochs_batches_are_made_a_few_times_and_not_for_each_of_them(tmp_path):
    def times_made(batch_size):
        """How often the chips' shares of the loss were asked for: once each time that batches are made of them."""
        asked = []
        mass = lambda epoch: asked.append(epoch) or np.ones(N)  # noqa: E731
        normaliser = Normaliser("dataset", np.zeros(1), np.ones(1), np.zeros(1))
        array = np.random.default_rng(0).random((N, 1, 4, 4), dtype=np.float32)
        chips = PackedChips(array, np.arange(N) % CLASSES, normaliser, Augmentation(False, 0.0), 0)
        ids = [str(row) for row in range(N)]
        data = tuned_loop.ChipData(chips, ids, np.arange(18), np.arange(18, N), mass, workers=0)
        module = tuned_loop.EndToEnd(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, CLASSES)), torch.nn.functional.cross_entropy,
            data, TrainingOptions.of(recipe_of().training | {"epochs": 1, "batch_size": batch_size}),
            tuned_loop.EndToEndOptions.of(END_TO_END), 0, tuned_loop.Callbacks(lambda: None, lambda row: None),
        )  # fmt: skip
        tuned_loop.fit(module, torch.device("cpu"), ResumeFile(tmp_path / f"{batch_size}.ckpt", "f", 3600.0))
        return len(asked)

    # 18 batches and 3.
    assert times_made(1) == times_made(6) > 0


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
    write_index_of(tmp_path / "other.parquet", index)
    with pytest.raises(StudyError, match="are not the chips of the index"):
        run(study, tmp_path, index=tmp_path / "other.parquet")
    with pytest.raises(StudyError, match="changed since the chips were indexed"):
        pack_chips(study, ["0.bin"], ["0" * 64], read_unchanged, 1, tmp_path / "packed.npy")
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
        factors = [np.unique((together[row].numpy() / way).round(4)) for way in eight_ways(array[row])]
        (factor,) = [found for found in factors if len(found) == 1]
        assert 0.5 <= factor <= 1.5


def eight_ways(chip):
    """A chip (bands, side, side) and its mirror image, each turned by 0, 90, 180 and 270°."""
    return [np.rot90(side, turns, axes=(1, 2)) for side in (chip, np.flip(chip, 2)) for turns in range(4)]


def test_a_chip_is_laid_in_each_of_the_eight_ways_as_often():
    chip, n = np.arange(2 * 3 * 3, dtype=np.float32).reshape(2, 3, 3), 4000
    ways = [way.tobytes() for way in map(np.ascontiguousarray, eight_ways(chip))]
    draws = np.random.default_rng(0).random((n, 4))
    laid = Augmentation(True, 0.0)(np.repeat(chip[None], n, axis=0), draws)
    counts = Counter(ways.index(each.tobytes()) for each in laid)
    assert len(set(ways)) == len(counts) == 8
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 0.001
