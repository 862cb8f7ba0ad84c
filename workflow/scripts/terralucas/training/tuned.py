"""What a run trains where the backbone is tuned: the encoder, or LoRA adapters in it, with its decoder, on chips."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from terralucas.backbones.encoder import build_backbone
from terralucas.backbones.feature_kinds import kind_of_features, layers_of, read_layers
from terralucas.data.normalisation import normaliser_of_index
from terralucas.data.packed_chips import open_packed_chips
from terralucas.device import autocast
from terralucas.errors import StudyError
from terralucas.files import sha256_of_json
from terralucas.randomness import Stream, torch_seed
from terralucas.training.chip_batches import Augmentation, PackedChips
from terralucas.training.decoders import DecoderModel, read_tokens
from terralucas.training.losses import Loss, can_be_cut, denominator_terms, head_scale
from terralucas.training.progress import Progress, TrainingOptions
from terralucas.training.resume import ResumeFile
from terralucas.training.run import RunChips, RunSettings
from terralucas.training.tuned_loop import Callbacks, ChipData, EndToEnd, EndToEndOptions, fit, predict

logger = logging.getLogger(__name__)

# The attention's queries, keys and values are one layer in TerraMind; adapters take them apart by this name.
_QKV = "qkv"
# Beside torch, which every run's fingerprint names.
_LIBRARIES = ("terratorch", "peft", "lightning")


@dataclass(frozen=True)
class TunedInputs:
    """What a tuned run reads beside index and split.

    Attributes:
        index: chips.parquet, with the chips' moments and checksums.
        chips: the packed chips.
        chips_record: what they were made of, beside them.
        weights: a record of `terralucas.backbones.weights.obtain`.
        model: name in TerraTorch's backbone registry.
        bands: their names in the order on disk.
        normalisation: `dataset`, `train` or `pretraining`.
    """

    index: Path
    chips: Path
    chips_record: Path
    weights: Mapping[str, Any]
    model: str
    bands: Sequence[str]
    normalisation: str


class TunedModel(DecoderModel):
    """An encoder and its decoder, with the names of TerraTorch's `ScalarOutputModel`.

    Args:
        encoder: maps chips to a list of token grids (n, tokens, D), one for each layer.
        setting: an entry of `decoders`.
        embedding: width D.
        n_classes: number of classes K.
        cosine_scale: of a normalised head; None for a linear one.

    `forward` maps chips (n, bands, height, width) to logits (n, K).
    """

    def __init__(
        self,
        encoder: nn.Module,
        setting: Mapping[str, Any],
        embedding: int,
        n_classes: int,
        cosine_scale: float | None = None,
    ) -> None:
        kind = kind_of_features(setting)
        super().__init__(setting, embedding * max(1, len(layers_of(kind))), n_classes, cosine_scale)
        self.encoder, self.setting, self.kind = encoder, setting, kind

    def forward(self, chips: Tensor) -> Tensor:
        tokens = torch.cat(read_layers(self.kind, self.encoder(chips)), dim=-1)
        return super().forward(read_tokens(self.setting, tokens))


class TunedLearner:
    """A backbone and its decoder on chips; a `run.Learner`.

    Args:
        run: settings and seed; its `training` says `tuning` and `end_to_end`.
        chips: of the study.
        device: to train on.
        inputs: files and names.
        workers: processes that read chips ahead.
        lower_batch_on_oom: whether a batch that does not fit into memory is cut in halves.

    Raises:
        StudyError: the inputs do not belong together, or the weights are not those recorded.
    """

    def __init__(
        self,
        run: RunSettings,
        chips: RunChips,
        device: torch.device,
        inputs: TunedInputs,
        workers: int,
        lower_batch_on_oom: bool,
    ) -> None:
        self.run, self.chips, self.device, self.inputs = run, chips, device, inputs
        self.workers, self.lower_batch_on_oom = workers, lower_batch_on_oom
        self.settings: Mapping[str, Any] = run.training["end_to_end"]
        index = pq.read_table(inputs.index)
        train = chips.rows["train"] if inputs.normalisation == "train" else None
        normaliser, normalisation = normaliser_of_index(index, inputs.normalisation, inputs.bands, train)
        array, record = open_packed_chips(inputs.chips, inputs.chips_record, index["sha256"].to_pylist())
        augmentation = Augmentation(**self.settings["augmentation"])
        self.packed = PackedChips(array, chips.labels, normaliser, augmentation, run.seed)
        self.source = {
            "model": inputs.model,
            "weights": inputs.weights,
            "bands": list(inputs.bands),
            "normalisation": normalisation,
            "precision": autocast(run.training["precision"], device)[0],
            "sha256": record["sha256"],
        }
        decisive = {key: value for key, value in inputs.weights.items() if key != "path"}
        versions = {name: version(name) for name in _LIBRARIES}
        self.fingerprint = sha256_of_json([self.source | {"weights": decisive}, list(inputs.bands), versions])
        self.options = TrainingOptions.of(run.training)
        self.module: EndToEnd | None = None

    def train(
        self,
        loss: Loss,
        resume_file: ResumeFile,
        on_first_step: Callable[[], None],
        on_epoch: Callable[[dict[str, float]], None],
    ) -> Progress:
        """Train; with the batch cut in ever smaller pieces as long as memory does not suffice, if that is allowed.

        Raises:
            StudyError: memory does not suffice, or `drop_last` leaves no batch.
        """
        rows, parts = self.chips.rows, 1
        data = ChipData(self.packed, self.chips.point_ids, rows["train"], rows["validation"], self._mass, self.workers)
        tuning, callbacks = EndToEndOptions.of(self.settings), Callbacks(on_first_step, on_epoch)
        while True:
            try:
                self.module = EndToEnd(
                    self._build().to(self.device), loss, data, self.options, tuning, self.run.seed, callbacks, parts
                )
                return fit(self.module, self.device, resume_file)
            except torch.OutOfMemoryError as error:
                problem = self._out_of_memory(str(error))
            if problem is not None:
                raise problem
            # Outside the handler, which holds on to the model that did not fit; it and its trainer refer to each other.
            self.module = None
            gc.collect()
            torch.cuda.empty_cache()
            parts *= 2

    def predict(self, state: Mapping[str, Tensor], rows: np.ndarray) -> np.ndarray:
        """Logits (len(rows), K) float32."""
        assert self.module is not None, "trained before"
        model = self.module.model.to(self.device)
        model.load_state_dict(state, strict=False)
        size = self.module.evaluation_batch
        return predict(model, self.packed, rows, self.device, self.options.precision, size).cpu().numpy()

    def remarks(self) -> dict[str, Any]:
        """Pieces of a batch, number of weights that were trained, and the share of time spent waiting for chips.

        The share is of training batches since the run last went on, or the batch was last cut.
        """
        assert self.module is not None, "trained before"
        module = self.module
        waited = module.waited_s / module.trained_s if module.trained_s else None
        return {
            "chips_in_memory": module.batches.chips_per_piece,
            "trained_parameters": sum(value.numel() for value in module.model.parameters() if value.requires_grad),
            "share_of_time_waiting_for_chips": waited and round(waited, 4),
        }

    def _mass(self, epoch: int) -> np.ndarray:
        """What each chip (n,) adds to the denominator of the loss in an epoch."""
        return denominator_terms(self.run.loss_setting, self.chips.class_weights, self.chips.labels, epoch)

    def _build(self) -> TunedModel:
        """The model with the initial weights of the seed; decoder and head start as those of a frozen run do."""
        backbone = build_backbone(self.inputs.model, self.inputs.bands, self.inputs.weights)
        torch.manual_seed(torch_seed(self.run.seed, Stream.INITIALISATION))
        run = self.run
        model = TunedModel(
            backbone.encoder,
            run.decoder_setting,
            backbone.embedding,
            run.n_classes,
            head_scale(run.loss_setting),
        )
        make_trainable(model, run.training["tuning"], self.settings.get("lora"))
        return model

    def _out_of_memory(self, found: str) -> StudyError | None:
        """None if a smaller batch is to be tried."""
        if self.module is None:
            return StudyError(
                f"{self.run.name} does not fit into the memory of the GPU.",
                found=f"there is no room for its weights, before any batch: {found.splitlines()[0]}",
                remedy="ask for a larger GPU, or one that no other job uses",
            )
        tried, fitted = self.module.batches.chips_per_piece, self.module.largest_batch
        is_cut = can_be_cut(self.run.loss_setting)
        if self.lower_batch_on_oom and is_cut and tried > 1:
            logger.warning("A batch of %d chips does not fit into memory; the next try takes half of it", tried)
            return None
        cutting = "set training.end_to_end.lower_batch_on_oom (the same chips for a step, in smaller pieces), "
        if not is_cut:
            cutting = "its loss is of a whole batch, which lower_batch_on_oom cannot cut: "
        return StudyError(
            f"{self.run.name} does not fit into the memory of the GPU.",
            found=f"a batch of {tried} chips was tried, the largest that fitted had {fitted}: {found.splitlines()[0]}",
            remedy=f"{cutting}lower training.batch_size, tune with lora instead of full, or ask for a larger GPU",
        )


def make_trainable(model: TunedModel, tuning: str, lora: Mapping[str, Any] | None) -> None:
    """Let a frozen encoder learn.

    Args:
        model: changed in place.
        tuning: `frozen` leaves the encoder as it is, `full` trains all its weights, `lora` adapters in it.
        lora: their settings.
    """
    if tuning == "full":
        model.encoder.requires_grad_(True)
    elif tuning == "lora":
        assert lora is not None, "with this tuning the configuration has them"
        model.encoder = with_adapters(model.encoder, lora)


def with_adapters(encoder: nn.Module, lora: Mapping[str, Any]) -> nn.Module:
    """A TerraMind encoder with LoRA adapters in its layers; only they can be trained.

    Hu et al. (2022), LoRA, through TerraTorch and PEFT: W x + (α / r) B A x with B = 0 at the start.

    Args:
        encoder: changed in place.
        lora: rank, alpha, dropout and target_modules.
    """
    from terratorch.models.peft_utils import get_peft_backbone

    arguments = {
        "r": lora["rank"],
        "lora_alpha": lora["alpha"],
        "lora_dropout": lora["dropout"],
        "target_modules": list(lora["target_modules"]),
    }
    return get_peft_backbone({"method": "LORA", "replace_qkv": _QKV, "peft_config_kwargs": arguments}, encoder)
