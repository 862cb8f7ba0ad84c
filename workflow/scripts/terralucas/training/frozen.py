"""The learner of a run with a frozen backbone: it trains a decoder and its head on stored features."""

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

# Poolings without weights to learn: the decoder reads their result.
_POOLED_ONCE = ("mean", "center")
_CHIPS_AT_ONCE = 1024


class FrozenLearner:
    """A `run.Learner` that trains a decoder on stored features.

    Args:
        run: settings and seed of the run.
        chips: the chips of the study.
        device: the device to train on.
        features: file of the array that the decoder reads; its rows are in the order of the index.
        record: file that says how the array was made.

    Raises:
        StudyError: the array does not match its record, or was not made of these chips.
    """

    def __init__(self, run: RunSettings, chips: RunChips, device: torch.device, features: Path, record: Path) -> None:
        self.seed, self.device = run.seed, device
        array, self.source = open_checked_array(features, record, len(chips.labels))
        self.fingerprint: str = self.source["sha256"]
        # torch warns about memory that it cannot write to, so the array is mapped as writable. Nothing here writes.
        inputs = torch.from_numpy(array)
        if inputs.dim() == 3 and run.decoder_setting["pooling"] in _POOLED_ONCE:
            # In parts, because the array may be larger than the memory.
            parts = inputs.split(_CHIPS_AT_ONCE)
            inputs = torch.cat([read_tokens(run.decoder_setting, part.float()) for part in parts])
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
        """Return the logits (len(rows), K) float32 with the weights in `state`."""
        self.model.load_state_dict(state)
        return predict(self.model, self.data.features, rows, self.device, self.options.precision).cpu().numpy()

    def extra_record(self) -> dict[str, Any]:
        """Return no extra entries: the record of a frozen run has only the common ones."""
        return {}
