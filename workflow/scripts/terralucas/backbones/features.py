"""Pass all chips through a frozen backbone, and write the features to a file that can be memory-mapped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from terralucas.arrays import ArrayWriter
from terralucas.backbones.encoder import Backbone
from terralucas.backbones.feature_checks import refuse_equal, refuse_infinite
from terralucas.backbones.feature_kinds import is_pooled, read_layers
from terralucas.data.normalisation import Normaliser
from terralucas.device import autocast, peak_memory_mib, pick_device
from terralucas.errors import StudyError
from terralucas.files import atomic_path, sha256_of_file

logger = logging.getLogger(__name__)

_STORED = {"float32": torch.float32, "float16": torch.float16}


class ChipDataset(Dataset[torch.Tensor | StudyError]):
    """Dataset of normalised chips (bands, H, W), float32, in the order of the index.

    Args:
        root: folder to which `files` are relative.
        files: paths of the chips.
        checksums: SHA-256 of each chip in the index.
        read: function of the path of a chip and its SHA-256 that returns reflectance (bands, H, W), NaN where missing.
        normaliser: normaliser of the chips.
    """

    def __init__(
        self,
        root: Path,
        files: Sequence[str],
        checksums: Sequence[str],
        read: Callable[[Path, str], np.ndarray],
        normaliser: Normaliser,
    ) -> None:
        self.root, self.files, self.checksums = root, list(files), list(checksums)
        self.read, self.normaliser = read, normaliser

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor | StudyError:
        # An error raised in a worker process would be shown with two tracebacks. Therefore it is returned instead.
        try:
            return self._read(index)
        except StudyError as error:
            return error

    def _read(self, index: int) -> torch.Tensor:
        chip = self.read(self.root / self.files[index], self.checksums[index])
        return torch.from_numpy(self.normaliser(chip))


def _collate(chips: list[torch.Tensor | StudyError]) -> torch.Tensor | StudyError:
    tensors = []
    for chip in chips:
        if isinstance(chip, StudyError):
            return chip
        tensors.append(chip)
    return torch.stack(tensors)


@dataclass(frozen=True)
class FeatureOptions:
    """Options of a feature pass: the section `features` of the configuration."""

    batch_size: int
    workers: int
    threads: int
    precision: str
    device: str
    storage: str = "float32"


def extract(
    backbone: Backbone, chips: ChipDataset, options: FeatureOptions, outputs: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """Pass every chip through an encoder once, and write its tokens, or their mean, to arrays.

    The tokens of several layers are concatenated: L layers of width D give vectors of length L × D. As in TerraTorch,
    only the last layer includes the final normalisation of the encoder.

    Args:
        backbone: the frozen encoder.
        chips: n chips of one size.
        options: batch size, workers, threads, precision, device, and the type of the stored numbers.
        outputs: kind → path of its .npy array; `pooled` is an array (n, D), `tokens` one (n, tokens, D); see
            `terralucas.backbones.feature_kinds`.

    Returns:
        Record of each kind: kind, shape, SHA-256, device, precision, seconds, chips per second and peak memory.

    Raises:
        StudyError: a chip has changed since it was indexed, or the features are not finite, or the same for all chips.
    """
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    precision, context = autocast(options.precision, device)
    encoder = backbone.encoder.to(device)
    loader = DataLoader(
        chips,
        batch_size=options.batch_size,
        num_workers=options.workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
    )
    started = time.monotonic()
    with ExitStack() as files:
        paths = {kind: files.enter_context(atomic_path(path)) for kind, path in outputs.items()}
        with ExitStack() as stack:
            writers = {
                kind: stack.enter_context(ArrayWriter(path, len(chips), options.storage))
                for kind, path in paths.items()
            }
            bar = stack.enter_context(tqdm(total=len(chips), unit="chip", desc=f"{' and '.join(outputs)} features"))
            stack.enter_context(torch.inference_mode())
            for batch in loader:
                if isinstance(batch, StudyError):
                    raise batch
                with context():
                    layers = encoder(batch.to(device, non_blocking=True))
                for kind, writer in writers.items():
                    features = torch.cat(read_layers(kind, layers), dim=-1).float()
                    if is_pooled(kind):
                        features = features.mean(dim=1)
                    stored = features.to(_STORED[options.storage])
                    refuse_infinite(features, stored, int(bar.n), precision)
                    writer.append(stored.cpu().numpy())
                bar.update(len(batch))
        for path in paths.values():
            refuse_equal(path)
    seconds = time.monotonic() - started
    return {
        kind: {
            "kind": kind,
            "shape": list(writers[kind].shape),
            "sha256": sha256_of_file(path),
            "device": str(device),
            "precision": precision,
            "seconds": round(seconds, 2),
            "chips_per_second": round(len(chips) / seconds, 2),
            "peak_memory_mib": peak_memory_mib(device),
        }
        for kind, path in outputs.items()
    }
