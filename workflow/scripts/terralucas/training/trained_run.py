"""A finished run, loaded from its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from terralucas.backbones.checkpoint_files import refuse_damaged
from terralucas.backbones.checkpoints import read_checkpoint
from terralucas.backbones.encoder import Backbone, build_backbone
from terralucas.data.normalisation import Normaliser
from terralucas.errors import StudyError
from terralucas.files import sha256_of_file
from terralucas.predictions import DIVERGED
from terralucas.stored import read_yaml
from terralucas.training.run import SCHEMA_VERSION
from terralucas.training.tuned import TunedModel, make_trainable


class TrainedRun(nn.Module):
    """The model of a finished run, in evaluation mode. It maps reflectance to logits.

    Attributes:
        record: content of the run's run.yaml.
        classes: code of each class, and its name when the run was trained, in the order of the logits. Names that were
            corrected since are in the configuration.
        bands: names of the bands, in the order that `forward` expects.
        normaliser: normaliser with the statistics that the run was trained with.
        model: encoder, decoder and head.
    """

    def __init__(self, record: Mapping[str, Any], normaliser: Normaliser, model: TunedModel) -> None:
        super().__init__()
        self.record = record
        self.classes: list[dict[str, str]] = record["classes"]
        self.bands: list[str] = record["features"]["bands"]
        self.normaliser, self.model = normaliser, model

    @torch.inference_mode()
    def forward(self, chips: np.ndarray) -> Tensor:
        """Classify chips.

        Args:
            chips: (n, bands, side, side) surface reflectance, NaN where a pixel is missing. The run was trained on
                chips with a side of `record["chip_side_px"]` pixels.

        Returns:
            (n, K) float32 logits.
        """
        device = next(self.model.parameters()).device
        return self.model(torch.from_numpy(self.normaliser(chips)).to(device)).float()


def load_run(folder: Path, backbone: Backbone | None = None) -> TrainedRun:
    """Load the model of a finished run from run.yaml and model.ckpt.

    Args:
        folder: folder of the run, `results/<study>/runs/<backbone>/<loss>/<decoder>/seed-<s>`. In run.yaml, the path of
            the backbone's weights is relative to the folder in which the study was started.
        backbone: the frozen backbone of another run with the same weights and bands, which this run shares; None to
            build it.

    Raises:
        StudyError: the run is not finished, another version of the project wrote it, its model is damaged or of another
            run, or the backbone's weights are missing or were changed.
    """
    record = read_record(folder)
    source, settings = record["features"], record["settings"]
    remedy = "delete the folder of the run; the run is made again"
    refuse_damaged(folder / "model.ckpt", remedy)
    require_own_model(folder, record)
    checkpoint = read_checkpoint(folder / "model.ckpt", remedy)
    backbone = backbone or build_backbone(source["model"], source["bands"], source["weights"])
    model = TunedModel(
        backbone.encoder,
        checkpoint["decoder"],
        backbone.embedding,
        checkpoint["n_classes"],
        checkpoint["cosine_scale"],
    )
    training = settings["training"]
    tuning = training.get("tuning", "frozen")
    make_trainable(model, tuning, training.get("end_to_end", {}).get("lora"))
    # For a frozen encoder, or one with adapters, the checkpoint contains only the trained weights.
    missing, unexpected = model.load_state_dict(checkpoint["state_dict"], strict=False)
    absent = [name for name in missing if tuning == "full" or not name.startswith("encoder.")]
    if absent or unexpected:
        raise StudyError(
            f"The checkpoint {folder / 'model.ckpt'} is not of the model that run.yaml describes.",
            found=f"missing {', '.join(absent) or 'nothing'}; unexpected {', '.join(unexpected) or 'nothing'}",
            remedy=remedy,
        )
    statistics = (np.array(list(source["normalisation"][name].values())) for name in ("mean", "std", "fill"))
    normaliser = Normaliser(source["normalisation"]["kind"], *statistics)
    return TrainedRun(record, normaliser, model).eval().requires_grad_(False)


def require_own_model(folder: Path, record: Mapping[str, Any]) -> None:
    """Check that the model of a run is the one that its record describes.

    Args:
        folder: folder of the run.
        record: of run.yaml. Runs of an earlier version do not say it.

    Raises:
        StudyError: it is another one.
    """
    expected = record.get("model_sha256")
    if expected is not None and sha256_of_file(folder / "model.ckpt") != expected:
        raise StudyError(
            f"The model {folder / 'model.ckpt'} is not the one that run.yaml describes.",
            found="another file, such as that of a backup or of another study",
            expected=f"sha256 {expected}",
            remedy=f"delete the folder {folder}, and start the study again, which makes it again",
        )


def read_record(folder: Path) -> dict[str, Any]:
    """Read run.yaml of a finished run.

    Raises:
        StudyError: the run is not finished or diverged, or another version of the project wrote it.
    """
    path = folder / "run.yaml"
    if not path.is_file():
        raise StudyError(
            f"There is no finished run in {folder}.",
            found=f"no file {path.name}",
            expected="the folder of a run: results/<study>/runs/<backbone>/<loss>/<decoder>/seed-<s>",
            remedy="start the study again, or name another run",
        )
    record = read_yaml(path, "schema_version", "status", delete=f"the folder {folder}")
    if record["schema_version"] != SCHEMA_VERSION:
        raise StudyError(
            f"The run in {folder} was written by another version of this project.",
            found=f"schema_version {record['schema_version']} in {path.name}",
            expected=f"schema_version {SCHEMA_VERSION}",
            remedy="start the study again with this version, or load the run with the version that wrote it",
        )
    if record["status"] == DIVERGED:
        raise StudyError(
            f"The run in {folder} has no model to use.",
            found=f"it diverged: {record['diverged']}",
            remedy="use a run whose status is finished",
        )
    return record
