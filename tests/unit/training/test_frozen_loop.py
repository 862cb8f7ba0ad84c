"""Training: learns, is deterministic, keeps the right epoch, and resumes to the same numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from terralucas.errors import StudyError, Terminated
from terralucas.predictions import accuracies
from terralucas.randomness import Stream, generator
from terralucas.training.decoders import DecoderModel
from terralucas.training.frozen_loop import TrainingData, predict, train
from terralucas.training.losses import build_loss
from terralucas.training.progress import Progress, TrainingOptions, keep_best
from terralucas.training.resume import ResumeFile, save_last_epoch_on_failure

pytestmark = pytest.mark.slow

IDENTITY = {"pooling": "mean", "hidden": None, "dropout": 0.1}
MLP = {"pooling": "tokens", "hidden": 6, "dropout": 0.1}
ATTENTION = {"pooling": "attention", "hidden": None, "dropout": 0.1}
CE = {"type": "ce", "reduction": "weighted_mean"}
LDAM = {"type": "ldam", "max_margin": 0.5, "scale": 30.0, "drw_epoch": 4}
OPTIONS = TrainingOptions(
    learning_rate=0.03,
    weight_decay=0.05,
    batch_size=8,
    epochs=6,
    drop_last=False,
    monitor="macro_accuracy",
    precision="32",
)


def data_of(decoder=IDENTITY, n=90, classes=3):
    random = np.random.default_rng(0)
    labels = np.arange(n) % classes
    shape = (n, 8) if decoder["pooling"] == "mean" else (n, 4, 8)
    features = random.normal(size=shape).astype(np.float32)
    features[..., 0] += 2.0 * labels.reshape(-1, *[1] * (features.ndim - 2))
    rows = random.permutation(n)
    return TrainingData(torch.from_numpy(features), torch.from_numpy(labels), rows[:60], rows[60:])


def run(
    tmp_path,
    decoder=IDENTITY,
    seed=1,
    options=OPTIONS,
    fingerprint="f",
    on_epoch=lambda row: None,
    interval=0.0,
    loss=CE,
    weights=(1, 1, 1),
):
    torch.manual_seed(seed)
    model = DecoderModel(decoder, 8, 3, loss.get("scale"))
    loss = build_loss(loss, np.array(weights), torch.device("cpu"), np.array([20, 10, 5]))
    resume_file = ResumeFile(tmp_path / "resume.ckpt", fingerprint, interval)
    return train(model, loss, data_of(decoder), options, seed, resume_file, on_epoch=on_epoch), model


def assert_same(a, b):
    assert a.history == b.history
    assert a.best_epoch == b.best_epoch
    assert all(torch.equal(a.best_state[name], b.best_state[name]) for name in a.best_state)


class KilledError(Exception):
    """Stands for a kill at the end of an epoch."""


def kill_at(epoch):
    def on_epoch(row):
        if row["epoch"] == epoch:
            raise KilledError

    return on_epoch


@pytest.mark.parametrize("decoder", [IDENTITY, MLP, ATTENTION], ids=["identity", "mlp", "attention"])
def test_learns_and_repeats_bit_for_bit(tmp_path, decoder):
    first, _ = run(tmp_path / "a", decoder)
    second, _ = run(tmp_path / "b", decoder)
    assert_same(first, second)
    assert first.history[-1]["train_loss"] < first.history[0]["train_loss"]
    assert first.best_score > 0.6
    assert len(first.history) == OPTIONS.epochs


def test_another_seed_gives_other_numbers(tmp_path):
    assert run(tmp_path / "a", seed=1)[0].history != run(tmp_path / "b", seed=2)[0].history


@pytest.mark.parametrize("decoder", [IDENTITY, MLP], ids=["identity", "mlp"])
@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_killed_run_resumes_to_the_same_numbers(tmp_path, decoder, epoch):
    undisturbed, _ = run(tmp_path / "a", decoder)
    with pytest.raises(KilledError):
        run(tmp_path / "b", decoder, on_epoch=kill_at(epoch + 1))
    epochs = []
    resumed, _ = run(tmp_path / "b", decoder, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == list(range(epoch + 1, OPTIONS.epochs + 1)), "goes on where it was"
    assert_same(undisturbed, resumed)


def test_deferred_weights_act_from_their_epoch_on_also_in_a_run_that_was_killed(tmp_path):
    ldam = {"loss": LDAM, "weights": (0.2, 1.0, 1.8)}
    deferred, _ = run(tmp_path / "a", **ldam)
    never, _ = run(tmp_path / "b", **ldam | {"loss": LDAM | {"drw_epoch": 7}})
    assert deferred.history[:3] == never.history[:3]
    assert deferred.history[3] != never.history[3]
    with pytest.raises(KilledError):
        run(tmp_path / "c", **ldam, on_epoch=kill_at(6))
    assert_same(deferred, run(tmp_path / "c", **ldam)[0])


@pytest.mark.parametrize("ending", [Terminated, KeyboardInterrupt, RuntimeError])
def test_a_run_that_ends_early_saves_the_last_whole_epoch_at_once(tmp_path, ending):
    """The interval has not passed, and the ending comes between two steps of epoch 4."""
    undisturbed, _ = run(tmp_path / "a")
    torch.manual_seed(1)
    model = DecoderModel(IDENTITY, 8, 3)
    loss = build_loss({"type": "ce", "reduction": "weighted_mean"}, np.ones(3), torch.device("cpu"))
    calls = []

    def disturbed(logits, labels):
        calls.append(len(calls))
        # Each epoch computes the loss of eight batches and of the validation chips.
        if len(calls) == 3 * 9 + 4:
            raise ending
        return loss(logits, labels)

    with pytest.raises(ending):
        train(model, disturbed, data_of(), OPTIONS, 1, ResumeFile(tmp_path / "b" / "resume.ckpt", "f", 3600.0))
    epochs = []
    resumed, _ = run(tmp_path / "b", on_epoch=lambda row: epochs.append(row["epoch"]), interval=3600.0)
    assert epochs == [4, 5, 6]
    assert_same(undisturbed, resumed)


@pytest.mark.parametrize("ending", [Terminated, KilledError])
def test_an_ending_is_told_also_where_it_cannot_be_saved(tmp_path, ending):
    (tmp_path / "file").touch()
    resume_file = ResumeFile(tmp_path / "file" / "resume.ckpt", "f", 3600.0)
    with pytest.raises(ending), save_last_epoch_on_failure(resume_file) as last_epoch:
        last_epoch.keep({"epoch": 1}, is_final=False)
        raise ending


def test_a_sidecar_of_other_settings_is_ignored(tmp_path):
    with pytest.raises(KilledError):
        run(tmp_path, fingerprint="old", on_epoch=kill_at(4))
    epochs = []
    run(tmp_path, fingerprint="new", on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs[0] == 1


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:500] + b"x" + b[501:], lambda b: b""])
def test_a_damaged_sidecar_is_ignored(tmp_path, damage):
    with pytest.raises(KilledError):
        run(tmp_path, on_epoch=kill_at(4))
    path = tmp_path / "resume.ckpt"
    path.write_bytes(damage(path.read_bytes()))
    epochs = []
    run(tmp_path, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs[0] == 1


def test_within_the_interval_only_the_end_is_saved(tmp_path):
    saved = []
    finished, _ = run(tmp_path, interval=3600.0, on_epoch=lambda row: saved.append((tmp_path / "resume.ckpt").exists()))
    assert saved == [False] * OPTIONS.epochs, "told of an epoch before it is saved"
    again = []
    repeated, _ = run(tmp_path, interval=3600.0, on_epoch=lambda row: again.append(row["epoch"]))
    assert again == [], "a finished run that is started again has its training"
    assert repeated.history == finished.history
    assert repeated.best_state.keys() == finished.best_state.keys()
    for name, value in finished.best_state.items():
        torch.testing.assert_close(repeated.best_state[name], value, rtol=0, atol=0)


def test_the_earliest_of_equally_good_epochs_is_kept(tmp_path):
    progress, _ = run(tmp_path)
    scores = [row["validation_macro_accuracy"] for row in progress.history]
    assert progress.best_epoch == 1 + scores.index(max(scores))


def test_drop_last_leaves_out_the_incomplete_batch(tmp_path):
    # 60 chips in batches of 8: seven full ones and one of four.
    kept, _ = run(tmp_path / "a", options=replace(OPTIONS, epochs=1))
    dropped, _ = run(tmp_path / "b", options=replace(OPTIONS, epochs=1, drop_last=True))
    assert kept.history != dropped.history


def test_divergence_names_step_chips_and_learning_rate_and_keeps_what_was_before(tmp_path):
    data = data_of()
    spoilt = int(data.train[0])
    data.features[spoilt] = float("inf")
    model = DecoderModel(IDENTITY, 8, 3)
    loss = build_loss({"type": "ce", "reduction": "weighted_mean"}, np.ones(3), torch.device("cpu"))
    progress = train(model, loss, data, OPTIONS, 0, ResumeFile(tmp_path / "r", "f", 0))
    order = generator(0, Stream.BATCH_ORDER, 1).permutation(data.train)
    step, place = divmod(order.tolist().index(spoilt), OPTIONS.batch_size)
    chips = order[step * OPTIONS.batch_size :][: OPTIONS.batch_size]
    assert chips[place] == spoilt
    assert (
        f"in epoch 1, step {step + 1} of {-(-len(order) // OPTIONS.batch_size)}, learning rate 0.03"
        in progress.diverged
    )
    assert progress.diverged.endswith(f"chips in rows {', '.join(map(str, chips))} of the index")
    assert (progress.epoch, progress.history) == (0, [])


def test_weights_that_diverge_in_the_last_step_are_noticed(tmp_path):
    data = data_of()
    data.features[data.validation[0]] = float("nan")
    model = DecoderModel(IDENTITY, 8, 3)
    loss = build_loss({"type": "ce", "reduction": "weighted_mean"}, np.ones(3), torch.device("cpu"))
    progress = train(model, loss, data, OPTIONS, 0, ResumeFile(tmp_path / "r", "f", 0))
    assert progress.diverged == "validation NLL nan after epoch 1, learning rate 0.03"


def test_predictions_are_the_models_without_dropout(tmp_path):
    _, model = run(tmp_path)
    data = data_of()
    rows = np.array([5, 3, 80])
    logits = predict(model, data.features, rows, torch.device("cpu"), "32")
    model.eval()
    torch.testing.assert_close(logits, model(data.features[rows]))


def test_accuracies():
    macro, micro = accuracies(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    assert (macro, micro) == (pytest.approx((2 / 3 + 1) / 2), 0.75)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
def test_losses_are_computed_in_float32_under_every_precision(tmp_path, precision):
    seen = set()

    def loss(logits, labels):
        seen.add(logits.dtype)
        return torch.nn.functional.cross_entropy(logits, labels)

    options = replace(OPTIONS, precision=precision, epochs=1)
    train(DecoderModel(IDENTITY, 8, 3), loss, data_of(), options, 0, ResumeFile(tmp_path / "r", "f", 0))
    assert seen == {torch.float32}


def test_the_earlier_of_two_equal_epochs_is_kept():
    model, progress = torch.nn.Linear(1, 1), Progress()
    for epoch, score in enumerate([0.2, 0.5, 0.5, 0.4], start=1):
        with torch.no_grad():
            model.weight.fill_(epoch)
        keep_best(progress, {"epoch": epoch, "validation_macro_accuracy": score}, model.state_dict(), "macro_accuracy")
    assert (progress.best_epoch, progress.best_score, float(progress.best_state["weight"])) == (2, 0.5, 2.0)


def test_dropping_the_only_batch_is_an_error(tmp_path):
    with pytest.raises(StudyError, match=r"60 training chips and training\.drop_last with batches of 64"):
        run(tmp_path, options=replace(OPTIONS, batch_size=64, drop_last=True))
