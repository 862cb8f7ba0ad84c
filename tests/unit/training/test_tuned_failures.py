"""Tuned runs that are interrupted, diverge or do not fit into memory."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from helpers.paths import SCRIPTS
from helpers.tuned_runs import (
    IDENTITY,
    N,
    assert_same_files,
    assert_same_to_rounding,
    inputs_of,
    make_uneven,
    recipe_of,
    record,
    run,
    watched,
)
from terralucas.errors import StudyError, Terminated
from terralucas.training import run as runs
from terralucas.training import tuned, tuned_loop
from terralucas.training.resume import ResumeFile
from terralucas.training.run import Inputs
from terralucas.training.tuned import TunedLearner

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shallow_backbones")]


class KilledError(Exception):
    """Stands for a kill."""


def interrupt(monkeypatch, call, ending):
    """Raise in the backbone in the given training step, counted from 1 over all epochs (five in each)."""
    calls = []

    def before(training, tokens):
        calls.extend([len(tokens)] * training)
        if training and len(calls) == call:
            raise ending

    monkeypatch.setattr(tuned, "build_backbone", watched(before))


@pytest.mark.parametrize(
    ("tuning", "precision", "ending", "interval"),
    [("full", "32", Terminated, 3600), ("full", "32", KeyboardInterrupt, 3600), ("lora", "16-mixed", KilledError, 0)],
)
def test_an_interrupted_run_goes_on_to_the_same_numbers(
    study, tmp_path, monkeypatch, tuning, precision, ending, interval
):
    recipe = recipe_of(
        training={"tuning": tuning, "precision": precision}, schedule="cosine", ema_decay=0.9, accumulate=2,
        augmentation={"flips_and_rotations": True, "brightness": 0.2},
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

from execution.jobs.job import job

with job(SimpleNamespace(log=[sys.argv[1] + "/log"], rule="tune_run", input=[], output=[])):
    import numpy as np
    import torch
    from terralucas.device import pick_device
    from terralucas.training.tuned_loop import Callbacks, ChipData, EndToEnd, EndToEndOptions, fit
    from terralucas.data.normalisation import Normaliser
    from terralucas.training.chip_batches import Augmentation, PackedChips
    from terralucas.training.resume import ResumeFile
    from terralucas.training.progress import TrainingOptions

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
    fit(module, pick_device("cpu"), ResumeFile(Path(sys.argv[1], "resume.ckpt"), "f", 3600.0))
"""


def test_a_run_whose_loader_is_terminated_too_saves_its_last_epoch(tmp_path):
    """SLURM and `kill` of a process group signal every process, also the one that reads ahead."""
    run = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, tmp_path], stdout=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
    )  # fmt: skip
    try:
        assert run.stdout.readline() == "now\n"
        time.sleep(0.3)
        os.killpg(run.pid, signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM, (tmp_path / "log").read_text(encoding="utf-8")
    finally:
        run.kill()
    assert ResumeFile(tmp_path / "resume.ckpt", "f", 0).load()["progress"]["epoch"] >= 2


@pytest.mark.parametrize("library", ["terratorch", "peft", "lightning"])
def test_a_run_does_not_go_on_under_another_version_of_what_computes_it(study, monkeypatch, library):
    chips = runs._read_chips(Inputs(study / "chips.parquet", study / "split.csv", "code"), recipe_of())
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

    def before(training, tokens):
        calls.extend([len(tokens)] * training)
        return tokens * float("nan") if training and len(calls) == 4 else None

    monkeypatch.setattr(tuned, "build_backbone", watched(before))
    run(study, tmp_path, recipe_of(accumulate=2, schedule="cosine"))
    # 18 chips are 3 steps in each of 3 epochs.
    rate = 0.0005 * (1 + np.cos(np.pi / 9))
    expected = f"training loss nan in epoch 1, step 2 of 3, learning rate {rate:g} (backbone {rate:g}), chips chip "
    assert record(tmp_path)["diverged"].startswith(expected)
    assert record(tmp_path)["diverged"].count("chip ") == 4


@pytest.fixture
def small_memory(monkeypatch):
    """A GPU that holds the activations of two chips; a list of how many were in it, in training and evaluation."""
    held = []

    def before(training, tokens):
        if training and len(tokens) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        held.append((training, len(tokens)))

    monkeypatch.setattr(tuned, "build_backbone", watched(before))
    return held


def test_a_batch_that_does_not_fit_is_an_error_that_says_what_was_tried(study, tmp_path, small_memory):
    with pytest.raises(StudyError, match="4 chips at a time do not fit; at most 0 did: CUDA out") as raised:
        run(study, tmp_path)
    assert "lower_batch_on_oom" in str(raised.value)


@pytest.fixture(scope="module")
def uneven(study, tmp_path_factory):
    return make_uneven(study, tmp_path_factory.mktemp("uneven"))


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


def test_evaluation_takes_no_more_chips_than_training(study, tmp_path, small_memory):
    run(study, tmp_path, recipe_of(training={"epochs": 1}), lower_batch_on_oom=True)
    assert {training for training, _ in small_memory} == {True, False}
    assert max(chips for _, chips in small_memory) == 2


def test_a_model_that_does_not_fit_is_an_error_and_not_tried_again(study, tmp_path, monkeypatch):
    built = []

    def averaged(model, **options):
        built.append(model)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(tuned_loop, "AveragedModel", averaged)
    with pytest.raises(StudyError, match=r"does not fit into the memory of the GPU\.\n.*no room for its weights"):
        run(study, tmp_path, recipe_of(ema_decay=0.9), lower_batch_on_oom=True)
    assert len(built) == 1


def test_a_loss_that_needs_its_whole_batch_is_not_cut(study, tmp_path, small_memory):
    with pytest.raises(StudyError, match=r"4 chips at a time do not fit.*\n.*lower_batch_on_oom cannot help"):
        run(study, tmp_path, recipe_of(loss={"type": "terratorch_focal"}), lower_batch_on_oom=True)
