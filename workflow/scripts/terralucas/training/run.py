"""One run: train a recipe with one seed, and write the outputs.

A learner does the training and the prediction. `frozen.FrozenLearner` trains a decoder on the stored features of a
frozen backbone; `tuned.TunedLearner` trains a backbone together with its decoder on chips.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
import yaml

from terralucas.data.split_files import read_split, split_fingerprint
from terralucas.device import autocast, peak_memory_mib, pick_device
from terralucas.files import atomic_path, check_before_deletion, sha256_of_file, sha256_of_json, write_json, write_text
from terralucas.names import run_name
from terralucas.predictions import DIVERGED, FINISHED, PredictionTable, write_predictions
from terralucas.training.losses import Loss, build_loss, class_weights, head_scale
from terralucas.training.progress import Progress
from terralucas.training.resume import ResumeFile

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 3
HISTORY = (
    *("epoch", "train_loss", "validation_loss", "validation_nll"),
    *("validation_macro_accuracy", "validation_micro_accuracy"),
)
PACKAGES = ("torch", "numpy", "terratorch", "peft", "lightning", "snakemake")


@dataclass(frozen=True)
class RunSettings:
    """Names and settings of a run: backbone, loss, decoder, seed and training."""

    backbone: str
    loss: str
    decoder: str
    seed: int
    loss_setting: Mapping[str, Any]
    decoder_setting: Mapping[str, Any]
    training: Mapping[str, Any]
    n_classes: int

    @property
    def name(self) -> str:
        """Name of the run: backbone/loss/decoder/seed-s."""
        return run_name(self.backbone, self.loss, self.decoder, self.seed)


@dataclass(frozen=True)
class Inputs:
    """The inputs of a run.

    Attributes:
        chips: path of the index (chips.parquet).
        split: path of the split of the seed.
        code: fingerprint of the training code.
        class_names: names of the classes for the record, in the order of the class indices. The index may have older
            names, because a corrected name does not change it; it is the source if they are None.
    """

    chips: Path
    split: Path
    code: str
    class_names: Sequence[str] | None = None


@dataclass(frozen=True)
class RunChips:
    """The chips of a study, with the split and the class weights of a run.

    Attributes:
        point_ids: (n,) ids, in the order of the index.
        labels: (n,) int64 class indices.
        parts: (n,) train, validation or test.
        rows: row numbers of each part; if there are no validation chips, those of the test chips stand for them.
        classes: code and name of each class, in the order of the class indices.
        side_px: side of a chip in pixels.
        class_weights: (K,) weights of the classes in the loss.
    """

    point_ids: list[str]
    labels: np.ndarray
    parts: np.ndarray
    rows: Mapping[str, np.ndarray]
    classes: list[dict[str, str]]
    side_px: int
    class_weights: np.ndarray


class Learner(Protocol):
    """A model that a run trains, with its data.

    Attributes:
        source: origin of the inputs: model, weights, bands, normalisation, precision and sha256.
        fingerprint: fingerprint of everything that decides the run's numbers, except its settings, split and code.
    """

    @property
    def source(self) -> Mapping[str, Any]: ...

    @property
    def fingerprint(self) -> str: ...

    def train(
        self,
        loss: Loss,
        resume_file: ResumeFile,
        on_first_step: Callable[[], None],
        on_epoch: Callable[[dict[str, float]], None],
    ) -> Progress:
        """Train until the last epoch; continue from the state in the resume file if there is one."""

    def predict(self, state: Mapping[str, torch.Tensor], rows: np.ndarray) -> np.ndarray:
        """Return the logits (len(rows), K) float32 with the weights in `state`."""

    def extra_record(self) -> Mapping[str, Any]:
        """Return the entries of the run's record that only this kind of learner has."""


MakeLearner = Callable[[RunSettings, RunChips, torch.device], Learner]


@dataclass
class Outcome:
    """The result of training, as the run's record needs it."""

    progress: Progress
    resumed_after_epoch: int
    seconds: float
    seconds_to_first_step: float | None


def execute(
    run: RunSettings,
    inputs: Inputs,
    make_learner: MakeLearner,
    outputs: Mapping[str, Path],
    bookkeeping: Mapping[str, Any],
) -> None:
    """Train, predict validation and test chips with the weights of the best epoch, and write the five outputs.

    If the outputs of this very run are there, before or after training, they are kept. If training diverges, the record
    says so and there are no predictions. The run counts as done, and the report names it.

    Args:
        run: settings and seed.
        inputs: files to read.
        make_learner: makes the learner from run, chips and device.
        outputs: paths of the outputs by name: predictions, metrics, history, model, record.
        bookkeeping: `checkpoint_interval_s` and `tensorboard`; they change no result.

    Raises:
        StudyError: the inputs do not belong together.
    """
    started = time.monotonic()
    device = _prepare_torch(run.training)
    chips = _read_chips(inputs, run)
    learner = make_learner(run, chips, device)
    counts = np.bincount(chips.labels[chips.rows["train"]], minlength=run.n_classes)
    loss = build_loss(run.loss_setting, chips.class_weights, device, counts)
    identity = {
        "run": run.name,
        "settings": asdict(run),
        "features": learner.fingerprint,
        "split": split_fingerprint(chips.point_ids, chips.parts, chips.labels),
        "code": inputs.code,
        "torch": str(torch.__version__),
        "device": device.type,
    }
    fingerprint = sha256_of_json(identity)
    if is_finished(outputs, fingerprint):
        logger.info("%s is finished with these settings, data and code; it is kept", run.name)
        return
    # To read the data may have taken long, in which another start may have finished the run.
    check_before_deletion()
    # What is there is of another configuration, data or code; a failure from here on must not leave it.
    for path in outputs.values():
        path.unlink(missing_ok=True)
    resume_file = ResumeFile(
        outputs["record"].parent / "resume.ckpt", fingerprint, bookkeeping["checkpoint_interval_s"]
    )
    events = _event_writer(outputs["record"].parent, bookkeeping["tensorboard"])
    outcome = _train(learner, loss, resume_file, events, started)
    rows, logits = _predict(learner, outcome.progress, chips.rows, run.n_classes)
    point_ids = [chips.point_ids[i] for i in rows]
    table = PredictionTable(point_ids, chips.parts[rows], chips.labels[rows], logits)
    if is_finished(outputs, fingerprint):
        # SLURM gives a job up whose node does not answer, and another one starts. The first may go on all the same.
        logger.info("%s was finished by another job meanwhile; its files are kept", run.name)
        return
    _write_results(run, outputs, outcome.progress, table)
    precision, _ = autocast(run.training["precision"], device)
    extra_record = {
        "classes": chips.classes,
        "chip_side_px": chips.side_px,
        "chips": {part: int((chips.parts == part).sum()) for part in chips.rows},
        "class_weights": [float(weight) for weight in chips.class_weights],
        "device": _device_name(device),
        "precision": precision,
        "peak_memory_mib": peak_memory_mib(device),
        **learner.extra_record(),
    }
    _write_record(outputs, identity, fingerprint, learner.source, outcome, extra_record)
    if outcome.progress.diverged:
        logger.warning("%s diverged: %s", run.name, outcome.progress.diverged)


def is_finished(outputs: Mapping[str, Path], fingerprint: str) -> bool:
    """Return whether all outputs of a run are there, of the run with this fingerprint.

    A cluster may start a job for a run that another job has finished meanwhile.
    """
    if not all(path.is_file() for path in outputs.values()):
        return False
    try:
        record = yaml.safe_load(outputs["record"].read_text(encoding="utf-8"))
        is_whole = all(
            record[f"{name}_sha256"] == sha256_of_file(outputs[name]) for name in ("predictions", "history", "model")
        )
        return record["fingerprint"] == fingerprint and is_whole
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return False


def _prepare_torch(training: Mapping[str, Any]) -> torch.device:
    torch.set_num_threads(training["threads"])
    # This has the same effect as torch.use_deterministic_algorithms(warn_only=True), which takes 4 s to import torch's
    # compiler.
    torch.set_deterministic_debug_mode("warn")
    # cuBLAS gives reproducible sums only with a workspace of fixed size. It reads this variable when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return pick_device(training["device"])


def _read_chips(inputs: Inputs, run: RunSettings) -> RunChips:
    # Use ParquetFile, because pyarrow's read_table takes a second to import pandas and pyarrow's dataset module.
    columns = ["point_id", "label", "class_code", "class_name", "height"]
    index = pq.ParquetFile(inputs.chips).read(columns=columns)
    point_ids, labels = index["point_id"].to_pylist(), np.array(index["label"].to_pylist(), dtype=np.int64)
    parts = read_split(inputs.split, point_ids)
    rows = {part: np.flatnonzero(parts == part) for part in ("train", "validation", "test")}
    if not len(rows["validation"]):
        rows["validation"] = rows["test"]
    names = dict(
        zip(
            labels.tolist(),
            zip(index["class_code"].to_pylist(), index["class_name"].to_pylist(), strict=True),
            strict=True,
        )
    )
    setting = run.loss_setting
    scheme, beta = setting.get("class_weights", "none"), setting.get("beta")
    return RunChips(
        point_ids=point_ids,
        labels=labels,
        parts=parts,
        rows=rows,
        classes=[
            {"code": names[label][0], "name": inputs.class_names[label] if inputs.class_names else names[label][1]}
            for label in sorted(names)
        ],
        side_px=index["height"][0].as_py(),
        class_weights=class_weights(scheme, labels[rows["train"]], run.n_classes, beta),
    )


def _predict(
    learner: Learner, progress: Progress, rows: Mapping[str, np.ndarray], n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the validation and test chips, and their logits; both are empty if the run diverged."""
    if progress.diverged:
        return rows["test"][:0], np.empty((0, n_classes))
    predicted = rows["test"]
    if rows["validation"] is not predicted:
        predicted = np.concatenate([rows["validation"], predicted])
    return predicted, learner.predict(progress.best_state, predicted)


def _train(
    learner: Learner, loss: Loss, resume_file: ResumeFile, event_writer: AbstractContextManager[Any], started: float
) -> Outcome:
    first_step: list[float] = []
    epochs: list[int] = []
    with event_writer as events:

        def on_epoch(row: dict[str, float]) -> None:
            epochs.append(int(row["epoch"]))
            logger.info("epoch %d: %s", row["epoch"], ", ".join(f"{k} {v:.4f}" for k, v in row.items() if k != "epoch"))
            if events is not None:
                for name, value in row.items():
                    events.add_scalar(name, value, int(row["epoch"]))

        progress = learner.train(
            loss,
            resume_file,
            on_first_step=lambda: first_step.append(time.time() - psutil.Process().create_time()),
            on_epoch=on_epoch,
        )
    resumed_after = epochs[0] - 1 if epochs else progress.epoch
    return Outcome(progress, resumed_after, time.monotonic() - started, first_step[0] if first_step else None)


def _event_writer(folder: Path, wanted: bool) -> AbstractContextManager[Any]:
    if not wanted:
        return nullcontext()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))


def _write_results(
    run: RunSettings, outputs: Mapping[str, Path], progress: Progress, predictions: PredictionTable
) -> None:
    write_predictions(outputs["predictions"], predictions)
    status = {"status": DIVERGED if progress.diverged else FINISHED}
    scores = {part: predictions.accuracies(part) for part in np.unique(predictions.parts).tolist()}
    write_json(outputs["metrics"], {"schema_version": SCHEMA_VERSION, "run": run.name, **status, **scores})
    with atomic_path(outputs["history"]) as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HISTORY, lineterminator="\n")
        writer.writeheader()
        writer.writerows(progress.history)
    with atomic_path(outputs["model"]) as path:
        # Save to memory first: if the disk is full, torch.save hides the error of the operating system.
        content = io.BytesIO()
        torch.save(
            {
                "schema_version": SCHEMA_VERSION,
                "run": run.name,
                "epoch": progress.best_epoch,
                "decoder": dict(run.decoder_setting),
                "n_classes": run.n_classes,
                "cosine_scale": head_scale(run.loss_setting),
                "state_dict": progress.best_state,
            },
            content,
        )
        path.write_bytes(content.getvalue())


def _write_record(
    outputs: Mapping[str, Path],
    identity: Mapping[str, Any],
    fingerprint: str,
    source: Mapping[str, Any],
    outcome: Outcome,
    extra: Mapping[str, Any],
) -> None:
    record = {
        "schema_version": SCHEMA_VERSION,
        **identity,
        "fingerprint": fingerprint,
        "status": DIVERGED if outcome.progress.diverged else FINISHED,
        "diverged": outcome.progress.diverged,
        "predictions_sha256": sha256_of_file(outputs["predictions"]),
        "history_sha256": sha256_of_file(outputs["history"]),
        "model_sha256": sha256_of_file(outputs["model"]),
        "features": {key: source[key] for key in ("model", "weights", "bands", "normalisation", "precision", "sha256")},
        **extra,
        "best_epoch": outcome.progress.best_epoch,
        "epochs": outcome.progress.epoch,
        "resumed_after_epoch": outcome.resumed_after_epoch,
        "seconds": round(outcome.seconds, 3),
        "seconds_to_first_step": outcome.seconds_to_first_step and round(outcome.seconds_to_first_step, 3),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }
    write_text(outputs["record"], yaml.safe_dump(record, sort_keys=False, allow_unicode=True))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
