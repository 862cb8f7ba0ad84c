"""The selected models of a study as one classifier: runs that share an encoder pass each chip through it once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from terralucas.backbones.encoder import Backbone
from terralucas.backbones.feature_kinds import read_layers
from terralucas.data.normalisation import Normaliser
from terralucas.files import sha256_of_json
from terralucas.training.decoders import DecoderModel, read_tokens
from terralucas.training.trained_run import TrainedRun, load_run, read_record
from terralucas.training.tuned import TunedModel

FROZEN = "frozen"


@dataclass(frozen=True)
class EncoderGroup:
    """Models with one encoder and one normalisation.

    Attributes:
        encoder: maps normalised chips to the tokens of each layer.
        normaliser: normaliser of the chips.
        models: the models, each with its decoder.
        members: their positions among all models.
    """

    encoder: nn.Module
    normaliser: Normaliser
    models: list[TunedModel]
    members: list[int]

    @property
    def width(self) -> int:
        """Width D of a token."""
        channels: Sequence[int] = self.encoder.out_channels  # type: ignore[assignment]  # TerraTorch sets it
        return int(channels[-1])

    def __call__(self, chips: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the logits (models, n, K) of chips, and the mean (n, D) of the tokens of the last layer."""
        outputs = self.encoder(torch.from_numpy(self.normaliser(chips)).to(device))
        logits = torch.stack([decode(model, outputs) for model in self.models])
        return logits.float(), outputs[-1].float().mean(dim=1)


class Ensemble:
    """Several models of one recipe.

    Args:
        folders: folders with the run.yaml and model.ckpt of each model.
        device: device of the models.
        context: makes the autocast context of a prediction.

    Attributes:
        runs: the loaded runs.
        groups: the models by encoder.
        n_classes: number of classes K.
        bands: names of the bands, in the order that predictions expect.
        side_px: side of the chips that the models were trained on.

    Raises:
        StudyError: see `terralucas.training.trained_run.load_run`.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        device: torch.device,
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.device, self.context = device, context
        self.runs: list[TrainedRun] = []
        groups: dict[str, EncoderGroup] = {}
        for member, folder in enumerate(folders):
            key = _encoder_key(folder, member)
            group = groups.get(key)
            run = load_run(folder, None if group is None else Backbone(group.encoder, group.width))
            self.runs.append(run)
            model = run.model.to(device)
            if group is None:
                group = groups.setdefault(key, EncoderGroup(model.encoder, run.normaliser, [], []))
            group.models.append(model)
            group.members.append(member)
        self.groups = list(groups.values())
        first = self.runs[0]
        self.n_classes, self.bands = len(first.classes), first.bands
        self.side_px: int = first.record["chip_side_px"]

    @torch.inference_mode()
    def predict(self, chips: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Classify chips.

        Args:
            chips: (n, bands, side, side) surface reflectance, NaN where a pixel is missing.

        Returns:
            (J, n, K) float32 logits of the models, and for each encoder the mean (n, D) of its tokens.
        """
        logits = np.empty((len(self.runs), len(chips), self.n_classes), dtype=np.float32)
        features = []
        for group in self.groups:
            with self.context():
                of_group, pooled = group(chips, self.device)
            logits[group.members] = of_group.cpu().numpy()
            features.append(pooled.cpu().numpy())
        return logits, features


def _encoder_key(folder: Path, member: int) -> str:
    """Return a text that is equal for runs with one encoder and one normalisation: those with a frozen backbone."""
    record = read_record(folder)
    if record["settings"]["training"].get("tuning", FROZEN) != FROZEN:
        return str(member)
    return sha256_of_json({name: record["features"][name] for name in ("model", "weights", "bands", "normalisation")})


def decode(model: TunedModel, outputs: Sequence[Tensor]) -> Tensor:
    """Return the logits of a model from the outputs of its encoder, as `TunedModel.forward`."""
    tokens = torch.cat(read_layers(model.kind, outputs), dim=-1)
    return DecoderModel.forward(model, read_tokens(model.setting, tokens))
