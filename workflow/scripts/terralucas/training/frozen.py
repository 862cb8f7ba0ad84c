"""What a run trains on a frozen backbone: a decoder and its head, on stored features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from terralucas.arrays import open_checked_array
from terralucas.randomness import Stream, torch_seed
from terralucas.training.decoders import DecoderModel, read_tokens
from terralucas.training.frozen_loop import TrainingData, predict, train
from terralucas.training.losses import Loss, head_scale
from terralucas.training.progress import Progress, TrainingOptions
from terralucas.training.resume import ResumeFile
from terralucas.training.run import RunChips, RunSettings


class FrozenLearner:
    """A decoder on features; a `run.Learner`.

    Args:
        run: settings and seed.
        chips: of the study.
        device: to train on.
        features: the array the decoder reads, rows in the index's order.
        record: what the array was made of, beside it.

    Raises:
        StudyError: the array is not the one the record describes, or not of these chips.
    """

    def __init__(self, run: RunSettings, chips: RunChips, device: torch.device, features: Path, record: Path) -> None:
        self.seed, self.device = run.seed, device
        array, self.source = open_checked_array(features, record, len(chips.labels))
        self.fingerprint: str = self.source["sha256"]
        # torch wants memory it may write to; nothing here does.
        inputs = torch.from_numpy(array)
        if inputs.dim() == 3:
            inputs = read_tokens(run.decoder_setting, inputs)
        if device.type == "cuda" and inputs.nbytes < torch.cuda.mem_get_info(device)[0] // 2:
            inputs = inputs.to(device)
        labels = torch.from_numpy(chips.labels).to(device)
        self.data = TrainingData(inputs, labels, chips.rows["train"], chips.rows["validation"])
        self.options = TrainingOptions.of(run.training)
        torch.manual_seed(torch_seed(run.seed, Stream.INITIALISATION))
        scale = head_scale(run.loss_setting)
        self.model = DecoderModel(run.decoder_setting, inputs.shape[-1], run.n_classes, scale).to(device)

    def train(
        self,
        loss: Loss,
        resume_file: ResumeFile,
        on_first_step: Callable[[], None],
        on_epoch: Callable[[dict[str, float]], None],
    ) -> Progress:
        """Train the decoder."""
        return train(self.model, loss, self.data, self.options, self.seed, resume_file, on_first_step, on_epoch)

    def predict(self, state: Mapping[str, torch.Tensor], rows: np.ndarray) -> np.ndarray:
        """Logits (len(rows), K) float32."""
        self.model.load_state_dict(state)
        return predict(self.model, self.data.features, rows, self.device, self.options.precision).cpu().numpy()

    def remarks(self) -> dict[str, Any]:
        """Nothing beside what all runs say."""
        return {}
