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

from terralucas.data.splits import read_split
from terralucas.device import autocast, peak_memory_mib, pick_device
from terralucas.files import atomic_path, sha256_of_file, sha256_of_json, write_json, write_text
from terralucas.predictions import DIVERGED, FINISHED, PredictionTable, write_predictions
from terralucas.training.frozen_loop import Progress
from terralucas.training.losses import Loss, build_loss, class_weights, head_scale
from terralucas.training.resume import Sidecar

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2
HISTORY = (
    *("epoch", "train_loss", "validation_loss", "validation_nll"),
    *("validation_macro_accuracy", "validation_micro_accuracy"),
)
PACKAGES = ("torch", "numpy", "terratorch", "peft", "lightning", "snakemake")


@dataclass(frozen=True)
class Recipe:
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
    def run(self) -> str:
        """The run's name: backbone/loss/decoder/seed-s."""
        return f"{self.backbone}/{self.loss}/{self.decoder}/seed-{self.seed}"


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
class Chips:
    """The chips of a study as a run divides them.

    Attributes:
        point_ids: (n,) ids, in the index's order.
        labels: (n,) int64 class indices.
        rows: row numbers of each part: train, validation, test; of validation the test chips where it has none.
    """

    point_ids: list[str]
    labels: np.ndarray
    rows: Mapping[str, np.ndarray]


class Learner(Protocol):
    """What is trained.

    Attributes:
        source: what its inputs are made of: model, weights, normalisation, precision and sha256.
        fingerprint: of everything beside recipe, split and code that decides its numbers.
    """

    source: Mapping[str, Any]
    fingerprint: str

    def train(
        self,
        loss: Loss,
        sidecar: Sidecar,
        on_first_step: Callable[[], None],
        on_epoch: Callable[[dict[str, float]], None],
    ) -> Progress:
        """Train to the end, going on from the sidecar's state if there is one."""

    def predict(self, state: Mapping[str, torch.Tensor], rows: np.ndarray) -> np.ndarray:
        """Logits (len(rows), K) float32 with the weights of a state."""

    def remarks(self) -> Mapping[str, Any]:
        """What the run's record says beside what all runs say."""


MakeLearner = Callable[[Recipe, Chips, torch.device], Learner]


@dataclass
class Outcome:
    """What became of a run, for its record."""

    progress: Progress
    resumed_after_epoch: int
    seconds: float
    seconds_to_first_step: float | None


def execute(
    recipe: Recipe,
    inputs: Inputs,
    make_learner: MakeLearner,
    outputs: Mapping[str, Path],
    bookkeeping: Mapping[str, Any],
) -> None:
    """Train, predict validation and test chips with the best epoch's weights, and write the five outputs.

    A run that diverges has a record that says so, and no predictions: that is its result, and the report names it.

    Args:
        recipe: settings and seed.
        inputs: files to read.
        make_learner: makes what is trained, for a recipe, chips and device.
        outputs: paths by name: predictions, metrics, history, model, record.
        bookkeeping: `checkpoint_interval_s` and `tensorboard`, which change no result.

    Raises:
        StudyError: an input does not belong to the others.
    """
    # scikit-learn takes over a second to import and is not needed before the end.
    started = time.monotonic()
    device = _prepare_torch(recipe.training)
    chips, parts = _read_chips(inputs)
    learner = make_learner(recipe, chips, device)
    setting = recipe.loss_setting
    labels = chips.labels[chips.rows["train"]]
    weights = class_weights(setting.get("class_weights", "none"), labels, recipe.n_classes, setting.get("beta"))
    loss = build_loss(setting, weights, device, np.bincount(labels, minlength=recipe.n_classes))
    identity = {
        "run": recipe.run,
        "settings": asdict(recipe),
        "features": learner.fingerprint,
        "split": sha256_of_json([chips.point_ids, parts.tolist(), chips.labels.tolist()]),
        "code": inputs.code,
        "torch": str(torch.__version__),
        "device": device.type,
    }
    fingerprint = sha256_of_json(identity)
    sidecar = Sidecar(outputs["record"].parent / "resume.ckpt", fingerprint, bookkeeping["checkpoint_interval_s"])
    events = _event_writer(outputs["record"].parent, bookkeeping["tensorboard"])
    outcome = _train(learner, loss, sidecar, events, started)

    shown, logits = _predict(learner, outcome.progress, chips.rows, recipe.n_classes)
    point_ids = [chips.point_ids[i] for i in shown]
    _write_results(recipe, outputs, outcome, point_ids, parts[shown], chips.labels[shown], logits)
    precision, _ = autocast(recipe.training["precision"], device)
    _write_record(outputs, identity, fingerprint, learner.source, outcome, {
        "chips": {part: int((parts == part).sum()) for part in chips.rows},
        "class_weights": [float(weight) for weight in weights],
        "device": _device_name(device),
        "precision": precision,
        "peak_memory_mib": peak_memory_mib(device),
        **learner.remarks(),
    })  # fmt: skip
    if outcome.progress.diverged:
        logger.warning("%s diverged: %s", recipe.run, outcome.progress.diverged)


def _prepare_torch(training: Mapping[str, Any]) -> torch.device:
    torch.set_num_threads(training["threads"])
    # The same switch as torch.use_deterministic_algorithms(warn_only=True), which imports its compiler for 4 s.
    torch.set_deterministic_debug_mode("warn")
    # cuBLAS repeats its sums only with a workspace of fixed size, which it reads when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return pick_device(training["device"])


def _read_chips(inputs: Inputs) -> tuple[Chips, np.ndarray]:
    """The chips and the (n,) part of each."""
    # A plain ParquetFile: pyarrow's read_table imports its dataset module and pandas for a second.
    index = pq.ParquetFile(inputs.chips).read(columns=["point_id", "label"])
    point_ids, labels = index["point_id"].to_pylist(), np.array(index["label"].to_pylist(), dtype=np.int64)
    parts = read_split(inputs.split, point_ids)
    rows = {part: np.flatnonzero(parts == part) for part in ("train", "validation", "test")}
    if not len(rows["validation"]):
        rows["validation"] = rows["test"]
    return Chips(point_ids, labels, rows), parts


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
    learner: Learner, loss: Loss, sidecar: Sidecar, event_writer: AbstractContextManager[Any], started: float
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
            sidecar,
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
    recipe: Recipe,
    outputs: Mapping[str, Path],
    outcome: Outcome,
    point_ids: list[str],
    parts: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
) -> None:
    from terralucas.statistics.run_scores import evaluate

    write_predictions(outputs["predictions"], PredictionTable(point_ids, parts, labels, logits))
    scores = {part: evaluate(labels[parts == part], logits[parts == part]) for part in np.unique(parts).tolist()}
    status = {"status": DIVERGED if outcome.progress.diverged else FINISHED}
    write_json(outputs["metrics"], {"schema_version": SCHEMA_VERSION, "run": recipe.run, **status, **scores})
    with atomic_path(outputs["history"]) as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HISTORY, lineterminator="\n")
        writer.writeheader()
        writer.writerows(outcome.progress.history)
    with atomic_path(outputs["model"]) as path:
        # Through memory: torch hides what the system says of a full disk.
        content = io.BytesIO()
        torch.save(
            {
                "schema_version": SCHEMA_VERSION,
                "run": recipe.run,
                "epoch": outcome.progress.best_epoch,
                "decoder": dict(recipe.decoder_setting),
                "n_classes": recipe.n_classes,
                "cosine_scale": head_scale(recipe.loss_setting),
                "state_dict": outcome.progress.best_state,
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
        "features": {key: source[key] for key in ("model", "weights", "normalisation", "precision", "sha256")},
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
