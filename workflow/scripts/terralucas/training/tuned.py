"""The learner of a run with a tuned backbone: it trains the encoder, or LoRA adapters, with the decoder on chips."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from terralucas.backbones.encoder import build_backbone
from terralucas.backbones.feature_kinds import kind_of_features, layers_of, read_layers
from terralucas.backbones.terratorch_parts import terratorch_module
from terralucas.data.index_file import read_index_table
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

# Name of the TerraMind layer that computes queries, keys and values together. The adapters split it into three.
_QKV = "qkv"
# Their versions are part of the fingerprint. The version of torch is part of every run's fingerprint already.
_LIBRARIES = ("terratorch", "peft", "lightning")


@dataclass(frozen=True)
class TunedInputs:
    """Inputs of a tuned run in addition to index and split.

    Attributes:
        index: path of chips.parquet, which has the moments and checksums of the chips.
        chips: path of the packed chips.
        chips_record: path of the record that says how the packed chips were made.
        weights: a record of `terralucas.backbones.weights.obtain`.
        model: name in TerraTorch's backbone registry.
        bands: names of the bands, in the order on disk.
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
    """An encoder and its decoder, with the parameter names of TerraTorch's `ScalarOutputModel`.

    Args:
        encoder: maps chips to a list of tokens (n, tokens, D), one entry for each layer.
        setting: an entry of `decoders`.
        embedding: width D of the tokens.
        n_classes: number of classes K.
        cosine_scale: scale of a normalised head; None for a linear head.

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
    """A `run.Learner` that trains a backbone and its decoder on chips.

    Args:
        run: settings and seed; its `training` has the keys `tuning` and `end_to_end`.
        chips: the chips of the study.
        device: the device to train on.
        inputs: files and names.
        workers: number of processes that load chips in advance.
        lower_batch_on_oom: whether to cut a batch that does not fit into memory into halves.

    Raises:
        StudyError: the inputs do not belong together, or the weights differ from the recorded ones.
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
        index = read_index_table(inputs.index)
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
        # The path is left out: it does not change the numbers of a run.
        weights = {key: value for key, value in inputs.weights.items() if key != "path"}
        versions = {name: version(name) for name in _LIBRARIES}
        self.fingerprint = sha256_of_json([self.source | {"weights": weights}, list(inputs.bands), versions])
        self.options = TrainingOptions.of(run.training)
        self.module: EndToEnd | None = None

    def train(
        self,
        loss: Loss,
        resume_file: ResumeFile,
        on_first_step: Callable[[], None],
        on_epoch: Callable[[dict[str, float]], None],
    ) -> Progress:
        """Train. If memory is too small and `lower_batch_on_oom` is set, try again with the batches cut in halves.

        Raises:
            StudyError: memory is too small, or `drop_last` leaves no batch.
        """
        rows, pieces_per_batch = self.chips.rows, 1
        data = ChipData(
            self.packed,
            self.chips.point_ids,
            rows["train"],
            rows["validation"],
            self._denominator_terms,
            self.workers,
        )
        tuning, callbacks = EndToEndOptions.of(self.settings), Callbacks(on_first_step, on_epoch)
        while True:
            try:
                self.module = EndToEnd(
                    self._build_model().to(self.device),
                    loss,
                    data,
                    self.options,
                    tuning,
                    self.run.seed,
                    callbacks,
                    pieces_per_batch,
                )
                return fit(self.module, self.device, resume_file)
            except torch.OutOfMemoryError as error:
                problem = self._out_of_memory(str(error))
            if problem is not None:
                raise problem
            # Free the memory of the model that did not fit. This must be outside the handler, because the exception
            # refers to the model; and it needs gc.collect(), because the model and its trainer refer to each other.
            self.module = None
            gc.collect()
            torch.cuda.empty_cache()
            pieces_per_batch *= 2

    def predict(self, state: Mapping[str, Tensor], rows: np.ndarray) -> np.ndarray:
        """Return the logits (len(rows), K) float32 with the weights in `state`."""
        assert self.module is not None, "train() was called before"
        model = self.module.model.to(self.device)
        model.load_state_dict(state, strict=False)
        size = self.module.evaluation_batch
        return predict(model, self.packed, rows, self.device, self.options.precision, size).cpu().numpy()

    def extra_record(self) -> dict[str, Any]:
        """Return the chips per piece, the number of trained weights, and the share of time spent waiting for chips.

        The share is measured over the training batches since the run was last started or resumed, or since the batches
        were last cut.
        """
        assert self.module is not None, "train() was called before"
        module = self.module
        waited = module.waited_s / module.trained_s if module.trained_s else None
        return {
            "chips_in_memory": module.batches.chips_per_piece,
            "trained_parameters": sum(value.numel() for value in module.model.parameters() if value.requires_grad),
            "share_of_time_waiting_for_chips": waited and round(waited, 4),
        }

    def _denominator_terms(self, epoch: int) -> np.ndarray:
        """Return what each chip (n,) adds to the denominator of the loss in an epoch."""
        return denominator_terms(self.run.loss_setting, self.chips.class_weights, self.chips.labels, epoch)

    def _build_model(self) -> TunedModel:
        """Build the model with the initial weights of the seed.

        Decoder and head have the same initial weights as in a run with a frozen backbone.
        """
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
        """Return the error to raise, or None if a smaller batch can be tried."""
        if self.module is None:
            return StudyError(
                f"{self.run.name} does not fit into the memory of the GPU.",
                found=f"there is no room for its weights, even before the first batch: {found.splitlines()[0]}",
                remedy="ask for a larger GPU, or one that no other job uses",
            )
        tried, fitted = self.module.batches.chips_per_piece, self.module.largest_piece
        is_cut = can_be_cut(self.run.loss_setting)
        if self.lower_batch_on_oom and is_cut and tried > 1:
            logger.warning("%d chips at a time do not fit into memory; trying again with half as many", tried)
            return None
        cutting = "set training.end_to_end.lower_batch_on_oom (each step keeps its chips, in smaller pieces), "
        if not is_cut:
            cutting = "lower_batch_on_oom cannot help, because this loss needs a whole batch at once: "
        return StudyError(
            f"{self.run.name} does not fit into the memory of the GPU.",
            found=f"{tried} chips at a time do not fit; at most {fitted} did: {found.splitlines()[0]}",
            remedy=f"{cutting}lower training.batch_size, tune with lora instead of full, or ask for a larger GPU",
        )


def make_trainable(model: TunedModel, tuning: str, lora: Mapping[str, Any] | None) -> None:
    """Make the weights trainable that a tuning trains.

    Args:
        model: a model with a frozen encoder; changed in place.
        tuning: `frozen` leaves the encoder frozen, `full` trains all its weights, `lora` trains adapters in it.
        lora: settings of the adapters; only needed for `lora`.
    """
    if tuning == "full":
        model.encoder.requires_grad_(True)
    elif tuning == "lora":
        assert lora is not None, "the schema requires these settings with tuning lora"
        model.encoder = with_adapters(model.encoder, lora)


def with_adapters(encoder: nn.Module, lora: Mapping[str, Any]) -> nn.Module:
    """Add LoRA adapters to the layers of a TerraMind encoder; only the adapters can be trained.

    The layers compute W x + (α / r) B A x with B = 0 at the start (Hu et al. 2022, LoRA). TerraTorch and PEFT implement
    them.

    Args:
        encoder: the encoder; changed in place.
        lora: rank, alpha, dropout and target_modules.
    """
    arguments = {
        "r": lora["rank"],
        "lora_alpha": lora["alpha"],
        "lora_dropout": lora["dropout"],
        "target_modules": list(lora["target_modules"]),
    }
    add_adapters = terratorch_module("terratorch.models.peft_utils").get_peft_backbone
    return add_adapters({"method": "LORA", "replace_qkv": _QKV, "peft_config_kwargs": arguments}, encoder)
