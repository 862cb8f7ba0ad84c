"""Compare a feature pass with the bare forward pass of the same encoder on chips in memory.

    PYTHONPATH=workflow/scripts python -m benchmarks.feature_pass [--size 224] [--chips 64] [--model terramind_v1_tiny]

A pass reads GeoTIFF chips from files, checks their SHA-256, decodes and normalises them in a loader's process, computes
features and writes them. The bare pass computes on normalised tensors. Both use the same batches and the same threads.
They take turns; the ratio is the median over the rounds, so that other load on the machine affects both equally.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
import torch

from terralucas.backbones.encoder import Backbone, build_backbone
from terralucas.backbones.features import ChipDataset, FeatureOptions, extract
from terralucas.data.chips.chip_files import read_indexed_chip
from terralucas.data.dataset import ClassSpec, DatasetSpec, LayoutSpec
from terralucas.data.normalisation import Normaliser
from terralucas.device import autocast, pick_device

BANDS = ("RED", "GREEN", "BLUE", "NIR_BROAD", "SWIR_1", "SWIR_2")
GOAL = 1.1


@dataclass(frozen=True)
class Seconds:
    """Median seconds of the bare forward pass and of the feature pass, and the median of their ratios."""

    bare: float
    whole: float
    ratio: float


def write_chips(folder: Path, number: int, size: int) -> tuple[list[str], list[str]]:
    """Write random chips as GeoTIFFs; return their names and their SHA-256."""
    random = np.random.default_rng(0)
    names, sums = [], []
    for chip in range(number):
        name = f"{chip}.tif"
        profile = {"driver": "GTiff", "count": len(BANDS), "height": size, "width": size, "dtype": "float32"}
        place = {"crs": "EPSG:3035", "transform": rasterio.Affine(10, 0, 4_592_000, 0, -10, 2_254_000)}
        with rasterio.open(folder / name, "w", **profile, **place) as target:
            target.write(random.uniform(0.01, 0.4, (len(BANDS), size, size)).astype(np.float32))
        names.append(name)
        sums.append(hashlib.sha256((folder / name).read_bytes()).hexdigest())
    return names, sums


@torch.inference_mode()
def bare_pass(backbone: Backbone, batches: list[torch.Tensor], device: torch.device, precision: str) -> None:
    """Compute the tokens of all batches, and nothing else."""
    _, context = autocast(precision, device)
    encoder = backbone.encoder.to(device)
    for batch in batches:
        with context():
            encoder(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()


def measure(model: str, number: int, size: int, options: FeatureOptions, rounds: int) -> Seconds:
    """Measure both passes in turn."""
    spec = DatasetSpec("d", LayoutSpec("folders"), (ClassSpec("1", "one"),), BANDS)
    device = pick_device(options.device)
    backbone = build_backbone(model, list(BANDS), {"source": "random", "seed": 0})
    normaliser = Normaliser("dataset", np.full(len(BANDS), 0.2), np.full(len(BANDS), 0.1), np.zeros(len(BANDS)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names, sums = write_chips(folder, number, size)
        chips = ChipDataset(folder, names, sums, partial(read_indexed_chip, spec=spec), normaliser)
        tensors = torch.stack([chips[row] for row in range(number)])  # type: ignore[arg-type, misc]
        batches = [batch.to(device) for batch in tensors.split(options.batch_size)]
        bare, whole = [], []
        # The first round warms both up.
        for _ in range(rounds + 1):
            started = time.perf_counter()
            bare_pass(backbone, batches, device, options.precision)
            bare.append(time.perf_counter() - started)
            started = time.perf_counter()
            extract(backbone, chips, options, {"tokens": folder / "tokens.npy"})
            whole.append(time.perf_counter() - started)
    ratios = [b / a for a, b in zip(bare[1:], whole[1:], strict=True)]
    return Seconds(statistics.median(bare[1:]), statistics.median(whole[1:]), statistics.median(ratios))


def main() -> None:
    """Measure, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="terramind_v1_tiny")
    parser.add_argument("--chips", type=int, default=128)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    options = FeatureOptions(given.batch, given.workers, given.threads, given.precision, given.device)
    seconds = measure(given.model, given.chips, given.size, options, given.rounds)
    print(
        f"{given.model}, {given.chips} chips of {given.size} px: {given.chips / seconds.bare:.1f} chips/s bare, "
        f"{given.chips / seconds.whole:.1f} in a feature pass; {seconds.ratio:.2f} times its time (goal {GOAL})"
    )


if __name__ == "__main__":
    main()
