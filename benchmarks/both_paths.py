"""Training of one recipe along two paths on the same chips: with TerraTorch's pipeline, and on stored features.

The stock path uses TerraTorch's data module and classification task with Lightning's trainer, as in the original
notebook: in every epoch, every chip is read from its file and goes through the frozen backbone. The stored path is that
of this project: one pass of all chips through the backbone, then `terralucas.training.frozen_loop.train`.

Both paths start from the same weights. TerraTorch's sampler is replaced to give the project's batch order, and its
dropout to give the project's masks. Therefore both paths must give the same numbers, up to rounding.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from sklearn.utils.class_weight import compute_class_weight
from terratorch.datamodules import GenericNonGeoClassificationDataModule
from terratorch.tasks import ClassificationTask
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from terralucas.backbones.encoder import MODALITY, Backbone
from terralucas.backbones.features import ChipDataset, FeatureOptions, extract
from terralucas.data.chips.chip_files import read_indexed_chip
from terralucas.data.dataset import DN_PER_REFLECTANCE, ClassSpec, DatasetSpec, LayoutSpec
from terralucas.data.discovery.lucas import ITALY_BANDS
from terralucas.data.indexing.index import index_chips
from terralucas.data.normalisation import make_normaliser, merge
from terralucas.data.simulation.simulate import PIXEL_M, Landscape, draw_points, load_covers
from terralucas.randomness import Stream, generator, torch_seed
from terralucas.training.decoders import DecoderModel
from terralucas.training.frozen_loop import TrainingData, predict, train
from terralucas.training.losses import build_loss, class_weights
from terralucas.training.progress import TrainingOptions
from terralucas.training.resume import ResumeFile

# Importing TerraTorch 1.2 (its clay_v15) sets this to "medium" for the whole process. CPUs with AMX then compute
# float32 products in bfloat16, and the two paths would differ.
torch.set_float32_matmul_precision("highest")

LAST_LAYER = 11
DRAWN_POINTS = 400
DECODERS = {
    "identity": {"pooling": "mean", "hidden": None, "dropout": 0.1},
    "mlp": {"pooling": "tokens", "hidden": "embedding", "dropout": 0.1},
}
LOSSES = {
    "weighted_ce": {"type": "ce", "class_weights": "balanced", "reduction": "weighted_mean"},
    "weighted_focal": {"type": "focal", "class_weights": "balanced", "gamma": 2.0, "reduction": "weighted_mean"},
    "ce": {"type": "ce", "class_weights": "none", "reduction": "weighted_mean"},
    "focal": {"type": "focal", "class_weights": "none", "gamma": 2.0, "reduction": "weighted_mean"},
    "terratorch_focal": {"type": "terratorch_focal"},
}
STOCK_LOSSES = {"weighted_ce": "ce", "terratorch_focal": "focal"}
STOCK_DECODERS = {
    "identity": {"decoder": "IdentityDecoder", "necks": [{"name": "AggregateTokens", "pooling": "mean"}]},
    # As in the notebook; `MLPDecoder` ignores the number of channels and is as wide as the embedding.
    "mlp": {
        "decoder": "MLPDecoder",
        "decoder_channels": 512,
        "necks": [{"name": "ReshapeTokensToImage", "remove_cls_token": False}],
    },
}


@dataclass(frozen=True)
class ChipSet:
    """Chips in class folders, indexed by the project and split into two parts.

    Attributes:
        root: folder that contains the class folders.
        spec: description of the chips; classes are in the order in which TerraTorch sorts the folders.
        index: result of `terralucas.data.indexing.index.index_chips`.
        train: (n_train,) rows of the index.
        validation: (n_validation,) rows of the index; the last third of each class.
    """

    root: Path
    spec: DatasetSpec
    index: pd.DataFrame
    train: np.ndarray
    validation: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """(n,) class indices of all chips."""
        return self.index["label"].to_numpy(dtype=np.int64, copy=True)


@dataclass(frozen=True)
class Training:
    """The settings of a run that both paths train, with the hyper-parameters of the original."""

    model: str
    decoder: str
    loss: str
    seed: int
    options: TrainingOptions

    def initial(self, embedding: int, n_classes: int, dropout: float | None = None) -> DecoderModel:
        """Make decoder and head with their initial weights; `dropout` replaces the rate of the setting."""
        torch.manual_seed(torch_seed(self.seed, Stream.INITIALISATION))
        setting = DECODERS[self.decoder]
        return DecoderModel(setting if dropout is None else setting | {"dropout": dropout}, embedding, n_classes)


def original_options(epochs: int) -> TrainingOptions:
    """Return the hyper-parameters of the original, in float32."""
    return TrainingOptions(
        learning_rate=1e-4,
        weight_decay=0.05,
        batch_size=8,
        epochs=epochs,
        drop_last=True,
        monitor="macro_accuracy",
        precision="32",
    )


@dataclass
class Trained:
    """The result of training along one path.

    Attributes:
        parameters: weights of decoder and head, by the names that both paths share.
        logits: (n_validation, K) logits with the weights of the last epoch.
        train_loss: mean loss over the batches of each epoch.
        macro_accuracy: macro accuracy on the validation chips after each epoch.
    """

    parameters: dict[str, Tensor]
    logits: Tensor
    train_loss: list[float]
    macro_accuracy: list[float]


def simulated_chips(root: Path, counts: Mapping[int, int], size_px: int, seed: int = 0) -> ChipSet:
    """Write simulated LUCAS chips into folders named by their class code; `counts` has the number of each code.

    The bands are interleaved by pixel, because TerraTorch's data set reads other GeoTIFFs with their axes in the wrong
    order.
    """
    drawn = draw_points(DRAWN_POINTS, np.random.default_rng(seed))
    landscape = Landscape(load_covers(), size_px)
    for code, count in counts.items():
        folder = root / str(code)
        folder.mkdir(parents=True)
        for number, point in enumerate([point for point in drawn if point.code == code][:count]):
            chip = landscape.draw(point, np.random.default_rng([seed, code, number]))
            west, north = point.easting_m - size_px * PIXEL_M / 2, point.northing_m + size_px * PIXEL_M / 2
            profile = {
                "driver": "GTiff",
                "dtype": "float32",
                "count": len(chip),
                "height": size_px,
                "width": size_px,
                "crs": "EPSG:3035",
                "transform": rasterio.Affine(PIXEL_M, 0, west, 0, -PIXEL_M, north),
                "interleave": "pixel",
            }
            with rasterio.open(folder / f"{point.point_id}.tif", "w", **profile) as file:
                file.write(chip)
    return read_chips(root, ITALY_BANDS, "reflectance", PIXEL_M)


def read_chips(root: Path, bands: Sequence[str], unit: str, pixel_size_m: float = 10.0) -> ChipSet:
    """Index the chips in the class folders of `root`, and split them into training and validation chips."""
    classes = sorted(path.name for path in root.iterdir() if path.is_dir())
    spec = DatasetSpec(
        name="chips",
        layout=LayoutSpec(labels="folders"),
        classes=tuple(ClassSpec(name, name) for name in classes),
        bands=tuple(bands),
        unit=unit,
        pixel_size_m=pixel_size_m,
    )
    index, _ = index_chips(root, spec, min_chips_per_class=2, threads=1, progress=False)
    rows = [np.flatnonzero(index["label"] == label) for label in range(len(classes))]
    cuts = [len(of_class) - max(1, len(of_class) // 3) for of_class in rows]
    train_rows, validation_rows = zip(*(np.split(r, [cut]) for r, cut in zip(rows, cuts, strict=True)), strict=True)
    return ChipSet(root, spec, index, np.concatenate(train_rows), np.concatenate(validation_rows))


class BatchOrder(Sampler[int]):
    """A sampler that gives the project's batch order of each epoch, as positions in TerraTorch's data set.

    Args:
        rows: rows of the index, in the order of TerraTorch's data set.
        train: rows of the training chips, in the order of the project's loop.
        seed: seed of the run.
    """

    def __init__(self, rows: Sequence[int], train: np.ndarray, seed: int) -> None:
        self.position = {row: position for position, row in enumerate(rows)}
        self.train, self.seed, self.epoch = train, seed, 1

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch; Lightning calls this before each epoch and counts from 0."""
        self.epoch = epoch + 1

    def __iter__(self) -> Any:
        order = generator(self.seed, Stream.BATCH_ORDER, self.epoch).permutation(self.train)
        return iter([self.position[row] for row in order])

    def __len__(self) -> int:
        return len(self.train)


class StockChips(GenericNonGeoClassificationDataModule):
    """TerraTorch's data module for the chips, with statistics over all chips and the project's batch order."""

    def __init__(self, chips: ChipSet, batch_size: int, seed: int, folder: Path) -> None:
        self.chips, self.seed = chips, seed
        scale = 1.0 if chips.spec.unit == "reflectance" else 1.0 / DN_PER_REFLECTANCE
        pixels = np.concatenate([_pixels(chips.root / file) for file in chips.index["file"]]) * scale
        for part in ("train", "validation"):
            names = [Path(file).name for file in chips.index["file"].iloc[getattr(chips, part)]]
            (folder / f"{part}.txt").write_text("\n".join(names), encoding="utf-8")
        super().__init__(
            batch_size=batch_size,
            num_workers=0,
            train_data_root=chips.root,
            val_data_root=chips.root,
            test_data_root=chips.root,
            train_split=folder / "train.txt",
            val_split=folder / "validation.txt",
            allow_substring_split_file=False,
            means=pixels.mean(axis=0).tolist(),
            stds=pixels.std(axis=0).tolist(),
            num_classes=len(chips.spec.classes),
            constant_scale=scale,
        )

    def rows(self, dataset: Any) -> list[int]:
        """Return the row in the index of each chip of TerraTorch's data set."""
        row_of = {Path(file).name: row for row, file in enumerate(self.chips.index["file"])}
        return [row_of[Path(path).name] for path, _ in dataset.samples]

    def train_dataloader(self) -> DataLoader:
        """Return TerraTorch's loader with its random sampler replaced by the project's order."""
        loader = super().train_dataloader()
        loader.batch_sampler.sampler = BatchOrder(self.rows(loader.dataset), self.chips.train, self.seed)
        return loader


def _pixels(path: Path) -> np.ndarray:
    """Read the (pixels, bands) float64 values of a chip's file."""
    with rasterio.open(path) as file:
        return file.read().reshape(file.count, -1).T.astype(np.float64)


def stock_task(training: Training, chips: ChipSet, encoder: Mapping[str, Tensor]) -> ClassificationTask:
    """Build TerraTorch's task for a recipe, with the given encoder and the recipe's initial decoder and head."""
    n_classes = len(chips.spec.classes)
    labels = chips.labels[chips.train]
    weights = compute_class_weight("balanced", classes=np.arange(n_classes), y=labels)
    stock = STOCK_DECODERS[training.decoder]
    task = ClassificationTask(
        model_factory="EncoderDecoderFactory",
        model_args={
            **stock,
            "backbone": training.model,
            "backbone_pretrained": False,
            "backbone_modalities": [MODALITY],
            "backbone_bands": {MODALITY: list(chips.spec.bands)},
            "necks": [{"name": "SelectIndices", "indices": [LAST_LAYER]}, *stock["necks"]],
            "head_dropout": DECODERS[training.decoder]["dropout"],
            "num_classes": n_classes,
        },
        loss=STOCK_LOSSES[training.loss],
        class_weights=weights.tolist(),
        lr=training.options.learning_rate,
        optimizer="AdamW",
        optimizer_hparams={"weight_decay": training.options.weight_decay},
        freeze_backbone=True,
    )
    initial = training.initial(task.model.encoder.out_channels[-1], n_classes)
    task.model.load_state_dict({f"encoder.{name}": value for name, value in encoder.items()} | initial.state_dict())
    # PyTorch's dropout would draw other masks from the same random stream.
    task.model.head.head[1] = initial.head.head[1]
    return task


@dataclass
class Recorder(Callback):
    """A callback that seeds the project's dropout stream in each epoch, and records losses and scores."""

    seed: int
    losses: list[list[float]] = field(default_factory=list)
    macro_accuracy: list[float] = field(default_factory=list)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed the dropout stream at the first batch; before it, Lightning and the loader draw random numbers."""
        if batch_idx == 0:
            self.losses.append([])
            torch.manual_seed(torch_seed(self.seed, Stream.DROPOUT, trainer.current_epoch + 1))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the loss of the batch."""
        self.losses[-1].append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the validation score, which Lightning has computed before."""
        self.macro_accuracy.append(float(trainer.callback_metrics["val/Accuracy"]))


def train_stock(
    training: Training, chips: ChipSet, encoder: Mapping[str, Tensor], callbacks: Sequence[Callback] = ()
) -> Trained:
    """Train a recipe with TerraTorch and Lightning."""
    recorder = Recorder(training.seed)
    with tempfile.TemporaryDirectory() as folder:
        data = StockChips(chips, training.options.batch_size, training.seed, Path(folder))
        task = stock_task(training, chips, encoder)
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            precision=training.options.precision,
            max_epochs=training.options.epochs,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[recorder, *callbacks],
        )
        trainer.fit(task, data)
        task.eval()
        loader = data.val_dataloader()
        with torch.inference_mode():
            logits = torch.cat([task(data.aug(batch)["image"]).output for batch in loader])
    rows = data.rows(loader.dataset)
    return Trained(
        {name: value for name, value in task.model.state_dict().items() if not name.startswith("encoder.")},
        logits[[rows.index(row) for row in chips.validation]],
        [float(np.mean(losses)) for losses in recorder.losses],
        recorder.macro_accuracy,
    )


def store_features(backbone: Backbone, chips: ChipSet, kind: str, path: Path, batch_size: int = 8) -> Tensor:
    """Extract the features of all chips with the project's code; return (n, D) or (n, tokens, D)."""
    moments = (np.stack(chips.index[name]) for name in ("valid_pixels", "band_mean", "band_m2"))
    normaliser = make_normaliser("dataset", merge(*moments), chips.spec.bands)
    files, checksums = chips.index["file"].tolist(), chips.index["sha256"].tolist()
    dataset = ChipDataset(chips.root, files, checksums, partial(read_indexed_chip, spec=chips.spec), normaliser)
    options = FeatureOptions(batch_size=batch_size, workers=0, threads=1, precision="32", device="cpu")
    extract(backbone, dataset, options, {kind: path})
    return torch.from_numpy(np.load(path))


def train_stored(training: Training, chips: ChipSet, features: Tensor, dropout: float | None = None) -> Trained:
    """Train a recipe on stored features with the project's loop; `dropout` replaces the rate of the setting."""
    n_classes = len(chips.spec.classes)
    setting, labels = LOSSES[training.loss], chips.labels
    weights = class_weights(setting.get("class_weights", "none"), labels[chips.train], n_classes)
    model = training.initial(features.shape[-1], n_classes, dropout)
    device = torch.device("cpu")
    data = TrainingData(features, torch.from_numpy(labels), chips.train, chips.validation)
    with tempfile.TemporaryDirectory() as folder:
        resume_file = ResumeFile(Path(folder) / "resume.ckpt", "both paths", interval_s=3600.0)
        progress = train(
            model, build_loss(setting, weights, device), data, training.options, training.seed, resume_file
        )
    return Trained(
        model.state_dict(),
        predict(model, features, chips.validation, device, training.options.precision),
        [row["train_loss"] for row in progress.history],
        [row["validation_macro_accuracy"] for row in progress.history],
    )
