"""One run: train a recipe for one seed and write its outputs, whatever is trained.

What trains and predicts is a learner: a decoder on a frozen backbone's features (`frozen`), or a backbone together with
its decoder, on chips (`tuned`).
"""

from __future__ import annotations

import csv
import io
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
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

from terralucas.data.split_files import read_split
from terralucas.device import autocast, peak_memory_mib, pick_device
from terralucas.files import atomic_path, sha256_of_file, sha256_of_json, write_json, write_text
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
    """What is trained: names of the grid and the settings behind them."""

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
        """The run's name: backbone/loss/decoder/seed-s."""
        return run_name(self.backbone, self.loss, self.decoder, self.seed)


@dataclass(frozen=True)
class Inputs:
    """What a run reads.

    Attributes:
        chips: the index (chips.parquet).
        split: the seed's split.
        code: fingerprint of the code that trains.
    """

    chips: Path
    split: Path
    code: str


@dataclass(frozen=True)
class RunChips:
    """The chips of a study as a run divides and weights them.

    Attributes:
        point_ids: (n,) ids, in the index's order.
        labels: (n,) int64 class indices.
        parts: (n,) train, validation or test.
        rows: row numbers of each part; of validation the test chips where it has none.
        classes: code and name of each class, in the order of the indices.
        side_px: side of a chip.
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
    """What is trained.

    Attributes:
        source: what its inputs are made of: model, weights, bands, normalisation, precision and sha256.
        fingerprint: of everything beside run, split and code that decides its numbers.
    """

    source: Mapping[str, Any]
    fingerprint: str

    def train(
        self,
        loss: Loss,
        resume_file: ResumeFile,
        on_first_step: Callable[[], None],
        on_epoch: Callable[[dict[str, float]], None],
    ) -> Progress:
        """Train to the end, going on from the resume_file's state if there is one."""

    def predict(self, state: Mapping[str, torch.Tensor], rows: np.ndarray) -> np.ndarray:
        """Logits (len(rows), K) float32 with the weights of a state."""

    def remarks(self) -> Mapping[str, Any]:
        """What the run's record says beside what all runs say."""


MakeLearner = Callable[[RunSettings, RunChips, torch.device], Learner]


@dataclass
class Outcome:
    """What became of a run, for its record."""

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
    """Train, predict validation and test chips with the best epoch's weights, and write the five outputs.

    A run that diverges has a record that says so, and no predictions: that is its result, and the report names it.

    Args:
        run: settings and seed.
        inputs: files to read.
        make_learner: makes what is trained, for a run, chips and device.
        outputs: paths by name: predictions, metrics, history, model, record.
        bookkeeping: `checkpoint_interval_s` and `tensorboard`, which change no result.

    Raises:
        StudyError: an input does not belong to the others.
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
        "split": sha256_of_json([chips.point_ids, chips.parts.tolist(), chips.labels.tolist()]),
        "code": inputs.code,
        "torch": str(torch.__version__),
        "device": device.type,
    }
    fingerprint = sha256_of_json(identity)
    resume_file = ResumeFile(
        outputs["record"].parent / "resume.ckpt", fingerprint, bookkeeping["checkpoint_interval_s"]
    )
    events = _event_writer(outputs["record"].parent, bookkeeping["tensorboard"])
    outcome = _train(learner, loss, resume_file, events, started)

    shown, logits = _predict(learner, outcome.progress, chips.rows, run.n_classes)
    point_ids = [chips.point_ids[i] for i in shown]
    table = PredictionTable(point_ids, chips.parts[shown], chips.labels[shown], logits)
    _write_results(run, outputs, outcome.progress, table)
    precision, _ = autocast(run.training["precision"], device)
    _write_record(outputs, identity, fingerprint, learner.source, outcome, {
        "classes": chips.classes,
        "chip_side_px": chips.side_px,
        "chips": {part: int((chips.parts == part).sum()) for part in chips.rows},
        "class_weights": [float(weight) for weight in chips.class_weights],
        "device": _device_name(device),
        "precision": precision,
        "peak_memory_mib": peak_memory_mib(device),
        **learner.remarks(),
    })  # fmt: skip
    if outcome.progress.diverged:
        logger.warning("%s diverged: %s", run.name, outcome.progress.diverged)


def _prepare_torch(training: Mapping[str, Any]) -> torch.device:
    torch.set_num_threads(training["threads"])
    # The same switch as torch.use_deterministic_algorithms(warn_only=True), which imports its compiler for 4 s.
    torch.set_deterministic_debug_mode("warn")
    # cuBLAS repeats its sums only with a workspace of fixed size, which it reads when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return pick_device(training["device"])


def _read_chips(inputs: Inputs, run: RunSettings) -> RunChips:
    # A plain ParquetFile: pyarrow's read_table imports its dataset module and pandas for a second.
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
        classes=[{"code": names[label][0], "name": names[label][1]} for label in sorted(names)],
        side_px=index["height"][0].as_py(),
        class_weights=class_weights(scheme, labels[rows["train"]], run.n_classes, beta),
    )


def _predict(
    learner: Learner, progress: Progress, rows: Mapping[str, np.ndarray], n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the validation and test chips, and their logits; none of a run that diverged."""
    if progress.diverged:
        return rows["test"][:0], np.empty((0, n_classes))
    shown = rows["test"]
    if rows["validation"] is not shown:
        shown = np.concatenate([rows["validation"], shown])
    return shown, learner.predict(progress.best_state, shown)


def _train(
    learner: Learner, loss: Loss, resume_file: ResumeFile, event_writer: AbstractContextManager[Any], started: float
) -> Outcome:
    first_step: list[float] = []
    rows: list[int] = []
    with event_writer as events:

        def on_epoch(row: dict[str, float]) -> None:
            rows.append(int(row["epoch"]))
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
    resumed = rows[0] - 1 if rows else progress.epoch
    return Outcome(progress, resumed, time.monotonic() - started, first_step[0] if first_step else None)


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
        # Through memory: torch hides what the system says of a full disk.
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
